//! The login keychain of a macOS user, for a program without a provisioning profile.
//!
//! Items are generic passwords; service and account together are unique in a keychain, so there is never a second
//! copy. The program that created an item owns it: if another program reads or rewrites the item, macOS asks its
//! user. Calls are made with dialogues disabled, so a call that would show such a dialogue, or the one that unlocks
//! the keychain, fails with [`Error::Locked`]; only [`Keychain::read_with_prompt`] allows dialogues. The store does
//! not report when an item was modified.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use apple_native_keyring_store::keychain::Store;
use keyring_core::api::CredentialStoreApi;
use keyring_core::{Entry, Error as StoreError};
use security_framework::base::Error as SecurityError;
use security_framework::os::macos::keychain::{KeychainUserInteractionLock, SecKeychain};
use zeroize::Zeroizing;

use super::context::CallContext;
use super::contract::{Keychain, Readiness};
use super::error::{Error, Operation};
use super::item::{Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, LastModified, WriteTarget};

use crate::sync::lock;

pub(super) const SERVICE: &str = "macOS Keychain";
pub(super) const SHARING: ItemSharing = ItemSharing::OwnerOnly;

pub(super) fn how_to_unlock(_: &str) -> &'static str {
    "unlock it in this session and try again: security unlock-keychain"
}

pub(super) fn how_to_allow(_: &str, _: Operation) -> &'static str {
    "run the command in a terminal and allow it"
}

/// Opens the store without touching the keychain itself.
pub(super) fn connect(context: &CallContext) -> Result<Box<dyn Keychain>, Error> {
    let store =
        Store::new().map_err(|error| Error::Unavailable { service: SERVICE, source: error.into() })?;
    Ok(Box::new(LoginKeychain { context: context.clone(), store }))
}

struct LoginKeychain {
    context: CallContext,
    store: Arc<Store>,
}

impl Keychain for LoginKeychain {
    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let _guard = without_prompts(Operation::Read)?;
        match self.entry(Operation::Read, name)?.get_secret() {
            Ok(secret) => Ok(vec![Item { id: only_id(), secret: Zeroizing::new(secret), modified: None }]),
            Err(StoreError::NoEntry) => Ok(Vec::new()),
            Err(error) => Err(store_error(Operation::Read, error)),
        }
    }

    fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let operation = Operation::ReadWithPrompt;
        match self.entry(operation, name)?.get_secret() {
            Ok(secret) => Ok(vec![Item { id: only_id(), secret: Zeroizing::new(secret), modified: None }]),
            Err(StoreError::NoEntry) => Ok(Vec::new()),
            Err(error) => Err(store_error(operation, error)),
        }
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        let _guard = without_prompts(Operation::Modified)?;
        let present = self.is_present(Operation::Modified, name)?;
        Ok(if present { LastModified::Unknown } else { LastModified::NoItem })
    }

    fn write(&mut self, name: &ItemName, target: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, Error> {
        let _guard = without_prompts(Operation::Write)?;
        let present = self.is_present(Operation::Write, name)?;
        if let WriteTarget::Item(id) = target
            && !(present && *id == only_id())
        {
            return Err(Error::ItemMissing { service: SERVICE, name: name.clone() });
        }
        self.check_not_cancelled(Operation::Write)?;
        self.entry(Operation::Write, name)?
            .set_secret(secret)
            .map_err(|error| store_error(Operation::Write, error))?;
        Ok(if present { ItemWrite::Updated } else { ItemWrite::Created })
    }

    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error> {
        let _guard = without_prompts(Operation::Delete)?;
        if let ItemSelection::Item(id) = selection
            && *id != only_id()
        {
            return Ok(0);
        }
        self.check_not_cancelled(Operation::Delete)?;
        match self.entry(Operation::Delete, name)?.delete_credential() {
            Ok(()) => Ok(1),
            Err(StoreError::NoEntry) => Ok(0),
            Err(error) => Err(store_error(Operation::Delete, error)),
        }
    }
}

impl LoginKeychain {
    fn entry(&self, operation: Operation, name: &ItemName) -> Result<Entry, Error> {
        self.store.build(name.service(), name.account(), None).map_err(|error| store_error(operation, error))
    }

    /// Stops a cancelled call before it changes something.
    fn check_not_cancelled(&self, operation: Operation) -> Result<(), Error> {
        if self.context.is_cancelled() {
            return Err(failed(operation, "its caller timed out".into()));
        }
        Ok(())
    }

    /// Searches fetch attributes only, which never causes a prompt.
    fn is_present(&self, operation: Operation, name: &ItemName) -> Result<bool, Error> {
        let name = HashMap::from([("service", name.service()), ("user", name.account())]);
        self.store.search(&name).map(|found| !found.is_empty()).map_err(|error| store_error(operation, error))
    }
}

/// Returns the id of the one item that a name can have.
fn only_id() -> ItemId {
    ItemId("only".into())
}

/// Disables prompts and checks that the keychain is unlocked.
fn without_prompts(operation: Operation) -> Result<PromptGuard, Error> {
    let guard = PromptGuard::new(operation)?;
    readiness(operation)?.require_unlocked(SERVICE).map(|()| guard)
}

