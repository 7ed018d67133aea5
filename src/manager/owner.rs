//! Looks up the owner of a token and the workspace that it is used for, once for each token.

use std::sync::Arc;

use codex_auth_platform::sync::lock;
use tokio::sync::Mutex;

use crate::authority::{Authority, Endpoint, Profile, RequestError, Workspace, WorkspaceError};
use crate::config::{Config, Environment};
use crate::secret::{Fingerprint, Secret};

/// The look-ups of one process. Concurrent calls for one token share a request, and successes are remembered for the
/// last token.
#[derive(Debug)]
pub struct OwnerLookup {
    authority: Authority,
    environment: Environment,
    chatgpt_url: Option<String>,
    profile: Mutex<()>,
    /// The owner of the last personal access token; `None` if it was refused. Locked for a moment only.
    known_profile: std::sync::Mutex<Option<(Fingerprint, Option<Arc<Profile>>)>>,
    workspace: Mutex<Option<(Fingerprint, Workspace)>>,
}

impl OwnerLookup {
    /// Creates the look-ups with the addresses of `environment` and `config`. Nothing is sent.
    #[must_use]
    pub fn new(environment: &Environment, config: &Config) -> Self {
        Self {
            authority: Authority::new(environment),
            environment: environment.clone(),
            chatgpt_url: config.chatgpt_url.clone(),
            profile: Mutex::default(),
            known_profile: std::sync::Mutex::default(),
            workspace: Mutex::default(),
        }
    }

    /// Returns the owner of a personal access token; `None` if the authority refuses the token.
    ///
    /// # Errors
    /// [`RequestError`]: the authority could not be asked.
    pub async fn profile(&self, token: &Secret) -> Result<Option<Arc<Profile>>, RequestError> {
        let _one_request = self.profile.lock().await;
        let fingerprint = token.fingerprint();
        if let Some((known, profile)) = &*lock(&self.known_profile)
            && *known == fingerprint
        {
            return Ok(profile.clone());
        }
        let endpoint = Endpoint::whoami(&self.environment)?;
        let profile = match self.authority.whoami(&endpoint, token).await {
            Ok(profile) => Some(Arc::new(profile)),
            Err(error) if matches!(error.status(), Some(401 | 403)) => None,
            Err(error) => return Err(error),
        };
        *lock(&self.known_profile) = Some((fingerprint, profile.clone()));
        Ok(profile)
    }

    /// Returns the owner of a personal access token, if [`Self::profile`] has looked it up.
    #[must_use]
    pub fn known_profile(&self, token: &Secret) -> Option<Arc<Profile>> {
        let known = lock(&self.known_profile);
        let (_, profile) = known.as_ref().filter(|(known, _)| *known == token.fingerprint())?;
        profile.clone()
    }

    /// Returns the workspace `account_id` of `token`.
    ///
    /// # Errors
    /// [`WorkspaceError`].
    pub async fn workspace(&self, token: &Secret, account_id: &str) -> Result<Workspace, WorkspaceError> {
        let mut known = self.workspace.lock().await;
        if let Some((of, workspace)) = &*known
            && (*of, workspace.account_id.as_str()) == (token.fingerprint(), account_id)
        {
            return Ok(workspace.clone());
        }
        let workspace = self.ask(token, account_id).await?;
        *known = Some((token.fingerprint(), workspace.clone()));
        Ok(workspace)
    }

    /// Sends a request to learn whether the service still accepts `token`.
    ///
    /// # Errors
    /// [`WorkspaceError`]; [`WorkspaceError::Unauthorized`] if it does not.
    pub(super) async fn check(&self, token: &Secret, account_id: &str) -> Result<(), WorkspaceError> {
        let workspace = self.ask(token, account_id).await?;
        *self.workspace.lock().await = Some((token.fingerprint(), workspace));
        Ok(())
    }

    async fn ask(&self, token: &Secret, account_id: &str) -> Result<Workspace, WorkspaceError> {
        let endpoint = Endpoint::workspaces(self.chatgpt_url.as_deref())?;
        self.authority.workspace(&endpoint, token, account_id).await
    }
}
