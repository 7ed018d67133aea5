//! The requests of the device flow (RFC 8628): the code that the user types elsewhere, and the polls for approval.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Authority;
use super::code::Authorization;
use super::endpoint::{Endpoint, client_id};
use super::error::MissingResponse;
use super::issuer::Issuer;
use super::request::{LoginRequest, RequestBody, RequestError};
use super::token::{InvalidTokenResponse, to_json};
use crate::redaction::printable;
use crate::secret::Secret;

/// The timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CODE_PATH: &str = "/api/accounts/deviceauth/usercode";
const POLL_PATH: &str = "/api/accounts/deviceauth/token";
/// The minimum poll interval, whatever the authority says.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The interval of RFC 8628 for authorities that name none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// A device code.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeviceCode {
    /// The code that the user types. Polls also send an id that is not shown.
    pub user_code: String,
    /// The poll interval; between [`MIN_INTERVAL`] and a minute.
    pub interval: Duration,
    id: Secret,
    endpoint: Endpoint,
    redirect_uri: String,
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCode")
            .field("endpoint", &self.endpoint)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// The response to a request for a device code.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle both")]
pub enum DeviceStart {
    /// The code to show.
    Started(DeviceCode),
    /// Device logins are disabled, in general or for this account.
    NotEnabled,
}

/// The result of a poll.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle each")]
pub enum PollOutcome {
    /// The user has approved.
    Approved(Authorization),
    /// The user has not decided yet.
    Pending,
    /// The polls are too frequent; with the delay that the authority asks for, if any.
    TooFast(Option<Duration>),
}

impl Authority {
    /// Requests a device code from `issuer`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn device_code(&self, issuer: &Issuer) -> Result<DeviceStart, RequestError> {
        let provenance = issuer.provenance();
        let endpoint = &issuer.endpoint(CODE_PATH);
        let body = RequestBody::Json(to_json(&CodeRequest { client_id: client_id(&provenance) }));
        let request = LoginRequest { endpoint, body, redacted: Secret::from(""), timeout: REQUEST_TIMEOUT };
        let answer = request.send(self).await?;
        // Codex's authority responds with 404 if device logins are disabled.
        if answer.status() == 404 {
            return Ok(DeviceStart::NotEnabled);
        }
        if !answer.is_success() {
            return Err(request.refusal(&answer));
        }
        let response: CodeResponse =
            answer.into_body().and_then(|body| parse(&body)).map_err(|c| request.unanswered(c))?;
        Ok(DeviceStart::Started(DeviceCode {
            user_code: printable(&response.user_code, usize::MAX),
            interval: response.interval.map_or(DEFAULT_INTERVAL, Interval::duration),
            id: Secret::new(response.device_auth_id),
            endpoint: issuer.endpoint(POLL_PATH),
            redirect_uri: issuer.device_redirect(),
        }))
    }

    /// Polls once for the user's decision.
    ///
    /// # Errors
    /// [`RequestError`], also if the user declined.
    pub async fn poll_device(&self, code: &DeviceCode) -> Result<PollOutcome, RequestError> {
        let body = to_json(&PollRequest { device_auth_id: code.id.expose(), user_code: &code.user_code });
        let (endpoint, secret) = (&code.endpoint, code.id.clone());
        let request = LoginRequest {
            endpoint,
            body: RequestBody::Json(body),
            redacted: secret,
            timeout: REQUEST_TIMEOUT,
        };
        let answer = request.send(self).await?;
        let is_slow_down = || answer.refusal(&code.id).code.as_deref() == Some("slow_down");
        match answer.status() {
            429 => return Ok(PollOutcome::TooFast(answer.retry_after())),
            400 if is_slow_down() => return Ok(PollOutcome::TooFast(answer.retry_after())),
            // Codex's authority responds so until the user has decided.
            403 | 404 => return Ok(PollOutcome::Pending),
            _ if !answer.is_success() => return Err(request.refusal(&answer)),
            _ => {}
        }
        let approved: ApprovalResponse =
            answer.into_body().and_then(|body| parse(&body)).map_err(|cause| request.unanswered(cause))?;
        Ok(PollOutcome::Approved(Authorization {
            code: Secret::new(approved.authorization_code),
            verifier: Secret::new(approved.code_verifier),
            redirect_uri: code.redirect_uri.clone(),
        }))
    }
}

#[derive(Serialize)]
struct CodeRequest<'a> {
    client_id: &'a str,
}

#[derive(Serialize)]
struct PollRequest<'a> {
    device_auth_id: &'a str,
    user_code: &'a str,
}

#[derive(Deserialize)]
struct CodeResponse {
    device_auth_id: String,
    #[serde(alias = "usercode")]
    user_code: String,
    interval: Option<Interval>,
}

/// Codex's authority sends a string of digits, others a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Interval {
    Number(u64),
    Text(String),
}

impl Interval {
    fn duration(self) -> Duration {
        let seconds = match self {
            Self::Number(seconds) => Some(seconds),
            Self::Text(text) => text.trim().parse().ok(),
        };
        seconds.map_or(DEFAULT_INTERVAL, Duration::from_secs).clamp(MIN_INTERVAL, MAX_INTERVAL)
    }
}

/// The authority makes the PKCE pair of device logins itself.
#[derive(Deserialize)]
struct ApprovalResponse {
    authorization_code: String,
    code_verifier: String,
}

/// Parses JSON. The parser's message quotes the input, so only its category is kept.
fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, MissingResponse> {
    serde_json::from_slice(body).map_err(|error| {
        let undecodable =
            if error.is_data() { InvalidTokenResponse::Field } else { InvalidTokenResponse::NotAnObject };
        MissingResponse::Undecodable(undecodable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_number_or_a_string_and_at_least_a_second() {
        for (json, seconds) in
            [("\"5\"", 5), ("7", 7), ("\"0\"", 1), ("0", 1), ("\"soon\"", 5), ("\"\"", 5), ("99999", 60)]
        {
            let interval: Interval = serde_json::from_str(json).unwrap();
            assert_eq!(interval.duration(), Duration::from_secs(seconds), "{json}");
        }
    }

    #[test]
    fn both_spellings_of_the_code_are_read_and_a_bad_response_is_not_quoted() {
        for json in [
            r#"{"device_auth_id":"d","user_code":"ABCD-12345","interval":"5"}"#,
            r#"{"device_auth_id":"d","usercode":"ABCD-12345","new":1}"#,
        ] {
            assert_eq!(parse::<CodeResponse>(json.as_bytes()).ok().unwrap().user_code, "ABCD-12345");
        }
        let error = parse::<CodeResponse>(br#"{"device_auth_id":["marked"]}"#).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
    }
}
