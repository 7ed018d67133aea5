//! The login that a daemon serves, and whether it is the stored one.

use serde_json::Value;

use crate::document::{AuthDocument, AuthMode, Identity};

/// The login that a daemon serves, as far as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServedLogin {
    /// The account of tokens.
    Account(ServedAccount),
    /// An API key; the daemon does not say which one.
    ApiKey,
    /// None.
    LoggedOut,
    /// A credential of another kind, as Codex names it.
    Other(String),
    /// The daemon does not say, for this reason.
    Unknown(String),
    /// Its model provider needs no login.
    Unused,
}

/// An account that a daemon serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServedAccount {
    /// The e-mail address.
    pub email: Option<String>,
    /// The plan.
    pub plan: Option<String>,
    /// The workspace and the user.
    pub identity: Identity,
}

/// Whether a daemon serves the stored login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServedComparison {
    /// It serves the stored login, or both are logged out, or it needs no login.
    Same,
    /// It serves another login, or is logged out while one is stored, or serves one while none is stored.
    Other,
    /// It started before the stored credential was written, and does not say which one it serves.
    Older,
    /// It cannot be told.
    Unknown,
}

/// Whether the stored document was last written after the daemon started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DocumentAge {
    NewerThanDaemon,
    OlderThanDaemon,
    Unknown,
}

impl ServedLogin {
    /// Reads the results of `account/read` and, where that fails for want of a network, of `accountSession/list`.
    pub(super) fn read(account: Result<&Value, &str>, sessions: Option<&Value>) -> Self {
        match account {
            Ok(answer) => Self::of_account(answer, sessions),
            Err(reason) => sessions
                .and_then(ServedAccount::of_sessions)
                .map_or_else(|| Self::Unknown(reason.to_owned()), Self::Account),
        }
    }

    fn of_account(answer: &Value, sessions: Option<&Value>) -> Self {
        let account = &answer["account"];
        match account["type"].as_str() {
            None if answer["requiresOpenaiAuth"] == false => Self::Unused,
            None => Self::LoggedOut,
            Some("apiKey") => Self::ApiKey,
            Some("chatgpt") => {
                let known = sessions.and_then(ServedAccount::of_sessions).unwrap_or_default();
                Self::Account(ServedAccount {
                    email: text(&account["email"]).or(known.email),
                    plan: text(&account["planType"]).filter(|plan| plan != "unknown"),
                    identity: Identity::new(
                        text(&answer["workspaceRouting"]["chatgptAccountId"]).or(known.identity.account_id),
                        text(&answer["userId"]).or(known.identity.user_id),
                    ),
                })
            }
            Some(other) => Self::Other(other.to_owned()),
        }
    }

    /// Returns whether this is the `stored` login.
    pub(super) fn comparison(&self, stored: Option<&AuthDocument>, age: DocumentAge) -> ServedComparison {
        let by_age = || match age {
            DocumentAge::NewerThanDaemon => ServedComparison::Older,
            DocumentAge::OlderThanDaemon => ServedComparison::Same,
            DocumentAge::Unknown => ServedComparison::Unknown,
        };
        let Some(stored) = stored else {
            return match self {
                Self::LoggedOut | Self::Unused => ServedComparison::Same,
                Self::Account(_) | Self::ApiKey | Self::Other(_) => ServedComparison::Other,
                Self::Unknown(_) => ServedComparison::Unknown,
            };
        };
        let mode = stored.mode();
        let has_tokens = stored.tokens().is_some() && mode != Some(AuthMode::ApiKey);
        let hides_owner = matches!(mode, Some(AuthMode::AgentIdentity | AuthMode::PersonalAccessToken));
        match self {
            Self::Unused => ServedComparison::Same,
            Self::LoggedOut => ServedComparison::Other,
            Self::ApiKey if mode == Some(AuthMode::ApiKey) => by_age(),
            Self::Account(account) if has_tokens => account.comparison(stored),
            Self::Account(_) if hides_owner => by_age(),
            Self::ApiKey | Self::Account(_) => ServedComparison::Other,
            Self::Other(_) | Self::Unknown(_) => ServedComparison::Unknown,
        }
    }
}

impl ServedAccount {
    /// The active one of `accountSession/list`.
    fn of_sessions(answer: &Value) -> Option<Self> {
        let active = answer["sessions"].as_array()?.iter().find(|session| session["isActive"] == true)?;
        let identity = Identity::new(text(&active["selectedWorkspaceAccountId"]), text(&active["userId"]));
        Some(Self { email: text(&active["email"]), plan: None, identity })
    }

    fn comparison(&self, stored: &AuthDocument) -> ServedComparison {
        let theirs = stored.identity();
        if self.identity.contradicts(&theirs) {
            return ServedComparison::Other;
        }
        if self.identity.is_same_login_as(&theirs) {
            return ServedComparison::Same;
        }
        match (&self.email, &stored.claims().email) {
            (Some(ours), Some(theirs)) if ours == theirs => ServedComparison::Same,
            (Some(_), Some(_)) => ServedComparison::Other,
            _ => ServedComparison::Unknown,
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
