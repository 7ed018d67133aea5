//! The sentences of events.

use std::fmt;

use super::event::{
    FleetChange, ForeignChange, HistoryEvent, LoginOwnerChange, LogoutResult, RecordedReason, RefreshFailure,
    RefusalCause, RescueLoss, RevocationCause, StoreFailure,
};
use crate::secret::Fingerprint;

impl HistoryEvent {
    /// Returns the word for the event: that of the JSON, with spaces.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Login { .. } => "login",
            Self::Refreshed { .. } => "refreshed",
            Self::NotRefreshed { .. } => "not refreshed",
            Self::Adopted { .. } => "adopted",
            Self::Poisoned { .. } => "poisoned",
            Self::Healed { .. } => "healed",
            Self::Revoked { .. } => "revoked",
            Self::Logout { .. } => "logout",
            Self::CopyRemoved { .. } => "copy removed",
            Self::Migrated { .. } => "migrated",
            Self::AccountSwitched { .. } => "account switched",
            Self::ExportMade => "export made",
            Self::ExportRemoved => "export removed",
            Self::KeeperStarted => "keeper started",
            Self::KeeperStopped => "keeper stopped",
            Self::KeeperTookOver => "keeper took over",
            Self::Fleet { .. } => "fleet",
            Self::RescueFound { .. } => "rescue found",
            Self::RescueRecovered { .. } => "rescue recovered",
            Self::RescueLost { .. } => "rescue lost",
            Self::ClockStepped { .. } => "clock stepped",
            Self::StoreUnavailable { .. } => "store unavailable",
            Self::Other => "unknown event",
        }
    }
}

/// What happened, in a sentence without the time and the process; empty where the word says it all.
impl fmt::Display for HistoryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login { token, owner, store, .. } => {
                write!(f, "stored in the {store} store{}{}", named(", token ", *token), owner.words())
            }
            Self::Refreshed { spent, received, reason, millis, host } => {
                write!(
                    f,
                    "{spent} → {} at {host} in {millis} ms ({})",
                    text(*received, "the same"),
                    reason.words()
                )
            }
            Self::NotRefreshed { token, failure, millis, host } => {
                write!(f, "{token} at {host}, after {millis} ms: {}", failure.words())
            }
            Self::Adopted { before, token, change, changed, holder, running } => {
                write!(f, "{}", change.words())?;
                write!(f, "{}", if before.is_some() { named(", was ", *before) } else { String::new() })?;
                write!(f, "{}", named(", token ", *token))?;
                changed.map_or(Ok(()), |at| write!(f, ", written {at:.0}"))?;
                holder.as_ref().map_or(Ok(()), |held| write!(f, ", while {held} held auth.lock"))?;
                match running.as_slice() {
                    [] => Ok(()),
                    [one] => write!(f, ", while {one} was running"),
                    [first, rest @ ..] => write!(f, ", while {first} and {} more were running", rest.len()),
                }
            }
            Self::Poisoned { token, cause, host } => {
                write!(f, "{host} refused {token}: {}", cause.words())
            }
            Self::Healed { token, by } => write!(f, "{token} was replaced{}", named(" by ", *by)),
            Self::Revoked { token, why } => write!(f, "{}{}", text(*token, "a token"), why.words()),
            Self::Logout { token, result } => write!(f, "{}{}", result.words(), named(", token ", *token)),
            Self::CopyRemoved { store } => write!(f, "from the {store} store"),
            Self::Migrated { to, .. } => write!(f, "to the {to} store"),
            Self::AccountSwitched { from: Some(from), to } => write!(f, "from {from} to {to}"),
            Self::AccountSwitched { from: None, to } => write!(f, "to {to}"),
            Self::Fleet { change } => f.write_str(change.words()),
            Self::RescueFound { spent, received } | Self::RescueRecovered { spent, received } => {
                write!(f, "{spent} → {}", text(*received, "the same"))
            }
            Self::RescueLost { spent, why } => {
                write!(f, "{}{}", named("for ", *spent), why.words(spent.is_some()))
            }
            Self::ClockStepped { seconds } if *seconds < 0 => {
                write!(f, "behind by {} s", seconds.unsigned_abs())
            }
            Self::ClockStepped { seconds } => write!(f, "ahead by {seconds} s"),
            Self::StoreUnavailable { store: Some(store), why } => write!(f, "{store} store: {}", why.words()),
            Self::StoreUnavailable { store: None, why } => write!(f, "{}", why.words()),
            Self::ExportMade
            | Self::ExportRemoved
            | Self::KeeperStarted
            | Self::KeeperStopped
            | Self::KeeperTookOver
            | Self::Other => Ok(()),
        }
    }
}

