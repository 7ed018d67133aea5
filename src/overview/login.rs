//! The state of one login, as a dashboard shows it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::accounts::AccountName;
use crate::config::StoreKind;
use crate::diagnosis::CodexProcess;
use crate::document::{AuthDocument, AuthMode};
use crate::home::Home;
use crate::keeper::{Export, KeeperAccount, KeeperState};
use crate::manager::{self, AuthManager, Snapshot, SnapshotStatus, Unusable, Usability};
use crate::remedy::{ErrorKind, Remedy};

/// One login: an account of a home, or the login of a home without accounts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginOverview {
    /// The account; `None` for the login of a home that is none.
    pub name: Option<AccountName>,
    /// Whether programs use it that choose no account.
    pub is_active: bool,
    /// The home of the login.
    pub home: Home,
    /// The kind of the credential; `None` without a login.
    pub mode: Option<AuthMode>,
    /// The owner, as far as the tokens name one. It is text of a server: filter it before it is printed.
    pub account: Option<KeeperAccount>,
    /// The store.
    pub store: Option<StoreKind>,
    /// The store and its file or item.
    pub location: Option<String>,
    /// When the access token expires.
    pub expires_at: Option<Timestamp>,
    /// Whether a token can be obtained.
    pub health: LoginHealth,
    /// Why no token can be obtained, or who is waited for.
    pub usability: Usability,
    /// Warnings about how the login is stored.
    pub warnings: Vec<String>,
    /// The programs that use the login.
    pub programs: Vec<CodexProcess>,
    /// The keeper of the login.
    pub keeper: KeeperState,
    /// The folders that the keeper hands the login in.
    pub exports: Vec<Export>,
}

/// Whether a token of a login can be obtained, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginHealth {
    /// The token is valid.
    Usable,
    /// The token is stale or has expired; the next use refreshes it.
    Stale,
    /// Another process is changing the login.
    Busy,
    /// The refresh token failed permanently.
    Poisoned,
    /// The token has expired and cannot be refreshed.
    Expired,
    /// There is no login.
    LoggedOut,
    /// A logout is running, or was interrupted.
    LoggingOut,
    /// The configuration forbids this login.
    Forbidden,
    /// The keychain is locked.
    Locked,
    /// The store cannot be read or written.
    StoreUnavailable,
    /// A refresh failed for a reason that may pass, and the token has expired.
    TryAgain,
    /// Any other reason.
    Unusable,
}

impl LoginHealth {
    /// Returns the health of a login with this snapshot and usability at `now`.
    pub(super) fn of(snapshot: &Snapshot, usability: &Usability, now: Timestamp) -> Self {
        let error = match usability {
            Usability::Busy(_) => return Self::Busy,
            Usability::Usable => {
                let is_stale =
                    matches!(snapshot.status(now), SnapshotStatus::Stale | SnapshotStatus::Expired);
                let is_refreshed = snapshot.fingerprint().is_some();
                return if is_stale && is_refreshed { Self::Stale } else { Self::Usable };
            }
            Usability::Unusable(error) => error,
        };
        match error {
            manager::Error::LoggedOut | manager::Error::Unusable(Unusable::NotLoggedIn) => Self::LoggedOut,
            manager::Error::Unusable(Unusable::LoggingOut | Unusable::LogoutRunning(_)) => Self::LoggingOut,
            manager::Error::Poisoned(_)
            | manager::Error::OldCopy
            | manager::Error::Unusable(Unusable::Poisoned(_) | Unusable::FleetLoginEnded) => Self::Poisoned,
            manager::Error::Unusable(Unusable::Expired | Unusable::NotReplaced) => Self::Expired,
            manager::Error::Unusable(Unusable::Forbidden(_)) => Self::Forbidden,
            error if error.remedy() == Some(Remedy::UnlockKeychain) => Self::Locked,
            error if error.kind() == ErrorKind::StoreUnavailable => Self::StoreUnavailable,
            error if matches!(error.kind(), ErrorKind::TryAgain | ErrorKind::LockTimeout) => Self::TryAgain,
            _ => Self::Unusable,
        }
    }
}

impl std::fmt::Display for LoginHealth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Usable => "usable",
            Self::Stale => "refresh due",
            Self::Busy => "busy",
            Self::Poisoned => "poisoned",
            Self::Expired => "expired",
            Self::LoggedOut => "logged out",
            Self::LoggingOut => "logging out",
            Self::Forbidden => "forbidden",
            Self::Locked => "store locked",
            Self::StoreUnavailable => "no store",
            Self::TryAgain => "try again",
            Self::Unusable => "unusable",
        })
    }
}

/// Reads the login of `manager`, without its programs, keeper and exports. It has no name and is not active.
pub(super) async fn read(manager: &AuthManager, home: &Home, now: Timestamp) -> LoginOverview {
    let snapshot: Arc<Snapshot> = manager.current();
    let usability = manager.usability(&snapshot).await;
    let document = snapshot.document();
    LoginOverview {
        name: None,
        is_active: false,
        home: home.clone(),
        mode: document.and_then(AuthDocument::mode),
        account: KeeperAccount::of(document),
        store: snapshot.location().map(crate::store::DocumentLocation::kind),
        location: snapshot.location().map(ToString::to_string),
        expires_at: snapshot.expires_at(now),
        health: LoginHealth::of(&snapshot, &usability, now),
        usability,
        warnings: snapshot.notes().iter().map(ToString::to_string).collect(),
        programs: Vec::new(),
        keeper: KeeperState::Absent,
        exports: Vec::new(),
    }
}
