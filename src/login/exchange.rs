//! The exchange of a code for tokens, on a thread that keeps or revokes them whatever becomes of the caller.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};

use super::{Error, PendingLogin, Setup};
use crate::authority::{self, Authorization, Endpoint, FirstTokens, Revocation, client_id};
use crate::secret::Secret;

/// The logins whose tokens may exist at the authority and are neither stored nor revoked yet.
///
/// Clones share one list. A program waits for it with [`Self::finish`] before it exits.
#[derive(Clone, Default)]
pub struct Exchanges(Arc<Shared>);

#[derive(Default)]
struct Shared {
    open: watch::Sender<usize>,
    failure: Mutex<Option<authority::Error>>,
}

impl Exchanges {
    /// Waits until the tokens of every login are stored or revoked. That takes the deadline of a token exchange and that
    /// of a revocation at most, unless the caller itself still has a [`PendingLogin`].
    ///
    /// # Errors
    /// A revocation failed since the last call: the tokens may be usable until they expire.
    pub async fn finish(&self) -> Result<(), authority::Error> {
        // The sender is in `self`, so the wait ends with the value that it is for.
        let _ = self.0.open.subscribe().wait_for(|open| *open == 0).await;
        let failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    fn open(&self) -> Open {
        self.0.open.send_modify(|open| *open += 1);
        Open(self.clone())
    }
}

impl fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanges").field("open", &*self.0.open.borrow()).finish_non_exhaustive()
    }
}

/// One entry of [`Exchanges`], removed on drop.
struct Open(Exchanges);

impl Open {
    fn failed(&self, error: authority::Error) {
        self.0.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}

/// Whether a login comes with an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiKey {
    None,
    #[cfg_attr(not(feature = "browser-login"), expect(dead_code, reason = "a login by browser asks for it"))]
    IfAvailable,
}

/// Exchanges `authorization` for tokens. A caller that drops this future, or the login that comes of it, leaves no tokens
/// behind: the thread that got them revokes them.
pub(super) async fn exchange(
    setup: &Setup,
    authorization: Authorization,
    api_key: ApiKey,
) -> Result<PendingLogin, Error> {
    let (deliver, delivered) = oneshot::channel();
    let exchange = Exchange { setup: setup.clone(), authorization, api_key, open: setup.exchanges.open() };
    // The caller's runtime may stop at any time, and a task of it would be dropped with the tokens.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let work = move || {
        let open = runtime.block_on(exchange.run(deliver));
        // A name lookup that hangs is not waited for.
        runtime.shutdown_background();
        drop(open);
    };
    thread::Builder::new().name("codex-auth exchange".to_owned()).spawn(work).map_err(Error::Thread)?;
    match delivered.await {
        Ok(result) => result,
        Err(_) => Err(Error::Thread(io::Error::other("the thread ended early"))),
    }
}

/// An exchange and the tokens that it brings.
struct Exchange {
    setup: Setup,
    authorization: Authorization,
    api_key: ApiKey,
    open: Open,
}

type Delivery = oneshot::Sender<Result<PendingLogin, Error>>;

impl Exchange {
    async fn run(self, deliver: Delivery) -> Open {
        if !deliver.is_closed() {
            let Setup { authority, issuer, .. } = &self.setup;
            match authority.exchange(issuer, &self.authorization).await {
                Ok(tokens) => self.keep_or_revoke(&tokens, deliver).await,
                // The caller may have left.
                Err(error) => drop(deliver.send(Err(error.into()))),
            }
        }
        self.open
    }

    async fn keep_or_revoke(&self, tokens: &FirstTokens, mut deliver: Delivery) {
        let api_key = tokio::select! {
            biased;
            () = deliver.closed() => return self.revoke(tokens).await,
            api_key = self.api_key(tokens) => api_key,
        };
        let document = match self.setup.document(tokens, api_key) {
            Ok(document) => document,
            Err(error) => {
                self.revoke(tokens).await;
                return drop(deliver.send(Err(error)));
            }
        };
        let (login, kept) = PendingLogin::issued(document);
        // Where the caller has left, this drops the login, as the caller would.
        drop(deliver.send(Ok(login)));
        if kept.await.is_err() {
            self.revoke(tokens).await;
        }
    }

    async fn api_key(&self, tokens: &FirstTokens) -> Option<Secret> {
        match self.api_key {
            ApiKey::None => None,
            // Not every account has one, and the login does not depend on it.
            ApiKey::IfAvailable => {
                self.setup.authority.api_key(&self.setup.issuer, &tokens.id_token).await.ok()
            }
        }
    }

    async fn revoke(&self, tokens: &FirstTokens) {
        let provenance = self.setup.issuer.provenance();
        let revoked = async {
            let endpoint = Endpoint::revoke(&self.setup.environment, &provenance)?;
            let (client_id, token) = (client_id(&provenance).to_owned(), tokens.refresh_token.clone());
            let revocation = Revocation::of_refresh_token(endpoint, client_id, token);
            self.setup.authority.revoke(&revocation).await
        };
        if let Err(error) = revoked.await {
            self.open.failed(error);
        }
    }
}
