//! The account methods: each answers its request, and then tells the client what has changed.

use std::sync::Arc;

use codex_auth::config::ForbiddenLogin;
use codex_auth::manager::logout::LogoutScope;
use codex_auth::manager::{AuthManager, Job, RefreshOutcome};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::account::{KnownToken, RefreshDemand};
use super::handed_in::{self, ClientTokens};
use super::logins::ObtainedLogin;
use super::message::{Message, RequestId, RpcError, answer, error};
use super::protocol::{
    ACCOUNT_READ, AUTH_STATUS, AccountRead, AuthStatus, HandedInTokens, LOGIN_CANCEL, LOGIN_START,
    LoginCancel, LoginStart, parameters,
};
use super::server::{Server, Turn, lock};
use crate::child;

impl Server {
    /// Answers a request that concerns the account.
    pub(super) async fn answer_account(self: &Arc<Self>, turn: &Turn) {
        let Ok(Message::Request { params, .. }) = Message::read(&turn.line) else { return };
        let outcome = match turn.method.as_str() {
            ACCOUNT_READ => self.read(params, turn.known).await,
            AUTH_STATUS => self.status(params, turn.known).await,
            LOGIN_START => return self.start_login(turn, params).await,
            LOGIN_CANCEL => return self.cancel_login(&turn.id, params).await,
            _ => return self.log_out(&turn.id).await,
        };
        self.client.send(answer(&turn.id, &outcome)).await;
    }

    async fn read(&self, params: Option<&RawValue>, known: KnownToken) -> Result<Value, RpcError> {
        let AccountRead { refresh_token } = parameters(params)?;
        // What this refreshes the client has asked for and need not be told.
        let _telling = self.begin_telling();
        let outcome = self.accounts.read(wanted(refresh_token, known)).await;
        self.wait_for_workers(&mut *self.told.lock().await).await;
        outcome
    }

    async fn status(&self, params: Option<&RawValue>, known: KnownToken) -> Result<Value, RpcError> {
        let AuthStatus { include_token, refresh_token } = parameters(params)?;
        let _telling = self.begin_telling();
        let status = self.accounts.status(wanted(refresh_token, known), include_token).await;
        self.wait_for_workers(&mut *self.told.lock().await).await;
        Ok(status)
    }

    async fn log_out(self: &Arc<Self>, id: &RequestId) {
        self.logins.cancel_all().await;
        let _telling = self.begin_telling();
        match self.end_login().await {
            Ok(()) => {
                self.accounts.hand_in(None);
                *lock(&self.greeting.handed_in) = None;
                let _ = self.accounts.stored().reload().await;
                self.client.send(answer(id, &Ok(json!({})))).await;
                self.tell(&mut *self.told.lock().await).await;
            }
            Err(refusal) => {
                // Its token was withheld while it was being ended.
                let _ = self.accounts.stored().reload().await;
                self.client.send(error(Some(id), &refusal)).await;
            }
        }
    }