fn text(token: Option<Fingerprint>, otherwise: &str) -> String {
    token.map_or_else(|| otherwise.to_owned(), |token| token.to_string())
}

fn named(before: &str, token: Option<Fingerprint>) -> String {
    token.map(|token| format!("{before}{token}")).unwrap_or_default()
}

impl LoginOwnerChange {
    fn words(self) -> &'static str {
        match self {
            Self::First => "",
            Self::Same => ", in place of a login of the same account",
            Self::Another => ", in place of a login of another account",
            Self::Unknown | Self::Other => ", in place of another login",
        }
    }
}

impl RecordedReason {
    fn words(self) -> &'static str {
        match self {
            Self::Forced => "asked for",
            Self::Keeper => "ahead of time",
            Self::MinTtl => "a longer token was needed",
            Self::Stale => "it was stale",
            Self::Unauthorized => "a server refused the access token",
            Self::Other => "another reason",
        }
    }
}

impl RefreshFailure {
    fn words(self) -> &'static str {
        match self {
            Self::NoResponse => "no usable answer, so the token may be spent",
            Self::Transient | Self::Other => "not reached, or asked to wait",
        }
    }
}

impl RefusalCause {
    fn words(self) -> &'static str {
        match self {
            Self::Expired => "it has expired",
            Self::Reused => "it was used before",
            Self::Revoked => "it was revoked",
            Self::Other => "for another reason",
        }
    }
}

impl ForeignChange {
    fn words(self) -> &'static str {
        match self {
            Self::Appeared => "a login is stored that is not in these records",
            Self::NewTokens => "another program has refreshed the login, or logged in again",
            Self::OtherAccount => "another program has logged in to another account",
            Self::OldCopy => "an old copy of the login is stored",
            Self::Removed => "another program has removed the login",
            Self::Other => "another program has changed the login",
        }
    }
}

impl FleetChange {
    fn words(self) -> &'static str {
        match self {
            Self::Joined => "this host has the login of its fleet",
            Self::Received => "a new access token of the fleet was stored",
            Self::Shared => "the login of this host became that of its fleet",
            Self::LoggedOut => "the fleet was logged out",
            Self::Left => "a program has logged out here; the fleet does not serve this host any more",
            Self::Detached => {
                "another account has logged in here; the fleet does not serve this host any more"
            }
            Self::Unreachable => "this host cannot take part; its token is used until it expires",
            Self::Reachable => "this host takes part again",
            Self::Other => "something else happened",
        }
    }
}

impl RevocationCause {
    fn words(self) -> &'static str {
        match self {
            Self::Logout => ", by a logout",
            Self::Replaced => ", because a new login replaced it",
            Self::Orphan => ", because no login owned it",
            Self::Other => "",
        }
    }
}

impl LogoutResult {
    fn words(self) -> &'static str {
        match self {
            Self::Revoked => "tokens revoked",
            Self::NotNeeded => "nothing to revoke",
            Self::NotTried => "tokens not revoked, as asked for",
            Self::Failed | Self::Other => "tokens not revoked",
        }
    }
}

impl RescueLoss {
    fn words(self, after_token: bool) -> &'static str {
        match (self, after_token) {
            (Self::Killed, true) => ": a process was killed before it received the answer",
            (Self::Killed, false) => "a process was killed before it received the answer",
            (Self::Overtaken, true) => ": another login was stored meanwhile",
            (Self::Overtaken, false) => "another login was stored meanwhile",
            (Self::Unusable | Self::Other, true) => ": it cannot be used and was set aside",
            (Self::Unusable | Self::Other, false) => "it cannot be used and was set aside",
        }
    }
}

impl StoreFailure {
    fn words(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::NoService => "no keychain service is running",
            Self::TimedOut => "it did not answer in time",
            Self::Denied => "it denied the access",
            Self::ReadOnly => "read-only",
            Self::NoSpace => "the disk is full",
            Self::Unparsable => "its content is no login",
            Self::Other => "it failed",
        }
    }
}
