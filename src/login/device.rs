//! Logs in with a device code: shown here, typed on another device.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::error::Error;
use super::pending::{ApiKeyRequest, PendingLogin};
use super::setup::LoginSetup;
use crate::authority::{Authorization, DeviceCode, DeviceStart, PollOutcome, RequestError};
use crate::remedy::ErrorKind;

/// How long a code can be approved.
pub const DEVICE_CODE_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How much the poll interval grows when the authority asks to slow down (RFC 8628, 3.5).
const SLOW_DOWN_STEP: Duration = Duration::from_secs(5);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// A login that waits for the user to type its code on another device.
///
/// Dropping it ends the login: a code that is not polled for expires at the authority.
#[derive(Debug)]
pub struct DeviceLogin {
    setup: LoginSetup,
    code: DeviceCode,
    verification_url: String,
    ends: Instant,
}

impl DeviceLogin {
    /// Requests a code from the authority.
    ///
    /// # Errors
    /// - [`Error::Forbidden`]: `config.toml` allows API keys only. Nothing was sent.
    /// - [`Error::DeviceNotEnabled`]: try a browser login.
    /// - [`Error::Request`].
    pub async fn start(setup: &LoginSetup) -> Result<Self, Error> {
        setup.permit_chatgpt()?;
        match setup.authority.device_code(&setup.issuer).await? {
            DeviceStart::Started(code) => Ok(Self {
                setup: setup.clone(),
                code,
                verification_url: setup.issuer.device_page(),
                ends: Instant::now() + DEVICE_CODE_LIFETIME,
            }),
            DeviceStart::NotEnabled => Err(Error::DeviceNotEnabled { issuer: setup.issuer.to_string() }),
        }
    }

    /// Returns the code that the user types.
    #[must_use]
    pub fn user_code(&self) -> &str {
        &self.code.user_code
    }

    /// Returns the page on which they type it. The code is not in the URL.
    #[must_use]
    pub fn verification_url(&self) -> &str {
        &self.verification_url
    }

    /// Returns how long the code can still be approved.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Waits for approval. Dropping the future cancels the login.
    ///
    /// Polls at the interval that the authority asks for, and less often if it asks to slow down or the network fails.
    /// Network failures do not end the login.
    ///
    /// # Errors
    /// - [`Error::CodeExpired`]: the code was not approved within [`DEVICE_CODE_LIFETIME`].
    /// - [`Error::Declined`]: the user declined.
    /// - [`Error::Request`].
    pub async fn obtain(&mut self) -> Result<PendingLogin, Error> {
        let authorization = self.wait_for_approval().await?;
        Ok(PendingLogin::of_code(authorization, ApiKeyRequest::None))
    }

    async fn wait_for_approval(&self) -> Result<Authorization, Error> {
        let mut interval = self.code.interval;
        loop {
            let poll = timeout_at(self.ends, self.setup.authority.poll_device(&self.code)).await;
            let wait = match poll.map_err(|_| Error::CodeExpired(DEVICE_CODE_LIFETIME))? {
                Ok(PollOutcome::Approved(authorization)) => return Ok(authorization),
                Ok(PollOutcome::Pending) => interval,
                Ok(PollOutcome::TooFast(asked)) => {
                    interval = (interval + SLOW_DOWN_STEP).min(MAX_POLL_INTERVAL);
                    interval.max(asked.unwrap_or_default())
                }
                Err(error) if error.kind() == ErrorKind::TryAgain => {
                    interval = (interval * 2).min(MAX_POLL_INTERVAL);
                    interval
                }
                Err(error) => return Err(from_refusal(error)),
            };
            if wait >= self.remaining() {
                return Err(Error::CodeExpired(DEVICE_CODE_LIFETIME));
            }
            sleep(wait).await;
        }
    }
}

/// Returns [`Error::Declined`] for the codes by which the user declined.
fn from_refusal(error: RequestError) -> Error {
    match error.code() {
        Some("authorization_declined" | "access_denied") => {
            Error::Declined { code: error.code().map(str::to_owned), description: None }
        }
        _ => error.into(),
    }
}
