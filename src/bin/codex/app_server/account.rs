//! The account that a client sees: the tokens that it handed in, else a token of the environment, else the stored
//! login.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codex_auth::claims::PlanType;
use codex_auth::config::ModelProvider;
use codex_auth::config::OpenAiAuth;
use codex_auth::document::{AuthDocument, AuthMode, Identity};
use codex_auth::external::{ApiKeyPolicy, EnvironmentToken};
use codex_auth::manager::{
    AccountPolicy, AuthManager, Job, JobOutcome, RefreshReason, Snapshot, SnapshotStatus, TokenDemand,
};
use codex_auth::secret::Fingerprint;
use codex_auth::{Clock, Secret};
use codex_auth_platform::sync::lock;
use serde_json::{Value, json};

use super::message::RpcError;
use super::protocol::{auth_mode, plan_type};
use crate::child;
use crate::context::CommandContext;
use crate::error::CommandError;

/// Pause after a failed refresh; the shared state of the home may ask for a longer one.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Maximum delay of a request to the next app-server by a refresh before that is started.
const REFRESH_BEFORE_START: Duration = Duration::from_secs(10);

/// The sources of an account. They take precedence as in Codex: handed-in tokens, the environment, the stored login.
pub(super) struct Accounts {
    stored: AuthManager,
    environment: Option<EnvironmentToken>,
    handed_in: Mutex<Option<AuthManager>>,
    model_provider: ModelProvider,
    clock: Clock,
    pause: Mutex<Option<(Option<Fingerprint>, Instant)>>,
    /// The last stored token that the client was inclusion.
    known: Mutex<KnownToken>,
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

impl AccountView {
    /// Whether both show the same account in the same mode. A renewed ChatGPT token is still the same login.
    pub(super) fn is_same_login(&self, other: &Self) -> bool {
        let renewed = matches!(self.mode, Some(AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens));
        self.mode == other.mode && self.identity == other.identity && (renewed || self.token == other.token)
    }

    /// Whether the login was poisoned `before` and a new login has replaced it.
    pub(super) fn is_healed_since(&self, before: &Self) -> bool {
        before.poisoned && !self.poisoned
    }

    /// The parameters of `account/updated`.
    pub(super) fn parameters(&self) -> Value {
        let mode = self.mode.as_ref().and_then(auth_mode);
        let plan = mode.filter(|_| self.has_plan()).map(|_| plan_type(self.plan.as_ref()));
        json!({"authMode": mode, "planType": plan})
    }

    fn has_plan(&self) -> bool {
        matches!(self.mode, Some(AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens))
    }
}

/// When a request wants the token to be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshDemand {
    /// Unless the stored token differs from the one that the client knew when it sent the request.
    NewerThan(KnownToken),
    /// Only if the token is stale.
    IfStale,
}

/// The fingerprint of the token that the client knows.
pub(super) type KnownToken = Option<Fingerprint>;

