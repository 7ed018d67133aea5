//! The device flow: a code that a person types on another machine, and the polls that wait for it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Authority;
use super::code::Authorization;
use super::endpoint::{Endpoint, client_id};
use super::error::MissingResponse;
use super::issuer::Issuer;
use super::request::{LoginRequest, RequestBody, RequestError};
use super::token::{InvalidTokenResponse, written};
use crate::secret::Secret;

/// How long one request may take.
const WITHIN: Duration = Duration::from_secs(30);
const CODE_PATH: &str = "/api/accounts/deviceauth/usercode";
const POLL_PATH: &str = "/api/accounts/deviceauth/token";
/// No poll comes sooner after another, whatever the authority says: an interval of 0 would be a flood.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// What the device flow of RFC 8628 takes where the authority does not say.
const USUAL_INTERVAL: Duration = Duration::from_secs(5);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// A code for a person to type, and what the polls name it by.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeviceCode {
    /// What the person types. It is worth nothing to anybody but this device.
    pub user_code: String,
    /// How long to wait between two polls; between [`SHORTEST_INTERVAL`] and a minute.
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

/// Whether an authority lets a device log in.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "both are the caller's to handle")]
pub enum DeviceStart {
    /// With this code.
    Begun(DeviceCode),
    /// It does not, for anybody or for this account.
    NotEnabled,
}

/// What a poll brought.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "all are the caller's to handle")]
pub enum PollOutcome {
    /// The person has consented.
    Approved(Authorization),
    /// Nobody has decided yet.
    Pending,
    /// The polls come too fast; how long to wait, where the authority says.
    TooFast(Option<Duration>),
}

impl Authority {
    /// Asks `issuer` for a code.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn device_code(&self, issuer: &Issuer) -> Result<DeviceStart, RequestError> {
        let provenance = issuer.provenance();
        let endpoint = &issuer.endpoint(CODE_PATH);
        let content = RequestBody::Json(written(&CodeRequest { client_id: client_id(&provenance) }));
        let request = LoginRequest { endpoint, content, secret: Secret::from(""), within: WITHIN };
        let answer = request.send(self).await?;
        if answer.status() == 404 {
            return Ok(DeviceStart::NotEnabled);
        }
        if !answer.is_success() {
            return Err(request.refused(&answer));
        }
        let begun: CodeResponse =
            answer.into_body().and_then(|body| read(&body)).map_err(|c| request.unanswered(c))?;
        Ok(DeviceStart::Begun(DeviceCode {
            user_code: begun.user_code.chars().filter(|letter| !letter.is_control()).collect(),
            interval: begun.interval.map_or(USUAL_INTERVAL, Interval::duration),
            id: Secret::new(begun.device_auth_id),
            endpoint: issuer.endpoint(POLL_PATH),
            redirect_uri: issuer.device_redirect(),
        }))
    }

    /// Asks once whether the person has decided.
    ///
    /// # Errors
    /// [`RequestError`]; a person who declines is a refusal too.
    pub async fn poll_device(&self, code: &DeviceCode) -> Result<PollOutcome, RequestError> {
        let body = written(&PollRequest { device_auth_id: code.id.expose(), user_code: &code.user_code });
        let (endpoint, secret) = (&code.endpoint, code.id.clone());
        let request = LoginRequest { endpoint, content: RequestBody::Json(body), secret, within: WITHIN };
        let answer = request.send(self).await?;
        let is_slow_down = || answer.refusal(&code.id).code.as_deref() == Some("slow_down");
        match answer.status() {
            429 => return Ok(PollOutcome::TooFast(answer.retry_after())),
            400 if is_slow_down() => return Ok(PollOutcome::TooFast(answer.retry_after())),
            403 | 404 => return Ok(PollOutcome::Pending),
            _ if !answer.is_success() => return Err(request.refused(&answer)),
            _ => {}
        }
        let approved: ApprovalResponse =
            answer.into_body().and_then(|body| read(&body)).map_err(|cause| request.unanswered(cause))?;
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

/// A text of digits from Codex's authority, a number from others.
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
        seconds.map_or(USUAL_INTERVAL, Duration::from_secs).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
    }
}

/// The challenge that comes with it is the authority's own business: it has made both halves.
#[derive(Deserialize)]
struct ApprovalResponse {
    authorization_code: String,
    code_verifier: String,
}

/// The parser's own message quotes what it found, so only its kind is kept.
fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, MissingResponse> {
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
    fn an_interval_is_a_number_or_a_text_and_never_shorter_than_a_second() {
        for (json, seconds) in
            [("\"5\"", 5), ("7", 7), ("\"0\"", 1), ("0", 1), ("\"soon\"", 5), ("\"\"", 5), ("99999", 60)]
        {
            let interval: Interval = serde_json::from_str(json).unwrap();
            assert_eq!(interval.duration(), Duration::from_secs(seconds), "{json}");
        }
    }

    #[test]
    fn both_spellings_of_the_code_are_read_and_a_bad_answer_is_not_quoted() {
        for json in [
            r#"{"device_auth_id":"d","user_code":"ABCD-12345","interval":"5"}"#,
            r#"{"device_auth_id":"d","usercode":"ABCD-12345","new":1}"#,
        ] {
            assert_eq!(read::<CodeResponse>(json.as_bytes()).ok().unwrap().user_code, "ABCD-12345");
        }
        let error = read::<CodeResponse>(br#"{"device_auth_id":["marked"]}"#).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
    }
}
