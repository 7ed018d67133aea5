//! Whose account a client is told of: what its host handed in, else what the environment holds, else what is stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use codex_auth::claims::PlanType;
use codex_auth::config::ModelProvider;
use codex_auth::config::OpenAiAuth;
use codex_auth::document::{AuthDocument, AuthMode, Identity};
use codex_auth::external::{ApiKeys, EnvironmentToken};
use codex_auth::manager::{
    AccountPolicy, AuthManager, Job, RefreshOutcome, RefreshReason, Snapshot, SnapshotStatus,
};
use codex_auth::secret::Fingerprint;
use codex_auth::{Clock, Secret};
use serde_json::{Value, json};

use super::message::RpcError;
use super::protocol::{auth_mode, plan_type};
use crate::child;
use crate::context::CommandContext;
use crate::error::CommandError;

/// How long a token is left alone that could not be refreshed; the shared record of the home knows for how much longer.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a refresh may keep a client from a program that it needs.
const IN_TIME: Duration = Duration::from_secs(10);

/// The sources of an account, in the order in which they count (`codex-behaviour.md` 2.1).
pub(super) struct Accounts {
    stored: AuthManager,
    environment: Option<EnvironmentToken>,
    handed_in: Mutex<Option<AuthManager>>,
    model_provider: ModelProvider,
    clock: Clock,
    pause: Mutex<Option<(Option<Fingerprint>, Instant)>>,
    /// The stored token that the client knows of.
    known: Mutex<KnownToken>,
}

/// Who is logged in, as a client would see a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountView {
    mode: Option<AuthMode>,
    plan: Option<PlanType>,
    identity: Identity,
    token: Option<Fingerprint>,
    dead: bool,
}

impl AccountView {
    /// Whether both are the login of one account in one way: a token that renews another is no other login.
    pub(super) fn is_same_login(&self, other: &Self) -> bool {
        let renewed = matches!(self.mode, Some(AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens));
        self.mode == other.mode && self.identity == other.identity && (renewed || self.token == other.token)
    }

    /// Whether a login that was dead `before` gives out tokens again: somebody has logged in, here or elsewhere.
    pub(super) fn is_healed_since(&self, before: &Self) -> bool {
        before.dead && !self.dead
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

/// Whether a refresh is wanted of a token that is good still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshDemand {
    /// Another token than the client knew when it asked.
    NewerThan(KnownToken),
    AsItIs,
}

/// The token that the client knows, by its fingerprint.
pub(super) type KnownToken = Option<Fingerprint>;

impl Accounts {
    pub(super) fn open(session: &CommandContext) -> Result<Self, CommandError> {
        let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
        let stored = manager.policy(AccountPolicy::Follow).open_anyway();
        // As for Codex, what the server began with is no news to its client.
        let known = stored.current().bearer_fingerprint();
        Ok(Self {
            stored,
            environment: EnvironmentToken::of(&session.environment, ApiKeys::Ignored),
            handed_in: Mutex::default(),
            model_provider: session.stores.settings().model_provider()?,
            clock: session.clock.clone(),
            pause: Mutex::default(),
            known: Mutex::new(known),
        })
    }

    /// What is stored.
    pub(super) fn stored(&self) -> &AuthManager {
        &self.stored
    }

    /// The client's own tokens, while they count.
    pub(super) fn handed_in(&self) -> Option<AuthManager> {
        self.handed_in.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the client's own tokens count, or none of them any more.
    pub(super) fn hand_in(&self, manager: Option<AuthManager>) {
        *self.handed_in.lock().unwrap_or_else(PoisonError::into_inner) = manager;
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
            dead: snapshot.standing(self.clock.now()) == SnapshotStatus::Poisoned,
        }
    }

