//! What a keeper answers: access tokens and how things stand, and never a refresh token.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::document::AuthDocument;
use crate::home::Home;
use crate::manager::{JobFailure, Snapshot};
use crate::secret::Secret;

/// The number of the answers' shape; it rises when a field changes its meaning or goes.
pub(super) const SCHEMA: u32 = 1;

/// Whose login it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KeeperAccount {
    /// The account that the access token acts for, which is a workspace.
    pub id: Option<String>,
    /// Whose it is.
    pub email: Option<String>,
    /// What was paid for.
    pub plan: Option<String>,
}

impl KeeperAccount {
    /// Whose login `document` is, if it has tokens that say so.
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

/// How a keeper and its login stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeeperStatus {
    /// 1.
    pub schema: u32,
    /// Of the keeper's program.
    pub version: String,
    /// Its process id, in its own container.
    pub pid: u32,
    /// The folder of the login, as the keeper sees it.
    #[serde(rename = "place")]
    pub home: String,
    /// Whose login it is.
    pub account: Option<KeeperAccount>,
    /// Why no token can be had, if none can.
    pub reason: Option<String>,
    /// The process that holds the login, where a token can be had only once it has finished.
    #[serde(default)]
    pub busy: Option<String>,
    /// When the token ends.
    pub expires_at: Option<Timestamp>,
    /// When it is refreshed.
    pub next_refresh_at: Option<Timestamp>,
}

/// A token that a keeper gives out.
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
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Whose it is.
    pub account: Option<KeeperAccount>,
}

/// Why a keeper gives out no token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeeperRefusal {
    /// It could not be had.
    Failed(JobFailure),
    /// There is none that lasts as long as was asked for, and nobody asked to wait for one.
    TooShort,
    /// The keeper cannot see the login at the moment.
    Unseen(String),
    /// The request makes no sense.
    Malformed(String),
}

/// The bytes of a token; the one place where it leaves by the socket.
pub(super) fn given(home: &Home, snapshot: &Snapshot, bearer: &Secret, now: Timestamp) -> Value {
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