impl Accounts {
    pub(super) fn open(session: &CommandContext) -> Result<Self, CommandError> {
        let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
        let stored = manager.policy(AccountPolicy::Follow).open_anyway();
        // As in Codex, the client counts as knowing the token that was stored when the server started.
        let known = stored.current().bearer_fingerprint();
        Ok(Self {
            stored,
            environment: EnvironmentToken::from_environment(&session.environment, ApiKeyPolicy::Ignore),
            handed_in: Mutex::default(),
            model_provider: session.stores.settings().model_provider()?,
            clock: session.clock.clone(),
            pause: Mutex::default(),
            known: Mutex::new(known),
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
        if let (None, Some(token)) = (self.handed_in(), &self.environment) {
            let token = token.token().fingerprint();
            let mode = self.environment.as_ref().map(|token| token.mode().clone());
            return AccountView { mode, token: Some(token), ..AccountView::default() };
        }
        let snapshot = self.snapshot();
        let document = snapshot.document();
        AccountView {
            mode: document.and_then(AuthDocument::mode),
            plan: document.and_then(|document| document.claims().plan.clone()),
            identity: Identity::new(document.and_then(AuthDocument::workspace), snapshot.identity().user_id),
            token: document.and_then(AuthDocument::bearer).map(Secret::fingerprint),
            poisoned: snapshot.status(self.clock.now()) == SnapshotStatus::Poisoned,
        }
    }

    /// Returns the result of `account/read`.
    pub(super) async fn read(&self, demand: RefreshDemand) -> Result<Value, RpcError> {
        let auth_required = self.model_provider.openai_auth == OpenAiAuth::Required;
        if self.handed_in().is_none() && self.environment.is_none() && auth_required {
            self.refresh(demand).await;
            self.record_known(demand, TokenInclusion::Nothing);
        }
        let view = self.view();
        let account = match &view.mode {
            _ if self.model_provider.name == "amazon-bedrock" => json!({
                "type": "amazonBedrock",
                "usesCodexManagedCredentials":
                    matches!(view.mode, Some(AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey)),
            }),
            _ if !auth_required || view.poisoned => Value::Null,
            Some(AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey) => {
                let message = "Bedrock API key auth is only supported by the Amazon Bedrock model provider";
                return Err(RpcError::invalid(message));
            }
            Some(AuthMode::ApiKey) => json!({"type": "apiKey"}),
            Some(mode) if auth_mode(mode).is_some() => json!({
                "type": "chatgpt",
                "email": self.snapshot().document().and_then(|document| document.claims().email.clone()),
                "planType": plan_type(view.plan.as_ref()),
            }),
            _ => Value::Null,
        };
        let user = view.identity.user_id.filter(|_| account["type"] == "chatgpt");
        Ok(json!({
            "account": account, "userId": user, "requiresOpenaiAuth": auth_required, "workspaceRouting": Value::Null,
        }))
    }

    /// Returns the result of `getAuthStatus`.
    pub(super) async fn status(&self, demand: RefreshDemand, include_token: bool) -> Value {
        let auth_required = self.model_provider.openai_auth == OpenAiAuth::Required;
        if !auth_required {
            return json!({"authMethod": Value::Null, "authToken": Value::Null, "requiresOpenaiAuth": false});
        }
        let token = match self.handed_in() {
            // The client renews its own tokens, and is asked to only once they have expired.
            Some(manager) if include_token => manager.token().await.ok().map(|token| token.secret().clone()),
            Some(_) => None,
            None if self.environment.is_some() => None,
            None => {
                self.refresh(demand).await;
                self.record_known(
                    demand,
                    if include_token { TokenInclusion::Token } else { TokenInclusion::Nothing },
                );
                self.stored_token()
            }
        };
        let token = token.filter(|_| include_token);
        json!({
            "authMethod": self.view().mode.as_ref().and_then(auth_mode),
            "authToken": token.as_ref().map(Secret::expose),
            "requiresOpenaiAuth": true,
        })
    }

    /// Refreshes a stale login before the next app-server is started, for [`REFRESH_BEFORE_START`] at most.
    pub(super) async fn refresh_before_start(&self) {
        let _ = tokio::time::timeout(REFRESH_BEFORE_START, self.refresh(RefreshDemand::IfStale)).await;
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

    /// Rereads the store and, where `demand` asks for it, refreshes in a child process. Errors are only logged: the
    /// caller reads the resulting snapshot.
    async fn refresh(&self, demand: RefreshDemand) {
        match demand {
            RefreshDemand::NewerThan(_) => drop(self.stored.reload().await),
            RefreshDemand::IfStale => self.stored.catch_up().await,
        }
        let snapshot = self.stored.current();
        let demand = match demand {
            RefreshDemand::NewerThan(known) => TokenDemand::NewerThan(known),
            RefreshDemand::IfStale => TokenDemand::Fresh,
        };
        let Some(reason) = snapshot.refresh_reason(demand, self.clock.now()) else { return };
        if reason == RefreshReason::Stale && self.is_paused(&snapshot) {
            return;
        }
        let job = Job::refresh(reason, &snapshot, AccountPolicy::Follow);
        let refreshed = child::run_in_background(job).await.and_then(JobOutcome::into_refreshed);
        if let Err(failure) = &refreshed {
            tracing::warn!(causes = ?failure.causes, "not refreshed: {}", failure.message);
        }
        let pause = refreshed.is_err().then(|| (fingerprint(&snapshot), Instant::now() + RETRY_PAUSE));
        *lock(&self.pause) = pause;
        let _ = self.stored.reload().await;
    }

    /// The token that the client knows.
    pub(super) fn known(&self) -> KnownToken {
        *lock(&self.known)
    }

    /// Records the stored token as known to the client, if the response contains it or the request demanded a newer
    /// one. As in Codex, a later forced request gets a token that the client does not know without a refresh.
    fn record_known(&self, demand: RefreshDemand, inclusion: TokenInclusion) {
        if (demand, inclusion) == (RefreshDemand::IfStale, TokenInclusion::Nothing) {
            return;
        }
        let token = self.stored.current().bearer_fingerprint();
        *lock(&self.known) = token;
    }

    fn is_paused(&self, snapshot: &Snapshot) -> bool {
        let pause = lock(&self.pause);
        pause.is_some_and(|(token, until)| token == fingerprint(snapshot) && Instant::now() < until)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.handed_in().map_or_else(|| self.stored.current(), |manager| manager.current())
    }
}

/// Whether a response contains a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenInclusion {
    Token,
    Nothing,
}

fn fingerprint(snapshot: &Snapshot) -> Option<Fingerprint> {
    snapshot.document().and_then(AuthDocument::fingerprint)
}