    /// The answer to `account/read`.
    pub(super) async fn read(&self, wanted: RefreshDemand) -> Result<Value, RpcError> {
        let needed = self.model_provider.openai_auth == OpenAiAuth::Required;
        if self.handed_in().is_none() && self.environment.is_none() && needed {
            self.freshen(wanted).await;
            self.client_knows(wanted, TokenInclusion::Nothing);
        }
        let view = self.view();
        let account = match &view.mode {
            _ if self.model_provider.name == "amazon-bedrock" => json!({
                "type": "amazonBedrock",
                "usesCodexManagedCredentials":
                    matches!(view.mode, Some(AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey)),
            }),
            _ if !needed || view.dead => Value::Null,
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
            "account": account, "userId": user, "requiresOpenaiAuth": needed, "workspaceRouting": Value::Null,
        }))
    }

    /// The answer to `getAuthStatus`.
    pub(super) async fn status(&self, wanted: RefreshDemand, include_token: bool) -> Value {
        let needed = self.model_provider.openai_auth == OpenAiAuth::Required;
        if !needed {
            return json!({"authMethod": Value::Null, "authToken": Value::Null, "requiresOpenaiAuth": false});
        }
        let token = match self.handed_in() {
            // Renewing them is the client's own business, and it is asked only when they have ended.
            Some(manager) if include_token => {
                manager.token().await.ok().and_then(|token| token.secret().cloned())
            }
            Some(_) => None,
            None if self.environment.is_some() => None,
            None => {
                self.freshen(wanted).await;
                self.client_knows(
                    wanted,
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

    /// Refreshes a stale login for a program that is about to be started, if that does not take long.
    pub(super) async fn freshen_in_time(&self) {
        let _ = tokio::time::timeout(IN_TIME, self.freshen(RefreshDemand::AsItIs)).await;
    }

    /// The stored token, if it may be told: personal access tokens and agent identities are not.
    fn stored_token(&self) -> Option<Secret> {
        let snapshot = self.stored.current();
        let usable =
            matches!(snapshot.standing(self.clock.now()), SnapshotStatus::Fresh | SnapshotStatus::Stale);
        let document = snapshot.document().filter(|_| usable)?;
        let told =
            matches!(document.mode()?, AuthMode::ApiKey | AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens);
        document.bearer().filter(|_| told).cloned()
    }

    /// Looks again and refreshes, as far as that is wanted, in a child. What goes wrong is seen in what is there afterwards.
    async fn freshen(&self, wanted: RefreshDemand) {
        match wanted {
            RefreshDemand::NewerThan(_) => drop(self.stored.reload().await),
            RefreshDemand::AsItIs => self.stored.catch_up().await,
        }
        let snapshot = self.stored.current();
        // A newer token may be there already.
        let wanted = match wanted {
            RefreshDemand::NewerThan(known) if snapshot.bearer_fingerprint() != known => {
                RefreshDemand::AsItIs
            }
            wanted => wanted,
        };
        let refreshable = snapshot.document().and_then(AuthDocument::fingerprint).is_some();
        let reason = match (snapshot.standing(self.clock.now()), wanted) {
            _ if !refreshable => return,
            (SnapshotStatus::Poisoned | SnapshotStatus::Empty, _)
            | (SnapshotStatus::Fresh, RefreshDemand::AsItIs) => return,
            (_, RefreshDemand::NewerThan(_)) => RefreshReason::Forced,
            (_, RefreshDemand::AsItIs) if self.pauses(&snapshot) => return,
            (_, RefreshDemand::AsItIs) => RefreshReason::Stale,
        };
        let job = Job::refresh(reason, &snapshot, AccountPolicy::Follow);
        let done = tokio::task::spawn_blocking(move || child::run(&job, child::WaitNotice::None)).await;
        let refreshed = matches!(done, Ok(Ok(RefreshOutcome::Served)));
        if let Ok(Ok(RefreshOutcome::Failed(failure))) = &done {
            tracing::warn!(causes = ?failure.causes, "not refreshed: {}", failure.message);
        }
        let pause = (!refreshed).then(|| (fingerprint(&snapshot), Instant::now() + PAUSE));
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = pause;
        let _ = self.stored.reload().await;
    }

    /// The token that the client knows now.
    pub(super) fn known(&self) -> KnownToken {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client knows a token that it was given, and one that it has asked for anew. An answer without a token to a plain
    /// question teaches it nothing: a forced one after that still gets the stored token unspent, as from Codex.
    fn client_knows(&self, wanted: RefreshDemand, given: TokenInclusion) {
        if (wanted, given) == (RefreshDemand::AsItIs, TokenInclusion::Nothing) {
            return;
        }
        let token = self.stored.current().bearer_fingerprint();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    fn pauses(&self, snapshot: &Snapshot) -> bool {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.is_some_and(|(token, until)| token == fingerprint(snapshot) && Instant::now() < until)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.handed_in().map_or_else(|| self.stored.current(), |manager| manager.current())
    }
}

/// Whether an answer holds a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenInclusion {
    Token,
    Nothing,
}

fn fingerprint(snapshot: &Snapshot) -> Option<Fingerprint> {
    snapshot.document().and_then(AuthDocument::fingerprint)
}
