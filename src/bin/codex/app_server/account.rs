//! The account that a client sees: the tokens that it handed in, else a token of the environment, else the stored
//! login.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use codex_auth::authority::{Workspace, WorkspaceError};
use codex_auth::claims::PlanType;
use codex_auth::config::ModelProvider;
use codex_auth::config::OpenAiAuth;
use codex_auth::document::{AuthDocument, AuthMode, Identity};
use codex_auth::external::{ApiKeyPolicy, EnvironmentToken};
use codex_auth::manager::{
    AccountPolicy, AuthManager, ClientRefresh, Divergence, KnownToken, OwnerLookup, Snapshot, SnapshotStatus,
    TokenDemand, TokenInclusion,
};
use codex_auth::secret::Fingerprint;
use codex_auth::{Clock, Secret, store};
use codex_auth_platform::sync::lock;
use serde_json::{Value, json};

use super::message::RpcError;
use super::protocol::{auth_mode, plan_type};
use crate::child;
use crate::context::CommandContext;
use crate::error::CommandError;

/// Maximum delay of a request to the next app-server by a refresh before that is started.
const REFRESH_BEFORE_START: Duration = Duration::from_secs(10);

/// The sources of an account. They take precedence as in Codex: handed-in tokens, the environment, the stored login.
pub(super) struct Accounts {
    stored: AuthManager,
    environment: Option<EnvironmentToken>,
    handed_in: Mutex<Option<AuthManager>>,
    model_provider: ModelProvider,
    clock: Clock,
    refreshes: ClientRefresh,
    owners: OwnerLookup,
}

/// The properties of the current login that a client can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountView {
    mode: Option<AuthMode>,
    plan: Option<PlanType>,
    identity: Identity,
    token: Option<Fingerprint>,
    poisoned: bool,
}

/// An account that belongs to a ChatGPT workspace.
struct ChatGptAccount {
    /// Its token and the workspace that this is used for.
    token: Secret,
    account_id: Option<String>,
    email: Option<String>,
    plan: Option<PlanType>,
    user_id: Option<String>,
}

/// Why the account is reported to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpdateReason {
    /// It has changed.
    Change,
    /// Its workspace is known, for the first time since the start.
    WorkspaceReady,
}

impl AccountView {
    /// Whether both show the same account in the same mode. A renewed ChatGPT token is still the same login.
    pub(super) fn is_same_login(&self, other: &Self) -> bool {
        let renewed = matches!(self.mode, Some(AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens));
        self.mode == other.mode && self.identity == other.identity && (renewed || self.token == other.token)
    }

    /// Whether `other` is this login, whose owner was not known yet.
    pub(super) fn is_named_by(&self, other: &Self) -> bool {
        self.identity == Identity::default() && self.mode == other.mode && self.token == other.token
    }

    /// Whether the login was poisoned `before` and a new login has replaced it.
    pub(super) fn is_healed_since(&self, before: &Self) -> bool {
        before.poisoned && !self.poisoned
    }

    /// The parameters of `account/updated`.
    pub(super) fn parameters(&self, reason: UpdateReason) -> Value {
        let mode = self.mode.as_ref().and_then(auth_mode);
        let plan = mode.filter(|_| self.has_plan()).map(|_| plan_type(self.plan.as_ref()));
        let reason = (reason == UpdateReason::WorkspaceReady).then_some("workspaceRoutingReady");
        json!({"authMode": mode, "planType": plan, "reason": reason})
    }

    fn has_plan(&self) -> bool {
        match self.mode {
            Some(AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens) => true,
            Some(AuthMode::PersonalAccessToken) => self.plan.is_some(),
            _ => false,
        }
    }
}

