//! The responses of a keeper: access tokens and status, never a refresh token.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::document::AuthDocument;
use crate::home::Home;
use crate::manager::{JobFailure, Snapshot};
use crate::remedy::ErrorKind;
use crate::secret::Secret;

/// Version of the responses; it rises when a field changes its meaning or is removed.
pub(super) const SCHEMA: u32 = 1;

/// The account of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KeeperAccount {
    /// The workspace of the access token.
    pub id: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// The plan.
    pub plan: Option<String>,
}

impl KeeperAccount {
    /// Returns the account of `document`, or `None` if it has no tokens.
    #[must_use]
    pub fn of(document: Option<&AuthDocument>) -> Option<Self> {
        let document = document.filter(|document| document.tokens().is_some())?;
        let claims = document.claims();
        Some(Self {
            id: document.workspace(),
            email: claims.email.clone(),
            plan: claims.plan.as_ref().map(|plan| plan.as_str().to_owned()),
        })
    }
}

/// The status of a keeper and its login.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeeperStatus {
    /// 1.
    pub schema: u32,
    /// The version of the keeper's program.
    pub version: String,
    /// The process id, in the keeper's own PID namespace.
    pub pid: u32,
    /// The folder of the login, as the keeper sees it.
    #[serde(rename = "place")]
    pub home: String,
    /// The account.
    pub account: Option<KeeperAccount>,
    /// Why no token can be obtained, if none can.
    pub reason: Option<String>,
    /// The kind of that reason; keepers of earlier versions do not say it.
    #[serde(default)]
    pub kind: Option<ErrorKind>,
    /// The process that holds the lease, if a token can be obtained only after it has finished.
    #[serde(default)]
    pub busy: Option<String>,
    /// When the token expires.
    pub expires_at: Option<Timestamp>,
    /// When the keeper refreshes it.
    pub next_refresh_at: Option<Timestamp>,
}

/// A token issued by a keeper.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct IssuedToken {
    /// 1.
    pub schema: u32,
    /// The folder of the login, as the keeper sees it.
    #[serde(rename = "place")]
    pub home: String,
    /// The access token, or an API key.
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// The account.
    pub account: Option<KeeperAccount>,
}

/// Why a keeper issues no token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeeperRefusal {
    /// The token could not be refreshed.
    Failed(JobFailure),
    /// No token lasts as long as requested, and the request does not wait for a refresh.
    TooShort,
    /// The keeper cannot read the login.
    #[serde(rename = "unseen")]
    Unreadable(String),
    /// The request is invalid.
    Malformed(String),
}

/// Returns the response that holds the token; no other code writes it to the socket.
pub(super) fn issued_token(home: &Home, snapshot: &Snapshot, bearer: &Secret, now: Timestamp) -> Value {
    json!({
        "schema": SCHEMA,
        "place": home.path().to_string_lossy(),
        "account": KeeperAccount::of(snapshot.document()),
        "token": bearer.expose(),
        "expires_at": snapshot.expires_at(now),
    })
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}
