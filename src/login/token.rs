//! Logging in with a token that a person has already: looked up or verified before it is kept.

use super::{Error, LoginSetup};
use crate::authority::{AgentToken, Endpoint, Profile, RequestError};
use crate::document::AuthDocument;
use crate::secret::Secret;

/// What personal access tokens begin with.
const PERSONAL: &str = "at-";

/// A token that is known to be good, as it will be kept, and whose it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedToken {
    /// What to keep.
    pub document: AuthDocument,
    /// Whose it is.
    pub profile: Profile,
}

/// Finds out whose `token` is: a personal access token (`at-…`) by asking the authority, an agent identity by the keys
/// that its issuer publishes.
///
/// # Errors
/// - [`Error::Forbidden`]: `config.toml` does not allow it, or not for this workspace.
/// - [`Error::BadToken`], [`Error::NotGenuine`]: it is worth nothing.
/// - [`Error::Request`]: whoever knows could not be asked.
pub async fn access_token(setup: &LoginSetup, token: &Secret) -> Result<VerifiedToken, Error> {
    setup.permit_chatgpt()?;
    let verified = if token.expose().starts_with(PERSONAL) {
        let document = AuthDocument::with_personal_access_token(token);
        VerifiedToken { document, profile: owner(setup, token).await? }
    } else {
        let parsed = AgentToken::parse(token)?;
        let endpoint = Endpoint::agent_keys(setup.config.chatgpt_url.as_deref())?;
        let keys = setup.authority.agent_keys(&endpoint).await?;
        let profile = keys.verify(&parsed, setup.clock.now())?;
        VerifiedToken { document: AuthDocument::with_agent_identity(token), profile }
    };
    setup.permit_workspace(verified.profile.account_id.as_deref())?;
    Ok(verified)
}

async fn owner(setup: &LoginSetup, token: &Secret) -> Result<Profile, Error> {
    let endpoint = Endpoint::whoami(&setup.environment)?;
    match setup.authority.whoami(&endpoint, token).await {
        Err(error @ RequestError::Refused { .. }) if matches!(error.status(), Some(401 | 403)) => {
            Err(Error::BadToken(error))
        }
        answer => Ok(answer?),
    }
}
