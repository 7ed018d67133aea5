//! The login keychain of a macOS user, for a program without a provisioning profile.
//!
//! Items are generic passwords; service and account together are unique in a keychain, so there is never a second copy.
//! Who made an item owns it: any other program that reads or rewrites it makes macOS ask its user. A call that would
//! bring up such a dialogue, or the one that unlocks the keychain, is told not to and fails instead, which is reported
//! as [`Error::Locked`]; the one exception is [`Keychain::read_asking`]. The store does not tell when an item was modified.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apple_native_keyring_store::keychain::Store;
use keyring_core::api::CredentialStoreApi;
use keyring_core::{Entry, Error as StoreError};
use security_framework::base::Error as SecurityError;
use security_framework::os::macos::keychain::{KeychainUserInteractionLock, SecKeychain};
use zeroize::Zeroizing;

use super::{
    Caller, Error, Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, Keychain, LastModified,
    Operation, Readiness, Slot,
};

pub(super) const SERVICE: &str = "macOS Keychain";
pub(super) const SHARING: ItemSharing = ItemSharing::OwnerOnly;
pub(super) const HOW_TO_UNLOCK: &str = "unlock the keychain in this session: security unlock-keychain";

/// Opens the store; the keychain itself is not touched yet.
pub(super) fn connect(caller: &Caller) -> Result<Box<dyn Keychain>, Error> {
    let store =
        Store::new().map_err(|error| Error::Unavailable { service: SERVICE, source: error.into() })?;
    Ok(Box::new(LoginKeychain { caller: caller.clone(), store }))
}

struct LoginKeychain {
    caller: Caller,
    store: Arc<Store>,
}

impl Keychain for LoginKeychain {
    fn readiness(&mut self) -> Result<Readiness, Error> {
        let _quiet = Quiet::new(Operation::Readiness)?;
        readiness(Operation::Readiness)
    }

    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let _quiet = open(Operation::Read)?;
        match self.entry(Operation::Read, name)?.get_secret() {
            Ok(secret) => Ok(vec![Item { id: only(), secret: Zeroizing::new(secret), modified: None }]),
            Err(StoreError::NoEntry) => Ok(Vec::new()),
            Err(error) => Err(refused(Operation::Read, error)),
        }
    }

    fn read_asking(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let operation = Operation::ReadAsking;
        match self.entry(operation, name)?.get_secret() {
            Ok(secret) => Ok(vec![Item { id: only(), secret: Zeroizing::new(secret), modified: None }]),
            Err(StoreError::NoEntry) => Ok(Vec::new()),
            Err(error) => Err(refused(operation, error)),
        }
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        let _quiet = open(Operation::Modified)?;
        let present = self.is_present(Operation::Modified, name)?;
        Ok(if present { LastModified::NotTold } else { LastModified::NoEntry })
    }

    fn write(&mut self, name: &ItemName, slot: &Slot, secret: &[u8]) -> Result<ItemWrite, Error> {
        let _quiet = open(Operation::Write)?;
        let present = self.is_present(Operation::Write, name)?;
        if let Slot::This(id) = slot
            && !(present && *id == only())
        {
            return Err(Error::Vanished { service: SERVICE, name: name.clone() });
        }
        self.before_a_change(Operation::Write)?;
        self.entry(Operation::Write, name)?
            .set_secret(secret)
            .map_err(|error| refused(Operation::Write, error))?;
        Ok(if present { ItemWrite::Updated } else { ItemWrite::Created })
    }

    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error> {
        let _quiet = open(Operation::Delete)?;
        if let ItemSelection::This(id) = selection
            && *id != only()
        {
            return Ok(0);
        }
        self.before_a_change(Operation::Delete)?;
        match self.entry(Operation::Delete, name)?.delete_credential() {
            Ok(()) => Ok(1),
            Err(StoreError::NoEntry) => Ok(0),
            Err(error) => Err(refused(Operation::Delete, error)),
        }
    }
}

impl LoginKeychain {
    fn entry(&self, operation: Operation, name: &ItemName) -> Result<Entry, Error> {
        self.store.build(name.service(), name.account(), None).map_err(|error| refused(operation, error))
    }

    /// Stops a call that nobody waits for, before it does what nobody would learn of.
    fn before_a_change(&self, operation: Operation) -> Result<(), Error> {
        if self.caller.has_left() {
            return Err(failed(operation, "its caller has left".into()));
        }
        Ok(())
    }

    /// Searching fetches attributes alone, which no keychain asks its user about.
    fn is_present(&self, operation: Operation, name: &ItemName) -> Result<bool, Error> {
        let name = HashMap::from([("service", name.service()), ("user", name.account())]);
        self.store.search(&name).map(|found| !found.is_empty()).map_err(|error| refused(operation, error))
    }
}

/// The identity of the one item that a name can have.
fn only() -> ItemId {
    ItemId("only".into())
}

