//! What a keychain call was to do, what it may have done, and why it failed.

use std::fmt;
use std::time::Duration;

use super::ItemName;
#[cfg(doc)]
use super::Keychain;

/// The calls, for messages and test hooks.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Keychain::delete`].
    Delete,
    /// [`Keychain::modified`].
    Modified,
    /// [`Keychain::read`].
    Read,
    /// [`Keychain::read_asking`].
    ReadAsking,
    /// [`Keychain::readiness`].
    Readiness,
    /// [`Keychain::write`].
    Write,
}

impl Operation {
    /// What is known of the keychain after this operation broke off before its answer came.
    pub(super) fn broken_off(self) -> CallEffect {
        match self {
            Self::Delete | Self::Write => CallEffect::Unknown,
            Self::Modified | Self::Read | Self::ReadAsking | Self::Readiness => CallEffect::Unchanged,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete an item",
            Self::Modified => "tell when an item changed",
            Self::Read => "read an item",
            Self::ReadAsking => "read an item of another program",
            Self::Readiness => "tell whether it is unlocked",
            Self::Write => "write an item",
        })
    }
}

/// What a call that failed may have done.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEffect {
    /// This call changed nothing and will not.
    Unchanged,
    /// It may have been done, in part or whole, or may yet be: read back before deciding anything.
    Unknown,
}

impl fmt::Display for CallEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchanged => "nothing was changed, try again",
            Self::Unknown => "it may have been done all the same, read it back before trying again",
        })
    }
}

/// Why a keychain call failed. No variant, message or source carries a secret.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Several items have the name and the call needs one; nothing was changed.
    #[error("{service} holds {copies} items for {name}; delete all but one")]
    Ambiguous {
        /// The kind of keychain.
        service: &'static str,
        /// What they are all called.
        name: ItemName,
        /// How many there are.
        copies: usize,
    },
    /// The user was asked whether this program may have an item, and said no.
    #[error("{service} gave nothing out; whoever was asked did not allow it")]
    Declined {
        /// The kind of keychain.
        service: &'static str,
    },
    /// The service, or the connection to it, failed in another way.
    #[error("{service} could not {operation}; {outcome}")]
    Failed {
        /// The kind of keychain.
        service: &'static str,
        /// What it was asked to do.
        operation: Operation,
        /// What may have happened.
        outcome: CallEffect,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The collection is locked, or would ask its user before letting this program in.
    #[error("{service} is locked; unlock it and try again")]
    Locked {
        /// The kind of keychain.
        service: &'static str,
    },
    /// The service has no default collection.
    #[error(
        "{service} has no default keyring yet; create one, for example by logging in to the desktop, and try again"
    )]
    NeverUnlocked {
        /// The kind of keychain.
        service: &'static str,
    },
    /// The code that talks to the service panicked; the next call starts on a new connection.
    #[error("the code that talks to {service} panicked while it was to {operation}; {outcome}")]
    Panicked {
        /// The kind of keychain.
        service: &'static str,
        /// What it was asked to do.
        operation: Operation,
        /// What may have happened.
        outcome: CallEffect,
    },
    /// No answer within the caller's deadline; the next call starts on a new connection.
    #[error("{service} did not {operation} within {after:?}; {outcome}")]
    TimedOut {
        /// The kind of keychain.
        service: &'static str,
        /// What it was asked to do.
        operation: Operation,
        /// The deadline it had, waiting for earlier calls included.
        after: Duration,
        /// What may have happened; [`CallEffect::Unchanged`] for a call whose turn had not come.
        outcome: CallEffect,
    },
    /// No such service can be reached from this process.
    #[error("{service} cannot be reached; start it for this session or choose another store")]
    Unavailable {
        /// The kind of keychain.
        service: &'static str,
        /// How that was found out.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The one item that was asked for is gone; nothing was changed.
    #[error("{service} no longer holds that item for {name}; read it again")]
    Vanished {
        /// The kind of keychain.
        service: &'static str,
        /// What it was called.
        name: ItemName,
    },
}

impl Error {
    /// What the call that failed may have done to the keychain.
    pub fn outcome(&self) -> CallEffect {
        match self {
            Self::Failed { outcome, .. }
            | Self::Panicked { outcome, .. }
            | Self::TimedOut { outcome, .. } => *outcome,
            Self::Ambiguous { .. }
            | Self::Declined { .. }
            | Self::Locked { .. }
            | Self::NeverUnlocked { .. }
            | Self::Unavailable { .. }
            | Self::Vanished { .. } => CallEffect::Unchanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_names_the_service_and_is_lower_case_after_it() {
        let name = ItemName::new("service", "account");
        let outcome = CallEffect::Unknown;
        let operation = Operation::Write;
        let source = || Box::<dyn std::error::Error + Send + Sync>::from("why");
        let service = "Secret Service";
        for error in [
            Error::Ambiguous { service, name: name.clone(), copies: 2 },
            Error::Declined { service },
            Error::Failed { service, operation, outcome, source: source() },
            Error::Locked { service },
            Error::NeverUnlocked { service },
            Error::Panicked { service, operation, outcome },
            Error::TimedOut { service, operation, after: Duration::from_secs(5), outcome },
            Error::Unavailable { service, source: source() },
            Error::Vanished { service, name },
        ] {
            let message = error.to_string();
            assert!(message.contains(service) && message.contains("; "), "{message}");
            assert!(!message.ends_with('.') && !message.contains("why"), "{message}");
        }
    }
}
