//! The account methods: each responds to its request, then notifies the client of what changed.

use std::sync::Arc;

use codex_auth::config::ForbiddenLogin;
use codex_auth::login::BrowserMessage;
use codex_auth::manager::logout::LogoutScope;
use codex_auth::manager::{AuthManager, Job, JobOutcome, KnownToken, TokenDemand};
use codex_auth_platform::sync::lock;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::handed_in::{self, ClientTokens};
use super::logins::ObtainedLogin;
use super::message::{Message, RequestId, RpcError, error_response, response};
use super::protocol::{
    ACCOUNT_READ, AUTH_STATUS, AccountRead, AuthStatus, HandedInTokens, LOGIN_CANCEL, LOGIN_START,
    LoginCancel, LoginStart, parameters,
};
use super::server::{Server, Turn};
use crate::child;

impl Server {
    /// Runs an account method and sends its response.
    pub(super) async fn answer_account(self: &Arc<Self>, turn: &Turn) {
        let Ok(Message::Request { params, .. }) = Message::read(&turn.line) else { return };
        let outcome = match turn.method.as_str() {
            ACCOUNT_READ => self.read(params, turn.known).await,
            AUTH_STATUS => self.status(params, turn.known).await,
            LOGIN_START => return self.start_login(turn, params).await,
            LOGIN_CANCEL => return self.cancel_login(&turn.id, params).await,
            _ => return self.log_out(&turn.id).await,
        };
        self.client.send(response(&turn.id, &outcome)).await;
    }

    async fn read(&self, params: Option<&RawValue>, known: KnownToken) -> Result<Value, RpcError> {
        let AccountRead { refresh_token } = parameters(params)?;
        // The client asked for this refresh and needs no notification of it.
        let _hold = self.hold_notifications();
        let outcome = self.accounts.read(demand(refresh_token, known)).await;
        self.report_unrequested(&mut *self.reported.lock().await).await;
        outcome
    }

    async fn status(&self, params: Option<&RawValue>, known: KnownToken) -> Result<Value, RpcError> {
        let AuthStatus { include_token, refresh_token } = parameters(params)?;
        let _hold = self.hold_notifications();
        let status = self.accounts.status(demand(refresh_token, known), include_token).await;
        self.report_unrequested(&mut *self.reported.lock().await).await;
        status
    }

    async fn log_out(self: &Arc<Self>, id: &RequestId) {
        self.logins.cancel_all().await;
        let _hold = self.hold_notifications();
        match self.end_login().await {
            Ok(()) => {
                self.accounts.hand_in(None);
                *lock(&self.handshake.handed_in) = None;
                let _ = self.accounts.stored().reload().await;
                self.client.send(response(id, &Ok(json!({})))).await;
                self.report_account(&mut *self.reported.lock().await).await;
            }
            Err(error) => {
                // The token was withheld during the logout.
                let _ = self.accounts.stored().reload().await;
                self.client.send(error_response(Some(id), &error)).await;
            }
        }
    }

    /// Revokes and removes the stored login, or on an error keeps it.
    async fn end_login(&self) -> Result<(), RpcError> {
        // The helper process could not find the folder.
        if self.session.home().is_missing().map_err(RpcError::internal)? {
            return Ok(());
        }
        let job = Job::logout(LogoutScope::Revoke);
        let report = child::run_in_background(job).await.and_then(JobOutcome::into_logged_out);
        let report = report.map_err(|failure| {
            RpcError::internal(format!("failed to log out, and the login is kept: {}", failure.message))
        })?;
        match report.failed.first() {
            None => Ok(()),
            Some(left) => Err(RpcError::internal(&left.failure.message)),
        }
    }