impl Accounts {
    pub(super) fn open(session: &CommandContext) -> Result<Self, CommandError> {
        let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
        let stored = manager.policy(AccountPolicy::Follow).open_anyway();
        Ok(Self {
            // As in Codex, the client counts as knowing the token that was stored when the server started.
            refreshes: ClientRefresh::new(stored.clone()),
            owners: OwnerLookup::new(&session.environment, &session.stores.settings().config),
            stored,
            environment: EnvironmentToken::from_environment(&session.environment, ApiKeyPolicy::Ignore),
            handed_in: Mutex::default(),
            model_provider: session.stores.settings().model_provider()?,
            clock: session.clock.clone(),
        })
    }

    /// The manager of the stored login.
    pub(super) fn stored(&self) -> &AuthManager {
        &self.stored
    }

    /// The manager of the tokens that the client handed in, if it did.
    pub(super) fn handed_in(&self) -> Option<AuthManager> {
        lock(&self.handed_in).clone()
    }

    /// Uses the tokens that the client handed in, or with `None` stops using them.
    pub(super) fn hand_in(&self, manager: Option<AuthManager>) {
        *lock(&self.handed_in) = manager;
    }

    pub(super) fn view(&self) -> AccountView {
        let snapshot = self.snapshot();
        let document = snapshot.document();
        let environment = self.environment.as_ref().filter(|_| self.handed_in().is_none());
        let (mode, token) = match environment {
            Some(token) => (Some(token.mode().clone()), Some(token.token().access_token().clone())),
            None => (document.and_then(AuthDocument::mode), document.and_then(AuthDocument::bearer).cloned()),
        };
        let fingerprint = token.as_ref().map(Secret::fingerprint);
        if mode == Some(AuthMode::PersonalAccessToken) {
            let profile = token.and_then(|token| self.owners.known_profile(&token)).unwrap_or_default();
            let plan = profile.plan.as_deref().map(PlanType::from_name);
            let identity = Identity::new(profile.account_id.clone(), profile.user_id.clone());
            return AccountView { mode, plan, identity, token: fingerprint, poisoned: false };
        }
        if environment.is_some() {
            return AccountView { mode, token: fingerprint, ..AccountView::default() };
        }
        AccountView {
            mode,
            plan: document.and_then(plan_of),
            identity: Identity::new(document.and_then(AuthDocument::workspace), snapshot.identity().user_id),
            token: fingerprint,
            poisoned: snapshot.status(self.clock.now()) == SnapshotStatus::Poisoned,
        }
    }

    /// Returns the result of `account/read`.
    pub(super) async fn read(&self, demand: TokenDemand) -> Result<Value, RpcError> {
        let auth_required = self.requires_openai_auth();
        if self.handed_in().is_none() && self.environment.is_none() && auth_required {
            self.refresh(demand).await;
            self.refreshes.record_known(demand, TokenInclusion::Nothing);
            self.check_readable()?;
        }
        let view = self.view();
        let (mut user, mut workspace) = (None, None);
        let account = match &view.mode {
            _ if self.model_provider.name == "amazon-bedrock" => json!({
                "type": "amazonBedrock",
                "usesCodexManagedCredentials":
                    matches!(view.mode, Some(AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey)),
            }),
            _ if !auth_required => Value::Null,
            Some(AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey) => {
                let message = "Bedrock API key auth is only supported by the Amazon Bedrock model provider";
                return Err(RpcError::invalid(message));
            }
            Some(AuthMode::ApiKey) => json!({"type": "apiKey"}),
            _ => match self.chatgpt_account().await {
                None => Value::Null,
                Some(account) => {
                    workspace = self.workspace(&account).await.map_err(|error| {
                        tracing::debug!(error = ?error, "the workspace is unknown");
                        RpcError::internal(error)
                    })?;
                    user.clone_from(&account.user_id);
                    json!({
                        "type": "chatgpt",
                        "email": account.email,
                        "planType": plan_type(account.plan.as_ref()),
                        "workspaceName": workspace.as_ref().and_then(|workspace| workspace.name.clone()),
                    })
                }
            },
        };
        let routing = workspace.map(|workspace| {
            json!({
                "chatgptAccountId": workspace.account_id,
                "backendOrigin": workspace.backend_origin,
                "accountRoutingOverride": workspace.routing_override,
            })
        });
        Ok(json!({
            "account": account, "userId": user, "requiresOpenaiAuth": auth_required, "workspaceRouting": routing,
        }))
    }

