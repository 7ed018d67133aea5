//! What every login by account is made with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Error;
use super::exchange::PendingExchanges;
use crate::authority::{Authority, FirstTokens, Issuer};
use crate::clock::Clock;
use crate::config::{Config, Environment, LoginMethod};
use crate::document::{AuthDocument, NewLogin};
use crate::secret::Secret;

/// What every login by account is made with: the authority, and what the user and their administrator have set.
///
/// Cloning it is cheap enough for a flow to have one of its own.
#[derive(Clone, Debug)]
pub struct LoginSetup {
    pub(super) authority: Authority,
    pub(super) clock: Clock,
    pub(super) config: Config,
    pub(super) environment: Environment,
    pub(super) exchanges: PendingExchanges,
    pub(super) issuer: Issuer,
}

impl LoginSetup {
    /// As the environment and `config.toml` say. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// [`Error::Endpoint`]: `CODEX_APP_SERVER_LOGIN_ISSUER` is no address for a login.
    pub fn new(environment: &Environment, config: &Config) -> Result<Self, Error> {
        Ok(Self {
            authority: Authority::new(environment),
            clock: Clock::system(),
            config: config.clone(),
            environment: environment.clone(),
            exchanges: PendingExchanges::default(),
            issuer: Issuer::of(environment)?,
        })
    }

    /// The same at another authority.
    #[must_use]
    pub fn at(self, issuer: Issuer) -> Self {
        Self { issuer, ..self }
    }

    /// The same, with its logins in the list of `exchanges`.
    #[must_use]
    pub fn with_exchanges(self, exchanges: PendingExchanges) -> Self {
        Self { exchanges, ..self }
    }

    /// The logins of this setup, and of its clones, whose tokens are neither stored nor revoked yet.
    #[must_use]
    pub fn exchanges(&self) -> &PendingExchanges {
        &self.exchanges
    }

    /// The authority of the login.
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

    /// The document of a new login, if its workspace is allowed.
    pub(super) fn document(
        &self,
        tokens: FirstTokens,
        api_key: Option<Secret>,
    ) -> Result<AuthDocument, Error> {
        let FirstTokens { id_token, access_token, refresh_token } = tokens;
        let provenance = self.issuer.provenance();
        let login = random::<32>()?.expose().to_owned();
        let login = NewLogin { id_token, access_token, refresh_token, api_key, provenance, login };
        let document = AuthDocument::with_chatgpt_login(&login, self.clock.now()).map_err(Error::Document)?;
        self.permit_workspace(document.workspace().as_deref())?;
        Ok(document)
    }
}

/// base64url of `N` random bytes.
pub(super) fn random<const N: usize>() -> Result<Secret, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(Error::Random)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}
