//! An authority in memory, for the tests of host applications (feature `testing`).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use codex_auth_platform::sync::lock;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::wire::{Exchange, HttpClient, HttpRequest, HttpResponse};
use super::{Authority, client_id};
use crate::config::Environment;
use crate::document::{AuthDocument, Error, NewLogin, Provenance};
use crate::secret::Secret;

/// An authority that issues tokens in memory: single-use refresh tokens, and access tokens of one account. It sends
/// nothing and needs no runtime.
///
/// ```
/// use std::time::Duration;
///
/// use codex_auth::authority::MemoryAuthority;
/// use codex_auth::manager::{AuthManager, RefreshReason};
/// use codex_auth::{Environment, Home, blocking};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let authority = MemoryAuthority::new(Duration::from_secs(3600));
/// std::fs::write(folder.path().join("auth.json"), authority.log_in()?.to_pretty())?;
///
/// let environment = Environment::for_home(folder.path());
/// let manager = AuthManager::builder(Home::at(folder.path())?, environment).authority(authority.client()).open()?;
/// let before = blocking::token(&manager)?;
/// blocking::refresh(&manager, RefreshReason::Forced)?;
/// assert_ne!(blocking::token(&manager)?.secret(), before.secret());
/// assert_eq!(authority.refreshes(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryAuthority(Arc<MemoryShared>);

#[derive(Debug)]
struct MemoryShared {
    lifetime: Duration,
    tokens: Mutex<IssuedTokens>,
}

#[derive(Debug, Default)]
struct IssuedTokens {
    issued: u64,
    refreshes: usize,
    live: HashSet<String>,
}

struct IssuedTriple {
    id_token: String,
    access_token: String,
    refresh_token: String,
}

impl MemoryAuthority {
    /// Creates an authority whose access tokens are valid for `lifetime`.
    #[must_use]
    pub fn new(lifetime: Duration) -> Self {
        Self(Arc::new(MemoryShared { lifetime, tokens: Mutex::default() }))
    }

    /// Returns the document of a new login.
    ///
    /// # Errors
    /// [`Error`]: the document cannot be created, which does not happen with the tokens of this authority.
    pub fn log_in(&self) -> Result<AuthDocument, Error> {
        let tokens = self.0.issue();
        let login = NewLogin {
            id_token: Secret::new(tokens.id_token),
            access_token: Secret::new(tokens.access_token),
            refresh_token: Secret::new(tokens.refresh_token),
            api_key: None,
            provenance: Provenance::new(None, Some(client_id(&Provenance::default()).to_owned())),
            login_id: "memory".to_owned(),
        };
        AuthDocument::with_chatgpt_login(&login, Timestamp::now())
    }

    /// Returns a client whose requests go to this authority, whatever their address.
    #[must_use]
    pub fn client(&self) -> Authority {
        let to_here = || Box::new(MemoryClient(Arc::clone(&self.0))) as Box<dyn HttpClient>;
        Authority::with_clients(&Environment::for_home("/"), to_here(), to_here())
    }

    /// Returns how many refreshes have succeeded.
    #[must_use]
    pub fn refreshes(&self) -> usize {
        lock(&self.0.tokens).refreshes
    }

    /// Revokes every refresh token, so that the next refresh fails permanently.
    pub fn revoke_all(&self) {
        lock(&self.0.tokens).live.clear();
    }
}

impl MemoryShared {
    fn issue(&self) -> IssuedTriple {
        let mut tokens = lock(&self.tokens);
        tokens.issued += 1;
        let (number, now) = (tokens.issued, Timestamp::now().as_second());
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        let account = json!({"chatgpt_account_id": "acct-memory", "chatgpt_user_id": "user-memory"});
        let claims = json!({
            "iat": now,
            "exp": now.saturating_add(lifetime),
            "jti": number,
            "https://api.openai.com/auth": account,
        });
        let refresh_token = format!("memory-refresh-{number}");
        tokens.live.insert(refresh_token.clone());
        IssuedTriple { id_token: jwt(&claims), access_token: jwt(&claims), refresh_token }
    }

    fn answer(&self, request: &HttpRequest) -> (StatusCode, Value) {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if request.address.path().ends_with("/revoke") {
            lock(&self.tokens).live.remove(field("token"));
            return (StatusCode::OK, json!({}));
        }
        if field("grant_type") != "refresh_token" {
            return (StatusCode::NOT_FOUND, json!({"error": "not_in_memory"}));
        }
        {
            let mut tokens = lock(&self.tokens);
            if !tokens.live.remove(field("refresh_token")) {
                return (StatusCode::UNAUTHORIZED, json!({"error": {"code": "refresh_token_invalidated"}}));
            }
            tokens.refreshes += 1;
        }
        let IssuedTriple { id_token, access_token, refresh_token } = self.issue();
        let tokens =
            json!({"id_token": id_token, "access_token": access_token, "refresh_token": refresh_token});
        (StatusCode::OK, tokens)
    }
}

struct MemoryClient(Arc<MemoryShared>);

impl HttpClient for MemoryClient {
    fn exchange(&self, request: HttpRequest, _timeout: Duration) -> Exchange<'_> {
        Box::pin(async move {
            let (status, body) = self.0.answer(&request);
            let body = Ok(Zeroizing::new(body.to_string().into_bytes()));
            Ok(HttpResponse { status, headers: HeaderMap::new(), body })
        })
    }
}

fn jwt(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
