//! Logging in by device code: shown here, typed on another machine.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::exchange::{ApiKeyRequest, exchange};
use super::{Error, LoginSetup, PendingLogin};
use crate::authority::{Authorization, DeviceCode, DeviceStart, PollOutcome, RequestError};
use crate::remedy::ErrorKind;

/// How long a person has to approve a code.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// By how much polls that are too fast become slower (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);
const SLOWEST: Duration = Duration::from_secs(60);

/// A login that waits for a person to type its code somewhere else.
///
/// Dropping it ends the login: a code that is not asked for expires at the authority.
#[derive(Debug)]
pub struct DeviceLogin {
    setup: LoginSetup,
    code: DeviceCode,
    verification_url: String,
    ends: Instant,
}

impl DeviceLogin {
    /// Asks the authority for a code.
    ///
    /// # Errors
    /// - [`Error::Forbidden`]: `config.toml` allows API keys only. The authority was not asked.
    /// - [`Error::DeviceNotEnabled`]: try [`super::BrowserLogin`].
    /// - [`Error::Request`].
    pub async fn start(setup: &LoginSetup) -> Result<Self, Error> {
        setup.permit_chatgpt()?;
        match setup.authority.device_code(&setup.issuer).await? {
            DeviceStart::Begun(code) => Ok(Self {
                setup: setup.clone(),
                code,
                verification_url: setup.issuer.device_page(),
                ends: Instant::now() + LIFETIME,
            }),
            DeviceStart::NotEnabled => Err(Error::DeviceNotEnabled { issuer: setup.issuer.to_string() }),
        }
    }

    /// What the person types.
    #[must_use]
    pub fn user_code(&self) -> &str {
        &self.code.user_code
    }

    /// Where they type it. The code is not in the address.
    #[must_use]
    pub fn verification_url(&self) -> &str {
        &self.verification_url
    }

    /// How long the code can still be approved.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Waits until the person has approved the code, and gets the tokens.
    ///
    /// Dropping the future cancels the login; tokens that the authority has issued by then are revoked.
    ///
    /// Polls at the interval that the authority asks for; slower where it says so, or where the network fails, which does
    /// not end the login.
    ///
    /// # Errors
    /// - [`Error::CodeExpired`]: nobody approved within [`LIFETIME`].
    /// - [`Error::Declined`]: the person said no.
    /// - [`Error::Forbidden`]: the workspace is not allowed; the tokens were revoked.
    /// - [`Error::Request`], [`Error::Document`], [`Error::Thread`].
    pub async fn obtain(&mut self) -> Result<PendingLogin, Error> {
        let authorization = self.approved().await?;
        exchange(&self.setup, authorization, ApiKeyRequest::None).await
    }

    async fn approved(&self) -> Result<Authorization, Error> {
        let mut interval = self.code.interval;
        loop {
            let poll = timeout_at(self.ends, self.setup.authority.poll_device(&self.code)).await;
            let wait = match poll.map_err(|_| Error::CodeExpired(LIFETIME))? {
                Ok(PollOutcome::Approved(authorization)) => return Ok(authorization),
                Ok(PollOutcome::Pending) => interval,
                Ok(PollOutcome::TooFast(asked)) => {
                    interval = (interval + SLOWER).min(SLOWEST);
                    interval.max(asked.unwrap_or_default())
                }
                Err(error) if error.kind() == ErrorKind::TryAgain => {
                    interval = (interval * 2).min(SLOWEST);
                    interval
                }
                Err(error) => return Err(declined(error)),
            };
            if wait >= self.remaining() {
                return Err(Error::CodeExpired(LIFETIME));
            }
            sleep(wait).await;
        }
    }
}

/// A refusal that says that the person declined is theirs, not the authority's.
fn declined(error: RequestError) -> Error {
    match error.code() {
        Some("authorization_declined" | "access_denied") => {
            Error::Declined { code: error.code().map(str::to_owned), description: None }
        }
        _ => error.into(),
    }
}