fn readiness(operation: Operation) -> Result<Readiness, Error> {
    let mut status = 0;
    // SAFETY: a null keychain means the default one; `status` is valid for the write of one UInt32, which is all that
    // the function does with it (SecKeychain.h).
    let code = unsafe { SecKeychainGetStatus(std::ptr::null(), &raw mut status) };
    match code {
        0 if status & UNLOCKED != 0 => Ok(Readiness::Unlocked),
        0 => Ok(Readiness::Locked),
        NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN => Ok(Readiness::NotSetUp),
        code => Err(system_error(operation, SecurityError::from_code(code))),
    }
}

/// `kSecUnlockStateStatus`, SecKeychain.h.
const UNLOCKED: u32 = 1;

#[link(name = "Security", kind = "framework")]
unsafe extern "C" {
    // Missing from security-framework 3.7.
    fn SecKeychainGetStatus(keychain: *const std::ffi::c_void, status: *mut u32) -> i32;
}

/// Disables the keychain dialogues of this process while it lives.
///
/// The switch is process-wide, and an abandoned call may outlive the next one, so the guards are counted and the last
/// one restores the former setting.
struct PromptGuard;

struct PromptState {
    calls: usize,
    /// `None` also if the host program had already disabled dialogues; then they stay disabled.
    switch: Option<KeychainUserInteractionLock>,
}

static PROMPTS: Mutex<PromptState> = Mutex::new(PromptState { calls: 0, switch: None });

impl PromptGuard {
    fn new(operation: Operation) -> Result<Self, Error> {
        let mut state = lock(&PROMPTS);
        if state.calls == 0
            && SecKeychain::user_interaction_allowed().map_err(|e| system_error(operation, e))?
        {
            let switch = SecKeychain::disable_user_interaction().map_err(|e| system_error(operation, e))?;
            state.switch = Some(switch);
        }
        state.calls += 1;
        Ok(Self)
    }
}

impl Drop for PromptGuard {
    fn drop(&mut self) {
        let mut state = lock(&PROMPTS);
        state.calls -= 1;
        if state.calls == 0 {
            state.switch = None;
        }
    }
}

/// Converts an error of the store, which contains the operating system's own code.
fn store_error(operation: Operation, error: StoreError) -> Error {
    match error {
        StoreError::NoStorageAccess(source) | StoreError::PlatformFailure(source) => {
            match source.downcast::<SecurityError>() {
                Ok(error) => system_error(operation, *error),
                Err(source) => failed(operation, source),
            }
        }
        // Some other errors own the bytes of a secret; their messages do not contain them.
        other => failed(operation, other.to_string().into()),
    }
}

// SecBase.h.
const AUTH_FAILED: i32 = -25293;
const INTERACTION_NOT_ALLOWED: i32 = -25308;
const INTERACTION_REQUIRED: i32 = -25315;
const NOT_AVAILABLE: i32 = -25291;
const NO_DEFAULT_KEYCHAIN: i32 = -25307;
const NO_SUCH_KEYCHAIN: i32 = -25294;
const USER_CANCELED: i32 = -128;

fn system_error(operation: Operation, error: SecurityError) -> Error {
    match error.code() {
        AUTH_FAILED | USER_CANCELED if operation == Operation::ReadWithPrompt => {
            Error::Denied { service: SERVICE }
        }
        AUTH_FAILED | INTERACTION_NOT_ALLOWED | INTERACTION_REQUIRED | USER_CANCELED => {
            Error::Locked { service: SERVICE }
        }
        NOT_AVAILABLE => Error::Unavailable { service: SERVICE, source: error.into() },
        NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN => Error::NotSetUp { service: SERVICE },
        _ => failed(operation, error.into()),
    }
}

/// The store makes several system calls for one of ours and does not say which of them failed.
fn failed(operation: Operation, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Failed { service: SERVICE, operation, effect: operation.effect_if_interrupted(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_dialogue_means_locked_and_a_missing_keychain_not_set_up() {
        let meaning_of = |code| system_error(Operation::Read, SecurityError::from_code(code));
        assert!(matches!(meaning_of(-25308), Error::Locked { .. }));
        assert!(matches!(meaning_of(-25307), Error::NotSetUp { .. }));
        assert!(matches!(meaning_of(-25291), Error::Unavailable { .. }));
        assert!(matches!(meaning_of(-25240), Error::Failed { .. }));
        assert!(matches!(meaning_of(-128), Error::Locked { .. }));
        let refused = system_error(Operation::ReadWithPrompt, SecurityError::from_code(-128));
        assert!(matches!(refused, Error::Denied { .. }));
    }

    #[test]
    fn dialogues_are_disabled_until_the_last_call_ends() {
        let found = SecKeychain::user_interaction_allowed().unwrap();
        let first = PromptGuard::new(Operation::Read).unwrap();
        let second = PromptGuard::new(Operation::Read).unwrap();
        drop(first);
        assert!(!SecKeychain::user_interaction_allowed().unwrap());
        drop(second);
        assert_eq!(SecKeychain::user_interaction_allowed().unwrap(), found);
    }
}