    /// Looks up the workspace of the current account, as Codex does when it starts. Returns whether there is one.
    pub(super) async fn discover(&self) -> bool {
        if !self.requires_openai_auth() {
            return false;
        }
        self.refresh_if_stale().await;
        match self.chatgpt_account().await {
            Some(account) => matches!(self.workspace(&account).await, Ok(Some(_))),
            None => false,
        }
    }

    /// Refreshes a stale login, if the stored one is used.
    pub(super) async fn refresh_if_stale(&self) {
        if self.handed_in().is_none() && self.environment.is_none() && self.requires_openai_auth() {
            self.refresh(TokenDemand::Fresh).await;
        }
    }

    /// The account of the current login, if it has a ChatGPT workspace and its tokens are usable.
    async fn chatgpt_account(&self) -> Option<ChatGptAccount> {
        let view = self.view();
        let snapshot = self.snapshot();
        let document = snapshot.document();
        match view.mode.as_ref()? {
            AuthMode::PersonalAccessToken => {
                let environment = self.environment.as_ref().filter(|_| self.handed_in().is_none());
                let token = match environment {
                    Some(token) => token.token().access_token().clone(),
                    None => document?.bearer()?.clone(),
                };
                let profile = self.owners.profile(&token).await.ok()??;
                Some(ChatGptAccount {
                    token,
                    account_id: profile.account_id.clone(),
                    email: profile.email.clone(),
                    plan: profile.plan.as_deref().map(PlanType::from_name),
                    user_id: profile.user_id.clone(),
                })
            }
            mode if view.poisoned || auth_mode(mode).is_none() => None,
            _ => {
                let document = document.filter(|_| self.handed_in().is_some() || self.environment.is_none());
                Some(ChatGptAccount {
                    token: document
                        .and_then(AuthDocument::bearer)
                        .cloned()
                        .unwrap_or_else(|| Secret::from("")),
                    account_id: document
                        .and_then(AuthDocument::tokens)
                        .and_then(|tokens| tokens.account_id.clone()),
                    email: document.and_then(|document| document.claims().email.clone()),
                    plan: view.plan,
                    user_id: view.identity.user_id,
                })
            }
        }
    }

    /// Returns the workspace of `account`; `None` if the account names none. A stored token that the service refuses is
    /// refreshed once.
    async fn workspace(&self, account: &ChatGptAccount) -> Result<Option<Workspace>, WorkspaceError> {
        let Some(id) = account.account_id.as_deref().filter(|_| !account.token.is_empty()) else {
            return Ok(None);
        };
        match self.owners.workspace(&account.token, id).await {
            Err(WorkspaceError::Unauthorized) => match self.token_after_refusal(&account.token).await {
                Some(token) => self.owners.workspace(&token, id).await.map(Some),
                None => Err(WorkspaceError::Unauthorized),
            },
            found => found.map(Some),
        }
    }

    /// Returns the stored token that follows `refused`, which is refreshed if it is still stored.
    async fn token_after_refusal(&self, refused: &Secret) -> Option<Secret> {
        if self.handed_in().is_some() || self.environment.is_some() {
            return None;
        }
        self.refresh(TokenDemand::OtherThan(refused.fingerprint())).await;
        let snapshot = self.stored.current();
        snapshot.document()?.bearer().filter(|token| *token != refused).cloned()
    }