    /// Revokes and removes what is stored, or keeps it all.
    async fn end_login(&self) -> Result<(), RpcError> {
        if self.session.stores.is_untouched().map_err(RpcError::internal)? {
            return Ok(());
        }
        let job = Job::logout(LogoutScope::Revoke);
        let done = tokio::task::spawn_blocking(move || child::run(&job, child::WaitNotice::None)).await;
        let failed =
            |why: String| RpcError::internal(format!("failed to log out, and the login is kept: {why}"));
        match done {
            Ok(Ok(RefreshOutcome::LoggedOut(report))) => match report.failed.first() {
                None => Ok(()),
                Some(left) => Err(RpcError::internal(left.failure.message.clone())),
            },
            Ok(Ok(RefreshOutcome::Failed(failure))) => Err(failed(failure.message)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            _ => Err(failed("unexpected reply from the child process".to_owned())),
        }
    }

    async fn start_login(self: &Arc<Self>, turn: &Turn, params: Option<&RawValue>) {
        let outcome = match parameters(params) {
            Ok(LoginStart::ChatgptAuthTokens(tokens)) => return self.hand_in(turn, &tokens).await,
            _ if self.accounts.handed_in().is_some() => Err(RpcError::invalid(
                "External auth is active. Use account/login/start (chatgptAuthTokens) to update it or account/logout to clear it.",
            )),
            Ok(LoginStart::ApiKey { api_key }) => {
                let _ = self.logins.cancel_all().await;
                let _telling = self.begin_telling();
                match self.logins.keep_api_key(&self.session, &api_key).await {
                    Ok(()) => {
                        let _ = self.accounts.stored().reload().await;
                        self.client.send(answer(&turn.id, &Ok(json!({"type": "apiKey"})))).await;
                        self.completed(None, None).await;
                        self.tell(&mut *self.told.lock().await).await;
                        return;
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Ok(LoginStart::Chatgpt) => self.logins.start_browser(self).await,
            Ok(LoginStart::ChatgptDeviceCode) => self.logins.start_device(self).await,
            // What only the next Codex knows never comes here.
            Ok(LoginStart::Other) => Err(RpcError::invalid("Invalid request: unknown type")),
            Err(refusal) => Err(refusal),
        };
        self.client.send(answer(&turn.id, &outcome)).await;
    }

    async fn hand_in(&self, turn: &Turn, tokens: &HandedInTokens) {
        if let Err(refusal) = self.may_hand_in(tokens) {
            return self.client.send(error(Some(&turn.id), &refusal)).await;
        }
        let Ok(token) = handed_in::token(tokens) else {
            let refusal = RpcError::internal("failed to set external auth: invalid ID token format");
            return self.client.send(error(Some(&turn.id), &refusal)).await;
        };
        self.logins.cancel_all().await;
        let _telling = self.begin_telling();
        let provider = Arc::new(ClientTokens::new(Arc::clone(&self.client), token.clone()));
        let manager = AuthManager::builder(self.session.home().clone(), self.session.environment.clone());
        // One that has ended is renewed when somebody wants it.
        let manager = manager.provider(provider).provided(token).open_anyway();
        self.accounts.hand_in(Some(manager));
        *lock(&self.greeting.handed_in) = Some(turn.line.clone());
        self.next.inform(&turn.line, &self.accounts.view());
        self.client.send(answer(&turn.id, &Ok(json!({"type": "chatgptAuthTokens"})))).await;
        self.completed(None, None).await;
        self.tell(&mut *self.told.lock().await).await;
    }

    fn may_hand_in(&self, tokens: &HandedInTokens) -> Result<(), RpcError> {
        if !self.client.uses_experimental_api() {
            let method = format!("{LOGIN_START}.chatgptAuthTokens requires experimentalApi capability");
            return Err(RpcError::invalid(method));
        }
        match self.logins.may_hand_in(&self.session, &tokens.chatgpt_account_id) {
            Ok(()) => Ok(()),
            Err(ForbiddenLogin::Workspace { allowed, .. }) => Err(RpcError::invalid(format!(
                "External auth must use one of workspace(s) {allowed:?}, but received {:?}.",
                tokens.chatgpt_account_id
            ))),
            Err(_) => Err(RpcError::invalid("External ChatGPT auth is disabled. Use API key login instead.")),
        }
    }

    async fn cancel_login(&self, id: &RequestId, params: Option<&RawValue>) {
        let cancelled = parameters(params).and_then(|LoginCancel { login_id }| self.logins.find(&login_id));
        let (outcome, login) = match cancelled {
            Ok(Some(login)) => (Ok(json!({"status": "canceled"})), Some(login)),
            Ok(None) => (Ok(json!({"status": "notFound"})), None),
            Err(refusal) => (Err(refusal), None),
        };
        self.client.send(answer(id, &outcome)).await;
        if let Some(login) = login {
            login.cancel().await;
        }
    }

    /// What becomes of a login that a person was asked for: it is kept, and the client is told.
    pub(super) async fn finish_login(&self, login_id: &str, obtained: ObtainedLogin) {
        let _telling = self.begin_telling();
        let failure = obtained.keep(&self.session).await.err();
        let _ = self.accounts.stored().reload().await;
        self.completed(Some(login_id), failure.as_deref()).await;
        if failure.is_none() {
            self.tell(&mut *self.told.lock().await).await;
        }
    }
}

fn wanted(refresh_token: bool, known: KnownToken) -> RefreshDemand {
    if refresh_token { RefreshDemand::NewerThan(known) } else { RefreshDemand::AsItIs }
}
