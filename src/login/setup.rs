//! The context of a login: authority, configuration, clock.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::error::Error;
use super::pending::PendingExchanges;
use crate::authority::{Authority, FirstTokens, Issuer};
use crate::clock::Clock;
use crate::config::{Config, Environment, LoginMethod};
use crate::document::{AuthDocument, NewLogin};
use crate::secret::Secret;

/// The name of Codex at the authority.
const ORIGINATOR: &str = "codex_cli_rs";

/// The context of a login: the authority and the configuration. Clones are cheap.
#[derive(Clone, Debug)]
pub struct LoginSetup {
    pub(super) authority: Authority,
    pub(super) clock: Clock,
    pub(super) config: Config,
    pub(super) environment: Environment,
    pub(super) exchanges: PendingExchanges,
    pub(super) issuer: Issuer,
    originator: String,
}

impl LoginSetup {
    /// Creates the context from the environment and `config.toml`. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Endpoint`]: `CODEX_APP_SERVER_LOGIN_ISSUER` must not receive a token.
    pub fn new(environment: &Environment, config: &Config) -> Result<Self, Error> {
        Ok(Self {
            authority: Authority::new(environment),
            clock: Clock::system(),
            config: config.clone(),
            environment: environment.clone(),
            exchanges: PendingExchanges::default(),
            issuer: Issuer::from_environment(environment)?,
            originator: ORIGINATOR.to_owned(),
        })
    }

    /// Returns the same context with another authority.
    #[must_use]
    pub fn with_issuer(self, issuer: Issuer) -> Self {
        Self { issuer, ..self }
    }

    /// Returns the same context for another program, which the authority may name to the user.
    #[must_use]
    pub fn with_originator(self, originator: impl Into<String>) -> Self {
        Self { originator: originator.into(), ..self }
    }

    /// Returns the name of the program at the authority.
    #[must_use]
    pub fn originator(&self) -> &str {
        &self.originator
    }

    /// Returns the same context with its logins in the list of `exchanges`.
    #[must_use]
    pub fn with_exchanges(self, exchanges: PendingExchanges) -> Self {
        Self { exchanges, ..self }
    }

    /// Returns the logins of this context and its clones whose tokens are neither stored nor revoked yet.
    #[must_use]
    pub fn exchanges(&self) -> &PendingExchanges {
        &self.exchanges
    }

    /// Returns the authority.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(super) fn permit_chatgpt(&self) -> Result<(), Error> {
        Ok(self.config.restrictions.permit_method(LoginMethod::ChatGpt)?)
    }

    pub(super) fn permit_workspace(&self, account_id: Option<&str>) -> Result<(), Error> {
        Ok(self.config.restrictions.permit_workspace(account_id)?)
    }

    /// Builds the document of a new login if its workspace is allowed.
    pub(super) fn document(
        &self,
        tokens: FirstTokens,
        api_key: Option<Secret>,
    ) -> Result<AuthDocument, Error> {
        let FirstTokens { id_token, access_token, refresh_token } = tokens;
        let provenance = self.issuer.provenance();
        let login = random::<32>()?.expose().to_owned();
        let login = NewLogin { id_token, access_token, refresh_token, api_key, provenance, login_id: login };
        let document = AuthDocument::with_chatgpt_login(&login, self.clock.now()).map_err(Error::Document)?;
        self.permit_workspace(document.workspace().as_deref())?;
        Ok(document)
    }
}

/// Returns `N` random bytes as base64url.
pub(super) fn random<const N: usize>() -> Result<Secret, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| Error::Random(error.into()))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}
