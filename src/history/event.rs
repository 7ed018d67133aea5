//! The events of a login; none has a field that can hold a secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::label::{Label, ProcessLabel};
use crate::config::{StoreKind, store_name};
use crate::secret::Fingerprint;

/// What happened to a login. Tokens are named by the fingerprints of refresh tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum HistoryEvent {
    /// A login was stored.
    Login {
        /// Its refresh token; `None` for a credential without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Fingerprint>,
        /// The refresh token of the login that it replaced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced: Option<Fingerprint>,
        /// Whose login it replaced.
        owner: LoginOwnerChange,
        /// Where it is stored.
        #[serde(with = "store_name")]
        store: StoreKind,
    },
    /// A refresh token was spent, and its successor is stored.
    Refreshed {
        /// The spent token.
        spent: Fingerprint,
        /// The token received; `None` if the authority sent none, so that the old one stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        received: Option<Fingerprint>,
        /// Why it was spent.
        reason: RecordedReason,
        /// The time from the request to the commit, in milliseconds.
        millis: u64,
        /// The host of the authority.
        host: Label,
    },
    /// A refresh failed, but the token was not refused.
    NotRefreshed {
        /// The token.
        token: Fingerprint,
        /// How it failed.
        failure: RefreshFailure,
        /// The time since the request, in milliseconds.
        millis: u64,
        /// The host of the authority.
        host: Label,
    },
    /// Another program has changed the stored login, and the change was accepted.
    Adopted {
        /// The refresh token before, by the records of this library.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Fingerprint>,
        /// The refresh token that is stored now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Fingerprint>,
        /// What the change looks like.
        change: ForeignChange,
        /// When the stored login was written; the event's own time is when it was seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changed: Option<Timestamp>,
        /// The process that held Codex's `auth.lock` when the change was seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<ProcessLabel>,
        /// The processes called `codex` that were running then.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        running: Vec<ProcessLabel>,
    },
    /// The authority refused a refresh token for good.
    Poisoned {
        /// The token.
        token: Fingerprint,
        /// Why.
        cause: RefusalCause,
        /// The host of the authority.
        host: Label,
    },
    /// A poisoned token was replaced.
    Healed {
        /// The poisoned token.
        token: Fingerprint,
        /// The token that replaced it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Fingerprint>,
    },
    /// A token was revoked at the authority.
    Revoked {
        /// The refresh token, or the access token of a login without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Fingerprint>,
        /// Why.
        why: RevocationCause,
    },
    /// The login was ended by a command of this library.
    Logout {
        /// Its token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Fingerprint>,
        /// Whether its tokens were revoked.
        result: LogoutResult,
    },
    /// A copy of the login was removed.
    CopyRemoved {
        /// The store that it was in.
        #[serde(with = "store_name")]
        store: StoreKind,
    },
    /// The login was moved to another store.
    Migrated {
        /// The store that it is in now.
        #[serde(with = "store_name")]
        to: StoreKind,
        /// Its token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Fingerprint>,
    },
    /// Another account became the active one of the home.
    AccountSwitched {
        /// The account before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Label>,
        /// The account now.
        to: Label,
    },
    /// The keeper began to export the login into a folder.
    ExportMade,
    /// The keeper ended an export.
    ExportRemoved,
    /// A keeper started.
    KeeperStarted,
    /// A keeper stopped.
    KeeperStopped,
    /// A keeper that stood by became the keeper of the home.
    KeeperTookOver,
    /// Something happened between this host and the fleet that shares its login.
    Fleet {
        /// What.
        change: FleetChange,
    },
    /// New tokens were found that a killed process had received and not stored.
    RescueFound {
        /// The spent token.
        spent: Fingerprint,
        /// The token received.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        received: Option<Fingerprint>,
    },
    /// Those tokens are stored now.
    RescueRecovered {
        /// The spent token.
        spent: Fingerprint,
        /// The token received.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        received: Option<Fingerprint>,
    },
    /// Received tokens were not stored.
    RescueLost {
        /// The token that was spent or may have been.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Fingerprint>,
        /// Why they were not.
        why: RescueLoss,
    },
    /// The clock of the machine differs from the authority's, or was changed.
    ClockStepped {
        /// How far it is ahead or was set ahead, in seconds; negative if it is behind.
        seconds: i64,
    },
    /// A store could not be used.
    StoreUnavailable {
        /// The store; `None` if the failure concerns the home.
        #[serde(default, with = "store_name::optional", skip_serializing_if = "Option::is_none")]
        store: Option<StoreKind>,
        /// Why.
        why: StoreFailure,
    },
    /// An event of a newer version.
    #[serde(other)]
    Other,
}