/// Silence, once the keychain is known to be unlocked.
fn open(operation: Operation) -> Result<Quiet, Error> {
    let quiet = Quiet::new(operation)?;
    match readiness(operation)? {
        Readiness::Unlocked => Ok(quiet),
        Readiness::Locked => Err(Error::Locked { service: SERVICE }),
        Readiness::NeverUnlocked => Err(Error::NeverUnlocked { service: SERVICE }),
    }
}

fn readiness(operation: Operation) -> Result<Readiness, Error> {
    let mut status = 0;
    // SAFETY: a null keychain means the default one; `status` is valid for the write of one UInt32, which is all that
    // the function does with it (SecKeychain.h).
    let code = unsafe { SecKeychainGetStatus(std::ptr::null(), &raw mut status) };
    match code {
        0 if status & UNLOCKED != 0 => Ok(Readiness::Unlocked),
        0 => Ok(Readiness::Locked),
        NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN => Ok(Readiness::NeverUnlocked),
        code => Err(meaning(operation, SecurityError::from_code(code))),
    }
}

/// `kSecUnlockStateStatus`, SecKeychain.h.
const UNLOCKED: u32 = 1;

#[link(name = "Security", kind = "framework")]
unsafe extern "C" {
    // Not among the bindings of security-framework 3.7.
    fn SecKeychainGetStatus(keychain: *const std::ffi::c_void, status: *mut u32) -> i32;
}

/// While one of these lives, no keychain function of this process brings up a dialogue.
///
/// The switch is the process's, and a call that was left behind may outlive the next one: so it is counted, and the
/// last one restores what was found.
struct Quiet;

struct QuietState {
    calls: usize,
    /// `None` also when the host program had already forbidden dialogues; then they stay forbidden.
    switch: Option<KeychainUserInteractionLock>,
}

static QUIET: Mutex<QuietState> = Mutex::new(QuietState { calls: 0, switch: None });

impl Quiet {
    fn new(operation: Operation) -> Result<Self, Error> {
        let mut state = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        if state.calls == 0 && SecKeychain::user_interaction_allowed().map_err(|e| meaning(operation, e))? {
            let switch = SecKeychain::disable_user_interaction().map_err(|e| meaning(operation, e))?;
            state.switch = Some(switch);
        }
        state.calls += 1;
        Ok(Self)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let mut state = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls -= 1;
        if state.calls == 0 {
            state.switch = None;
        }
    }
}

/// What a refusal of the store means; the operating system's own code is inside.
fn refused(operation: Operation, error: StoreError) -> Error {
    match error {
        StoreError::NoStorageAccess(source) | StoreError::PlatformFailure(source) => {
            match source.downcast::<SecurityError>() {
                Ok(error) => meaning(operation, *error),
                Err(source) => failed(operation, source),
            }
        }
        // Some of its other errors own the bytes of a secret; their words do not.
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

fn meaning(operation: Operation, error: SecurityError) -> Error {
    match error.code() {
        AUTH_FAILED | USER_CANCELED if operation == Operation::ReadAsking => {
            Error::Declined { service: SERVICE }
        }
        AUTH_FAILED | INTERACTION_NOT_ALLOWED | INTERACTION_REQUIRED | USER_CANCELED => {
            Error::Locked { service: SERVICE }
        }
        NOT_AVAILABLE => Error::Unavailable { service: SERVICE, source: error.into() },
        NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN => Error::NeverUnlocked { service: SERVICE },
        _ => failed(operation, error.into()),
    }
}

/// The store makes several calls for one of ours and does not say which of them this is the error of.
fn failed(operation: Operation, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Failed { service: SERVICE, operation, outcome: operation.broken_off(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_dialogue_means_locked_and_a_missing_keychain_never_unlocked() {
        let meaning_of = |code| meaning(Operation::Read, SecurityError::from_code(code));
        assert!(matches!(meaning_of(-25308), Error::Locked { .. }));
        assert!(matches!(meaning_of(-25307), Error::NeverUnlocked { .. }));
        assert!(matches!(meaning_of(-25291), Error::Unavailable { .. }));
        assert!(matches!(meaning_of(-25240), Error::Failed { .. }));
        assert!(matches!(meaning_of(-128), Error::Locked { .. }));
        let refused = meaning(Operation::ReadAsking, SecurityError::from_code(-128));
        assert!(matches!(refused, Error::Declined { .. }));
    }

    #[test]
    fn dialogues_are_forbidden_until_the_last_call_ends() {
        let found = SecKeychain::user_interaction_allowed().unwrap();
        let first = Quiet::new(Operation::Read).unwrap();
        let second = Quiet::new(Operation::Read).unwrap();
        drop(first);
        assert!(!SecKeychain::user_interaction_allowed().unwrap());
        drop(second);
        assert_eq!(SecKeychain::user_interaction_allowed().unwrap(), found);
    }
}
