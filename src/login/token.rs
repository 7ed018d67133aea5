//! Logs in with an existing token, which is verified before it is stored.

use super::error::Error;
use super::setup::LoginSetup;
use crate::authority::{AgentToken, AgentTokenError, Endpoint, Profile, RequestError};
use crate::document::AuthDocument;
use crate::secret::Secret;

/// The prefix of personal access tokens.
const PERSONAL_TOKEN_PREFIX: &str = "at-";

/// A verified token, its document and its owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedToken {
    /// The document to store.
    pub document: AuthDocument,
    /// The owner.
    pub profile: Profile,
}

/// Verifies `token`: a personal access token (`at-…`) by asking the authority, an agent identity with the keys that its
/// issuer publishes.
///
/// # Errors
/// - [`Error::Forbidden`]: `config.toml` forbids this kind of login or its workspace.
/// - [`Error::NotAToken`], [`Error::BadPersonalToken`], [`Error::BadAgentToken`]: it is invalid.
/// - [`Error::Request`]: it could not be verified.
pub async fn access_token(setup: &LoginSetup, token: &Secret) -> Result<VerifiedToken, Error> {
    setup.permit_chatgpt()?;
    let verified = if token.expose().starts_with(PERSONAL_TOKEN_PREFIX) {
        let document = AuthDocument::with_personal_access_token(token);
        VerifiedToken { document, profile: personal_token_profile(setup, token).await? }
    } else {
        let parsed = AgentToken::parse(token).map_err(|error| match error {
            AgentTokenError::Malformed => Error::NotAToken,
            error => error.into(),
        })?;
        let endpoint = Endpoint::agent_keys(setup.config.chatgpt_url.as_deref())?;
        let keys = setup.authority.agent_keys(&endpoint).await?;
        let profile = keys.verify(&parsed, setup.clock.now())?;
        VerifiedToken { document: AuthDocument::with_agent_identity(token), profile }
    };
    setup.permit_workspace(verified.profile.account_id.as_deref())?;
    Ok(verified)
}

async fn personal_token_profile(setup: &LoginSetup, token: &Secret) -> Result<Profile, Error> {
    let endpoint = Endpoint::whoami(&setup.environment)?;
    match setup.authority.whoami(&endpoint, token).await {
        Err(error @ RequestError::Refused { .. }) if matches!(error.status(), Some(401 | 403)) => {
            Err(Error::BadPersonalToken(error))
        }
        answer => Ok(answer?),
    }
}