impl HistoryEvent {
    /// Returns the refresh token that is stored after this event, if it says: `Some(None)` after the login has ended.
    #[must_use]
    pub fn stored_token(&self) -> Option<Option<Fingerprint>> {
        match self {
            Self::Login { token, .. } | Self::Adopted { token, .. } | Self::Migrated { token, .. } => {
                Some(*token)
            }
            Self::Refreshed { spent, received, .. } | Self::RescueRecovered { spent, received } => {
                Some(received.or(Some(*spent)))
            }
            Self::Logout { .. } => Some(None),
            _ => None,
        }
    }
}

macro_rules! recorded_enum {
    ($(#[$docs:meta])* $name:ident { $($(#[$variant_docs:meta])* $variant:ident,)* }) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_docs])* $variant,)*
            /// A word of a newer version, or one that this version has no better word for.
            #[serde(other)]
            Other,
        }
    };
}

recorded_enum! {
    /// Whose login a new one replaced.
    LoginOwnerChange {
        /// There was no login.
        First,
        /// The same user's, in the same account.
        Same,
        /// Another user's or account's.
        Another,
        /// It is not known.
        Unknown,
    }
}

recorded_enum! {
    /// Why a refresh token was spent.
    RecordedReason {
        /// A user or caller asked for it.
        Forced,
        /// The keeper refreshed ahead of time.
        Keeper,
        /// The caller needed a token that lasts longer.
        MinTtl,
        /// The token was stale.
        Stale,
        /// A server refused the access token.
        Unauthorized,
    }
}

recorded_enum! {
    /// How a refresh failed without a refusal.
    RefreshFailure {
        /// The authority was not reached, or asked to try again later.
        Transient,
        /// A request was sent, and no usable response arrived: the token may be spent.
        NoResponse,
    }
}

recorded_enum! {
    /// Why an authority refused a token for good.
    RefusalCause {
        /// It has expired.
        Expired,
        /// It was spent before.
        Reused,
        /// It was revoked.
        Revoked,
    }
}

recorded_enum! {
    /// What a change by another program looks like.
    ForeignChange {
        /// A login that is not in the records of this library: another program, or an older version, stored it.
        Appeared,
        /// The same account with a token that was not seen before: another program refreshed it, or logged in again.
        NewTokens,
        /// The login of another user or account.
        OtherAccount,
        /// A token that was spent before: an old copy was restored.
        OldCopy,
        /// The login is gone.
        Removed,
    }
}

recorded_enum! {
    /// What happened between a host and its fleet.
    FleetChange {
        /// The host has the login of the fleet from now on.
        Joined,
        /// Another access token of the fleet was stored.
        Received,
        /// A login that was stored here became that of the fleet.
        Shared,
        /// The fleet was logged out, so its login was removed here.
        LoggedOut,
        /// A program has logged out here, so the fleet does not serve the host any more.
        Left,
        /// A program has logged in to another account here, so the fleet does not serve the host any more.
        Detached,
        /// The host cannot take part: etcd cannot be reached, or its key was changed.
        Unreachable,
        /// The host takes part again.
        Reachable,
    }
}

recorded_enum! {
    /// Why a token was revoked.
    RevocationCause {
        /// A logout.
        Logout,
        /// A new login replaced it.
        Replaced,
        /// No stored login owned it.
        Orphan,
    }
}

recorded_enum! {
    /// Whether a logout revoked the tokens.
    LogoutResult {
        /// They are revoked.
        Revoked,
        /// There was nothing to revoke.
        NotNeeded,
        /// No request was sent.
        NotTried,
        /// The request failed.
        Failed,
    }
}

recorded_enum! {
    /// Why received tokens were not stored.
    RescueLoss {
        /// A process was killed while it waited for the response.
        Killed,
        /// Another login was stored meanwhile, so they were revoked.
        Overtaken,
        /// They could not be decrypted or parsed, and were set aside.
        Unusable,
    }
}

recorded_enum! {
    /// Why a store could not be used.
    StoreFailure {
        /// The keychain is locked.
        Locked,
        /// No keychain service is running.
        NoService,
        /// It did not respond in time.
        TimedOut,
        /// It denied the access.
        Denied,
        /// It can be read, but not written.
        ReadOnly,
        /// The disk is full.
        NoSpace,
        /// Its content is not a login.
        Unparsable,
    }
}