    /// Checks that the stored login is known: one that cannot be read is no logout.
    fn check_readable(&self) -> Result<(), RpcError> {
        match self.stored.current().divergence() {
            Some(Divergence::Unreadable(error)) if matches!(**error, store::Error::EncryptedLogin { .. }) => {
                Err(RpcError::internal(error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the result of `getAuthStatus`.
    pub(super) async fn status(&self, demand: TokenDemand, include_token: bool) -> Result<Value, RpcError> {
        if !self.requires_openai_auth() {
            let status =
                json!({"authMethod": Value::Null, "authToken": Value::Null, "requiresOpenaiAuth": false});
            return Ok(status);
        }
        let token = match self.handed_in() {
            // The client renews its own tokens, and is asked to only once they have expired.
            Some(manager) if include_token => manager.token().await.ok().map(|token| token.secret().clone()),
            Some(_) => None,
            None if self.environment.is_some() => None,
            None => {
                self.refresh(demand).await;
                let inclusion = if include_token { TokenInclusion::Token } else { TokenInclusion::Nothing };
                self.refreshes.record_known(demand, inclusion);
                self.check_readable()?;
                self.stored_token()
            }
        };
        let token = token.filter(|_| include_token);
        let mode = self.view().mode;
        let is_usable = match mode {
            Some(AuthMode::PersonalAccessToken) => self.chatgpt_account().await.is_some(),
            Some(AuthMode::ApiKey) => self.snapshot().document().is_some_and(|key| key.bearer().is_some()),
            _ => true,
        };
        Ok(json!({
            "authMethod": mode.as_ref().filter(|_| is_usable).and_then(auth_mode),
            "authToken": token.as_ref().map(Secret::expose),
            "requiresOpenaiAuth": true,
        }))
    }

    /// Refreshes a stale login, and one whose token the service refuses, before the next app-server is started; takes
    /// [`REFRESH_BEFORE_START`] at most.
    pub(super) async fn refresh_before_start(&self) {
        let _ = tokio::time::timeout(REFRESH_BEFORE_START, self.discover()).await;
    }

    /// Refreshes the stored login if the service refuses its token, before the next app-server uses it for a turn.
    pub(super) async fn refresh_before_turn(&self) {
        if self.handed_in().is_none() && self.environment.is_none() && self.requires_openai_auth() {
            self.refreshes.refresh_if_refused(&self.owners, child::run_in_background).await;
        }
    }

    /// The stored token, if `getAuthStatus` may return it: personal access tokens and agent identities are left out.
    fn stored_token(&self) -> Option<Secret> {
        let snapshot = self.stored.current();
        let usable =
            matches!(snapshot.status(self.clock.now()), SnapshotStatus::Fresh | SnapshotStatus::Stale);
        let document = snapshot.document().filter(|_| usable)?;
        let allowed =
            matches!(document.mode()?, AuthMode::ApiKey | AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens);
        document.bearer().filter(|_| allowed).cloned()
    }

    /// Refreshes the stored login where `demand` asks for it, in a child process.
    async fn refresh(&self, demand: TokenDemand) {
        self.refreshes.refresh(demand, child::run_in_background).await;
    }

    /// Reads the store again after the next app-server has changed the login for the client, which knows the new token.
    pub(super) async fn adopt_change(&self) {
        let _ = self.stored.reload().await;
        self.refreshes.record_known(TokenDemand::Fresh, TokenInclusion::Token);
    }

    /// The token that the client knows.
    pub(super) fn known(&self) -> KnownToken {
        self.refreshes.known()
    }

    fn requires_openai_auth(&self) -> bool {
        self.model_provider.openai_auth == OpenAiAuth::Required
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.handed_in().map_or_else(|| self.stored.current(), |manager| manager.current())
    }
}

/// The plan of a login: that of its access token if this is for another workspace than the id token, as after a switch of
/// workspaces.
fn plan_of(document: &AuthDocument) -> Option<PlanType> {
    let (id, access) = (document.claims(), document.access_claims());
    let switched = access.account_id.is_some() && access.account_id != id.account_id;
    let plan =
        if switched && document.mode() == Some(AuthMode::ChatGpt) { access.plan.as_ref() } else { None };
    plan.or(id.plan.as_ref()).cloned()
}