    async fn start_login(self: &Arc<Self>, turn: &Turn, params: Option<&RawValue>) {
        let server = Arc::clone(self);
        let on_end = move |id: String, obtained| async move { server.finish_login(&id, obtained).await };
        let outcome = match parameters(params) {
            Ok(LoginStart::ChatgptAuthTokens(tokens)) => return self.hand_in(turn, &tokens).await,
            _ if self.accounts.handed_in().is_some() => Err(RpcError::invalid(
                "External auth is active. Use account/login/start (chatgptAuthTokens) to update it or account/logout to clear it.",
            )),
            Ok(LoginStart::ApiKey { api_key }) => {
                let _ = self.logins.cancel_all().await;
                let _hold = self.hold_notifications();
                match self.logins.store_api_key(&self.session, &api_key).await {
                    Ok(()) => {
                        let _ = self.accounts.stored().reload().await;
                        self.client.send(response(&turn.id, &Ok(json!({"type": "apiKey"})))).await;
                        self.notify_completed(None, None).await;
                        self.report_account(&mut *self.reported.lock().await).await;
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
            Ok(LoginStart::Chatgpt { use_hosted_login_success_page, app_brand }) => {
                let success = match use_hosted_login_success_page {
                    true => BrowserMessage::LoggedInAt(app_brand.unwrap_or_default().success_page()),
                    false => BrowserMessage::LoggedIn,
                };
                let originator = self.client.name().unwrap_or_default();
                self.logins.start_browser(&self.session, originator, success, on_end).await
            }
            Ok(LoginStart::ChatgptDeviceCode) => self.logins.start_device(&self.session, on_end).await,
            // `concerns_account` sends these to the next Codex.
            Ok(LoginStart::Other) => Err(RpcError::invalid("Invalid request: unknown type")),
            Err(error) => Err(error),
        };
        self.client.send(response(&turn.id, &outcome)).await;
    }

    async fn hand_in(&self, turn: &Turn, tokens: &HandedInTokens) {
        if let Err(error) = self.permit_handed_in(tokens) {
            return self.client.send(error_response(Some(&turn.id), &error)).await;
        }
        let Ok(token) = handed_in::token(tokens) else {
            let error = RpcError::internal("failed to set external auth: invalid ID token format");
            return self.client.send(error_response(Some(&turn.id), &error)).await;
        };
        self.logins.cancel_all().await;
        let _hold = self.hold_notifications();
        let provider = Arc::new(ClientTokens::new(Arc::clone(&self.client), token.clone()));
        let manager = AuthManager::builder(self.session.home().clone(), self.session.environment.clone());
        // An expired token is renewed on demand.
        let manager = manager.provider(provider).provided(token).open_anyway();
        self.accounts.hand_in(Some(manager));
        *lock(&self.handshake.handed_in) = Some(turn.line.clone());
        self.next.send_internal(&turn.line, &self.accounts.view());
        self.client.send(response(&turn.id, &Ok(json!({"type": "chatgptAuthTokens"})))).await;
        self.notify_completed(None, None).await;
        self.report_account(&mut *self.reported.lock().await).await;
    }

    fn permit_handed_in(&self, tokens: &HandedInTokens) -> Result<(), RpcError> {
        if !self.client.uses_experimental_api() {
            let message = format!("{LOGIN_START}.chatgptAuthTokens requires experimentalApi capability");
            return Err(RpcError::invalid(message));
        }
        match self.logins.permit_handed_in(&self.session, &tokens.chatgpt_account_id) {
            Ok(()) => Ok(()),
            Err(ForbiddenLogin::Workspace { allowed, .. }) => Err(RpcError::invalid(format!(
                "External auth must use one of workspace(s) {allowed:?}, but received {:?}.",
                tokens.chatgpt_account_id
            ))),
            Err(_) => Err(RpcError::invalid("External ChatGPT auth is disabled. Use API key login instead.")),
        }
    }

    async fn cancel_login(&self, id: &RequestId, params: Option<&RawValue>) {
        let cancelled =
            parameters(params).and_then(|LoginCancel { login_id }| self.logins.take_cancellable(&login_id));
        let (outcome, login) = match cancelled {
            Ok(Some(login)) => (Ok(json!({"status": "canceled"})), Some(login)),
            Ok(None) => (Ok(json!({"status": "notFound"})), None),
            Err(error) => (Err(error), None),
        };
        self.client.send(response(id, &outcome)).await;
        if let Some(login) = login {
            login.cancel().await;
        }
    }

    /// Stores a login that was obtained, and notifies the client of its outcome.
    async fn finish_login(&self, login_id: &str, obtained: Result<ObtainedLogin, String>) {
        let obtained = match obtained {
            Ok(obtained) => obtained,
            Err(error) => return self.notify_completed(Some(login_id), Some(&error)).await,
        };
        let _hold = self.hold_notifications();
        let failure = obtained.commit().await.err();
        let _ = self.accounts.stored().reload().await;
        self.notify_completed(Some(login_id), failure.as_deref()).await;
        if failure.is_none() {
            self.report_account(&mut *self.reported.lock().await).await;
        }
    }
}

fn demand(refresh_token: bool, known: KnownToken) -> TokenDemand {
    if refresh_token { TokenDemand::NewerThan(known) } else { TokenDemand::Fresh }
}
