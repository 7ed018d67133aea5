//! Logins that are to be stored, and those whose tokens are neither stored nor revoked yet.

use std::fmt;
use std::sync::{Arc, Mutex};

use codex_auth_platform::sync::lock;
use tokio::sync::watch;

use crate::authority::{self, Authorization};
use crate::document::AuthDocument;

/// A login that the user has approved, or a credential that they supplied. [`LoginSession::commit`] gets its tokens and
/// stores it; no tokens exist before that, so that it may be dropped.
///
/// [`LoginSession::commit`]: super::LoginSession::commit
#[derive(Debug)]
#[must_use = "it is stored by `LoginSession::commit`"]
pub struct PendingLogin(pub(super) LoginSource);

/// How the credential of a login is obtained.
#[derive(Debug)]
pub(super) enum LoginSource {
    /// By the exchange of a code, and by a request for an API key.
    Code(Authorization, ApiKeyRequest),
    Supplied(Box<AuthDocument>),
}

/// Whether to request an API key with the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiKeyRequest {
    None,
    #[cfg_attr(not(feature = "browser-login"), expect(dead_code, reason = "used by browser logins"))]
    IfAvailable,
}

impl PendingLogin {
    pub(super) fn of_code(authorization: Authorization, api_key: ApiKeyRequest) -> Self {
        Self(LoginSource::Code(authorization, api_key))
    }
}

impl From<AuthDocument> for PendingLogin {
    /// Wraps a credential that the user supplied: the authority issued nothing for it, and nothing is revoked.
    fn from(document: AuthDocument) -> Self {
        Self(LoginSource::Supplied(Box::new(document)))
    }
}

/// The logins whose tokens may exist at the authority and are neither stored nor revoked yet. Clones share one list.
///
/// Await [`Self::finish`] before the program exits. If it exits all the same, the rescue names the tokens, and the next
/// holder of the lease revokes them.
#[derive(Clone, Default)]
pub struct PendingExchanges(Arc<ExchangeList>);

#[derive(Default)]
struct ExchangeList {
    open: watch::Sender<usize>,
    failure: Mutex<Option<authority::Error>>,
}

impl PendingExchanges {
    /// Waits until every login has ended: its tokens are stored or revoked, or none were issued. That takes at most the
    /// timeouts of a token exchange and a revocation.
    ///
    /// # Errors
    /// A revocation failed since the last call: the next holder of the lease tries again.
    pub async fn finish(&self) -> Result<(), authority::Error> {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.0.open.subscribe().wait_for(|open| *open == 0).await;
        let failure = lock(&self.0.failure).take();
        failure.map_or(Ok(()), Err)
    }

    pub(super) fn open(&self) -> OpenExchange {
        self.0.open.send_modify(|open| *open += 1);
        OpenExchange(self.clone())
    }
}

impl fmt::Debug for PendingExchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanges").field("open", &*self.0.open.borrow()).finish_non_exhaustive()
    }
}

/// One entry of [`PendingExchanges`], removed on drop.
pub(super) struct OpenExchange(PendingExchanges);

impl OpenExchange {
    pub(super) fn record_failure(&self, error: authority::Error) {
        lock(&self.0.0.failure).get_or_insert(error);
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}
