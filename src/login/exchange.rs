//! Exchanges a code for tokens on a thread that revokes them if the caller does not store them.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::error::Error;
use super::pending::{OpenExchange, PendingLogin};
use super::setup::LoginSetup;
use crate::authority::{self, Authorization, Endpoint, FirstTokens, Revocation, TokenResponse, client_id};
use crate::document::AuthDocument;

/// Whether to request an API key with the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiKeyRequest {
    None,
    #[cfg_attr(not(feature = "browser-login"), expect(dead_code, reason = "used by browser logins"))]
    IfAvailable,
}

/// Exchanges `authorization` for tokens. If the caller drops this future or the returned login, the thread that got the
/// tokens revokes them.
pub(super) async fn exchange(
    setup: &LoginSetup,
    authorization: Authorization,
    api_key: ApiKeyRequest,
) -> Result<PendingLogin, Error> {
    let (deliver, delivered) = oneshot::channel();
    let exchange =
        CodeExchange { setup: setup.clone(), authorization, api_key, open: setup.exchanges.open() };
    // The caller's runtime may stop at any time, which would drop a task and the tokens in it.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let work = move || {
        let open = runtime.block_on(exchange.run(deliver));
        // Do not wait for a name lookup that hangs.
        runtime.shutdown_background();
        drop(open);
    };
    thread::Builder::new().name("codex-auth exchange".to_owned()).spawn(work).map_err(Error::Thread)?;
    match delivered.await {
        Ok(result) => result,
        Err(_) => Err(Error::Thread(io::Error::other("the thread ended early"))),
    }
}

/// The work of the exchange thread.
struct CodeExchange {
    setup: LoginSetup,
    authorization: Authorization,
    api_key: ApiKeyRequest,
    open: OpenExchange,
}

type TokenSender = oneshot::Sender<Result<PendingLogin, Error>>;

impl CodeExchange {
    async fn run(self, deliver: TokenSender) -> OpenExchange {
        if !deliver.is_closed() {
            let LoginSetup { authority, issuer, .. } = &self.setup;
            match authority.exchange(issuer, &self.authorization).await {
                Ok(response) => self.deliver_or_revoke(&response, deliver).await,
                // The caller may have dropped the receiver.
                Err(error) => drop(deliver.send(Err(error.into()))),
            }
        }
        self.open
    }

    async fn deliver_or_revoke(&self, response: &TokenResponse, mut deliver: TokenSender) {
        let document = tokio::select! {
            biased;
            () = deliver.closed() => return self.revoke(response).await,
            document = self.document(response) => document,
        };
        let (login, committed) = match document {
            Ok(document) => PendingLogin::from_authority(document),
            Err(error) => {
                self.revoke(response).await;
                return drop(deliver.send(Err(error)));
            }
        };
        // If the receiver is gone, this drops the login.
        drop(deliver.send(Ok(login)));
        if committed.await.is_err() {
            self.revoke(response).await;
        }
    }

    async fn document(&self, response: &TokenResponse) -> Result<AuthDocument, Error> {
        let LoginSetup { authority, issuer, .. } = &self.setup;
        let tokens = FirstTokens::from_response(issuer, response.clone())?;
        let api_key = match self.api_key {
            ApiKeyRequest::None => None,
            // Not every account has an API key, and the login does not depend on it.
            ApiKeyRequest::IfAvailable => authority.api_key(issuer, &tokens.id_token).await.ok(),
        };
        self.setup.document(tokens, api_key)
    }

    async fn revoke(&self, response: &TokenResponse) {
        if let Err(error) = self.try_revoke(response).await {
            self.open.record_failure(error);
        }
    }

    async fn try_revoke(&self, response: &TokenResponse) -> Result<(), authority::Error> {
        let provenance = self.setup.issuer.provenance();
        let endpoint = Endpoint::revoke(&self.setup.environment, &provenance)?;
        let TokenResponse { refresh_token, access_token, .. } = response.clone();
        let revocation = match (refresh_token, access_token) {
            (Some(token), _) => {
                Revocation::of_refresh_token(endpoint, client_id(&provenance).to_owned(), token)
            }
            (None, Some(token)) => Revocation::of_access_token(endpoint, token),
            (None, None) => return Ok(()),
        };
        self.setup.authority.revoke(&revocation).await.map(drop)
    }
}
