//! The operations of a keychain, their errors, and what a failed one may have changed.

use std::fmt;
use std::time::Duration;

use super::item::ItemName;
use super::native;

/// A keychain operation, for messages and test hooks.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Keychain::delete`](super::Keychain::delete).
    Delete,
    /// [`Keychain::modified`](super::Keychain::modified).
    Modified,
    /// [`Keychain::read`](super::Keychain::read).
    Read,
    /// [`Keychain::read_with_prompt`](super::Keychain::read_with_prompt).
    ReadWithPrompt,
    /// [`Keychain::write`](super::Keychain::write).
    Write,
}

impl Operation {
    /// Returns the effect of this operation if it was interrupted before its answer came.
    pub(super) fn effect_if_interrupted(self) -> CallEffect {
        match self {
            Self::Delete | Self::Write => CallEffect::Unknown,
            Self::Modified | Self::Read | Self::ReadWithPrompt => CallEffect::Unchanged,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete an item",
            Self::Modified => "read when an item changed",
            Self::Read => "read an item",
            Self::ReadWithPrompt => "read an item of another program",
            Self::Write => "write an item",
        })
    }
}

/// What a failed call may have changed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEffect {
    /// The call changed nothing and will not.
    Unchanged,
    /// The call may have been carried out, in part or whole, or may yet be: read back before deciding anything.
    Unknown,
}

impl fmt::Display for CallEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchanged => "nothing was changed, try again",
            Self::Unknown => "it may have taken effect, read it back before trying again",
        })
    }
}

/// A keychain call failed. No variant, message or source contains a secret.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keychain is unlocked, and its service asks the user before it gives this program an item.
    #[error("{service} asks its user before it lets a program {operation}; {}", native::how_to_allow(service, *operation))]
    PromptRequired {
        /// The name of the service.
        service: &'static str,
        /// The operation.
        operation: Operation,
    },
    /// Several items have the name and the call needs one; nothing was changed.
    #[error("{service} holds {copies} items for {name}; delete all but one")]
    Ambiguous {
        /// The kind of keychain.
        service: &'static str,
        /// The name of the items.
        name: ItemName,
        /// The number of items.
        copies: usize,
    },
    /// The user denied access to the item, or dismissed the prompt.
    #[error("access to the keychain item was denied ({service} prompt dismissed); try again and allow it")]
    Denied {
        /// The kind of keychain.
        service: &'static str,
    },
    /// The service, or the connection to it, failed in another way.
    #[error("{service} could not {operation}: {source}; {effect}")]
    Failed {
        /// The kind of keychain.
        service: &'static str,
        /// The failed operation.
        operation: Operation,
        /// What may have been changed.
        effect: CallEffect,
        /// The error of the service.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The collection is locked, or the service would prompt before it grants access.
    #[error("{service} is locked; {}", native::how_to_unlock(service))]
    Locked {
        /// The kind of keychain.
        service: &'static str,
    },
    /// The service has no default collection.
    #[error(
        "{service} has no default keyring yet; create one, for example by logging in to the desktop, and try again"
    )]
    NotSetUp {
        /// The kind of keychain.
        service: &'static str,
    },
    /// The code that calls the service panicked; the next call connects again.
    #[error(
        "internal error: could not {operation}, because the code that calls {service} panicked; {effect}"
    )]
    Panicked {
        /// The kind of keychain.
        service: &'static str,
        /// The failed operation.
        operation: Operation,
        /// What may have been changed.
        effect: CallEffect,
    },
    /// The call had no answer within its deadline; the next call connects again.
    #[error("{service} did not {operation} within {after:?}; {effect}")]
    TimedOut {
        /// The kind of keychain.
        service: &'static str,
        /// The failed operation.
        operation: Operation,
        /// The deadline, waiting for earlier calls included.
        after: Duration,
        /// What may have been changed; [`CallEffect::Unchanged`] for a call that had not begun.
        effect: CallEffect,
    },
    /// This process cannot reach the service.
    #[error("{service} cannot be reached: {source}; start it for this session or choose another store")]
    Unavailable {
        /// The kind of keychain.
        service: &'static str,
        /// The error of the connection.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The item no longer exists; nothing was changed.
    #[error("{service} no longer holds that item for {name}; read it again")]
    ItemMissing {
        /// The kind of keychain.
        service: &'static str,
        /// The name of the item.
        name: ItemName,
    },
}

impl Error {
    /// Returns what the failed call may have changed in the keychain.
    pub fn effect(&self) -> CallEffect {
        match self {
            Self::Failed { effect, .. } | Self::Panicked { effect, .. } | Self::TimedOut { effect, .. } => {
                *effect
            }
            Self::PromptRequired { .. }
            | Self::Ambiguous { .. }
            | Self::Denied { .. }
            | Self::Locked { .. }
            | Self::NotSetUp { .. }
            | Self::Unavailable { .. }
            | Self::ItemMissing { .. } => CallEffect::Unchanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_names_the_service_and_is_lower_case_after_it() {
        let name = ItemName::new("service", "account");
        let effect = CallEffect::Unknown;
        let operation = Operation::Write;
        let source = || Box::<dyn std::error::Error + Send + Sync>::from("why");
        let service = "Secret Service";
        for error in [
            Error::PromptRequired { service, operation },
            Error::Ambiguous { service, name: name.clone(), copies: 2 },
            Error::Denied { service },
            Error::Failed { service, operation, effect, source: source() },
            Error::Locked { service },
            Error::NotSetUp { service },
            Error::Panicked { service, operation, effect },
            Error::TimedOut { service, operation, after: Duration::from_secs(5), effect },
            Error::Unavailable { service, source: source() },
            Error::ItemMissing { service, name },
        ] {
            let message = error.to_string();
            assert!(message.contains(service) && message.contains("; "), "{message}");
            assert!(!message.ends_with('.'), "{message}");
        }
    }
}
