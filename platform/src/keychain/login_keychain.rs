//! The login keychain of a macOS user: its items and status codes, apart from the calls of macOS itself.
//!
//! Items are generic passwords; service and account together are unique in a keychain, so there is never a second
//! copy. The program that created an item owns it: if another program reads or rewrites the item, macOS asks its
//! user. Calls are made with dialogues disabled, so a call that would show such a dialogue, or the one that unlocks
//! the keychain, fails with [`Error::Locked`]; only [`Keychain::read_with_prompt`] allows dialogues. The store does
//! not report when an item was modified.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use keyring_core::{CredentialStore, Entry, Error as StoreError};
use zeroize::Zeroizing;

use super::context::CallContext;
use super::contract::{Keychain, Readiness};
use super::error::{Error, Operation};
use super::item::{Item, ItemId, ItemName, ItemSelection, ItemWrite, LastModified, WriteTarget};
use super::security::{DialogueGuard, Dialogues, Security, Source};

pub(super) const SERVICE: &str = "macOS Keychain";

/// The items of the store and the rules for them.
pub(super) struct LoginKeychain<S: Security> {
    pub context: CallContext,
    pub store: Arc<CredentialStore>,
    pub security: S,
    pub dialogues: &'static Mutex<Dialogues>,
}

impl<S: Security> Keychain for LoginKeychain<S> {
    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let _guard = self.without_dialogues(Operation::Read)?;
        self.secret(Operation::Read, name)
    }

    fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.secret(Operation::ReadWithPrompt, name)
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        let _guard = self.without_dialogues(Operation::Modified)?;
        let present = self.is_present(Operation::Modified, name)?;
        Ok(if present { LastModified::Unknown } else { LastModified::NoItem })
    }

    fn write(&mut self, name: &ItemName, target: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, Error> {
        let _guard = self.without_dialogues(Operation::Write)?;
        let present = self.is_present(Operation::Write, name)?;
        if let WriteTarget::Item(id) = target
            && !(present && *id == only_id())
        {
            return Err(Error::ItemMissing { service: SERVICE, name: name.clone() });
        }
        self.check_not_cancelled(Operation::Write)?;
        self.entry(Operation::Write, name)?
            .set_secret(secret)
            .map_err(|error| self.store_error(Operation::Write, error))?;
        Ok(if present { ItemWrite::Updated } else { ItemWrite::Created })
    }

    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error> {
        let _guard = self.without_dialogues(Operation::Delete)?;
        if let ItemSelection::Item(id) = selection
            && *id != only_id()
        {
            return Ok(0);
        }
        self.check_not_cancelled(Operation::Delete)?;
        match self.entry(Operation::Delete, name)?.delete_credential() {
            Ok(()) => Ok(1),
            Err(StoreError::NoEntry) => Ok(0),
            Err(error) => Err(self.store_error(Operation::Delete, error)),
        }
    }
}

impl<S: Security> LoginKeychain<S> {
    fn secret(&self, operation: Operation, name: &ItemName) -> Result<Vec<Item>, Error> {
        match self.entry(operation, name)?.get_secret() {
            Ok(secret) => Ok(vec![Item { id: only_id(), secret: Zeroizing::new(secret), modified: None }]),
            Err(StoreError::NoEntry) => Ok(Vec::new()),
            Err(error) => Err(self.store_error(operation, error)),
        }
    }

    fn entry(&self, operation: Operation, name: &ItemName) -> Result<Entry, Error> {
        self.store
            .build(name.service(), name.account(), None)
            .map_err(|error| self.store_error(operation, error))
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
        let found = self.store.search(&name).map_err(|error| self.store_error(operation, error))?;
        Ok(!found.is_empty())
    }

    /// Disables dialogues and checks that the keychain is unlocked.
    fn without_dialogues(&self, operation: Operation) -> Result<DialogueGuard<'_, S>, Error> {
        let guard = DialogueGuard::disable(self.dialogues, &self.security)
            .map_err(|source| self.source_error(operation, source))?;
        self.readiness(operation)?.require_unlocked(SERVICE)?;
        Ok(guard)
    }

    fn readiness(&self, operation: Operation) -> Result<Readiness, Error> {
        match self.security.status() {
            Ok(status) if status & UNLOCKED != 0 => Ok(Readiness::Unlocked),
            Ok(_) => Ok(Readiness::Locked),
            Err(NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN) => Ok(Readiness::NotSetUp),
            Err(code) => Err(status_error(operation, code, self.security.error(code))),
        }
    }

    /// Converts an error of the store, which contains the operating system's own code.
    fn store_error(&self, operation: Operation, error: StoreError) -> Error {
        match error {
            StoreError::NoStorageAccess(source) | StoreError::PlatformFailure(source) => {
                self.source_error(operation, source)
            }
            // Some other errors own the bytes of a secret; their messages do not contain them.
            other => failed(operation, other.to_string().into()),
        }
    }

    fn source_error(&self, operation: Operation, source: Source) -> Error {
        match self.security.code_of(&*source) {
            Some(code) => status_error(operation, code, source),
            None => failed(operation, source),
        }
    }
}

/// Returns the id of the one item that a name can have.
fn only_id() -> ItemId {
    ItemId("only".into())
}

/// `kSecUnlockStateStatus`, SecKeychain.h.
const UNLOCKED: u32 = 1;

// SecBase.h.
const AUTH_FAILED: i32 = -25293;
const INTERACTION_NOT_ALLOWED: i32 = -25308;
const INTERACTION_REQUIRED: i32 = -25315;
const NOT_AVAILABLE: i32 = -25291;
const NO_DEFAULT_KEYCHAIN: i32 = -25307;
const NO_SUCH_KEYCHAIN: i32 = -25294;
const USER_CANCELED: i32 = -128;

fn status_error(operation: Operation, code: i32, source: Source) -> Error {
    match code {
        AUTH_FAILED | USER_CANCELED if operation == Operation::ReadWithPrompt => {
            Error::Denied { service: SERVICE }
        }
        AUTH_FAILED | INTERACTION_NOT_ALLOWED | INTERACTION_REQUIRED | USER_CANCELED => {
            Error::Locked { service: SERVICE }
        }
        NOT_AVAILABLE => Error::Unavailable { service: SERVICE, source },
        NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN => Error::NotSetUp { service: SERVICE },
        _ => failed(operation, source),
    }
}

/// The store makes several system calls for one of ours and does not say which of them failed.
fn failed(operation: Operation, source: Source) -> Error {
    Error::Failed { service: SERVICE, operation, effect: operation.effect_if_interrupted(), source }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::fmt;
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};

    use keyring_core::api::CredentialStoreApi;
    use keyring_core::{Result, mock};

    use super::*;

    /// Items in memory. As in macOS, only those with a secret are found.
    #[derive(Debug)]
    struct Items(Arc<mock::Store>);

    impl CredentialStoreApi for Items {
        fn vendor(&self) -> String {
            self.0.vendor()
        }

        fn id(&self) -> String {
            self.0.id()
        }

        fn build(&self, service: &str, user: &str, modifiers: Option<&HashMap<&str, &str>>) -> Result<Entry> {
            self.0.build(service, user, modifiers)
        }

        fn search(&self, spec: &HashMap<&str, &str>) -> Result<Vec<Entry>> {
            let (service, user) = (spec["service"].to_owned(), spec["user"].to_owned());
            let mut found = self.0.search(spec)?;
            found.retain(|entry| entry.get_specifiers() == Some((service.clone(), user.clone())));
            found.retain(|entry| credential(entry).inner.lock().unwrap().borrow().secret.is_some());
            Ok(found)
        }

        fn as_any(&self) -> &dyn Any {
            self
        }

        fn debug_fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Debug::fmt(self, f)
        }
    }

    fn credential(entry: &Entry) -> &mock::Cred {
        entry.as_any().downcast_ref().unwrap()
    }

    /// An error of macOS with its status code.
    #[derive(Debug)]
    struct Status(i32);

    impl fmt::Display for Status {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "status {}", self.0)
        }
    }

    impl std::error::Error for Status {}

    /// The state of a session of macOS.
    #[derive(Default)]
    struct Session {
        status: AtomicU32,
        code: AtomicI32,
        allowed: AtomicBool,
        changes: AtomicU32,
    }

    impl Security for &'static Session {
        fn status(&self) -> std::result::Result<u32, i32> {
            match self.code.load(SeqCst) {
                0 => Ok(self.status.load(SeqCst)),
                code => Err(code),
            }
        }

        fn dialogues_allowed(&self) -> std::result::Result<bool, Source> {
            Ok(self.allowed.load(SeqCst))
        }

        fn allow_dialogues(&self, allowed: bool) -> std::result::Result<(), Source> {
            self.allowed.store(allowed, SeqCst);
            self.changes.fetch_add(1, SeqCst);
            Ok(())
        }

        fn error(&self, code: i32) -> Source {
            Status(code).into()
        }

        fn code_of(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<i32> {
            error.downcast_ref::<Status>().map(|status| status.0)
        }
    }

    /// An unlocked keychain without items, in a session that allows dialogues.
    fn unlocked() -> (LoginKeychain<&'static Session>, &'static Session, ItemName) {
        let session: &Session = Box::leak(Box::default());
        session.status.store(UNLOCKED, SeqCst);
        session.allowed.store(true, SeqCst);
        let keychain = LoginKeychain {
            context: CallContext::new(Arc::default()),
            store: Arc::new(Items(mock::Store::new().unwrap())),
            security: session,
            dialogues: Box::leak(Box::new(Mutex::new(Dialogues::NONE))),
        };
        (keychain, session, ItemName::new("a service", "an account"))
    }

    /// Makes the next call for the item fail with an error of the store.
    fn fail(keychain: &LoginKeychain<&'static Session>, name: &ItemName, error: StoreError) {
        let entry = keychain.store.build(name.service(), name.account(), None).unwrap();
        credential(&entry).set_error(error);
    }

    #[test]
    fn an_item_is_created_updated_read_and_deleted() {
        let (mut keychain, _, name) = unlocked();
        assert_eq!(keychain.modified(&name).unwrap(), LastModified::NoItem);
        assert!(keychain.read(&name).unwrap().is_empty());
        let write = |keychain: &mut LoginKeychain<_>, secret: &[u8]| {
            keychain.write(&name, &WriteTarget::OnlyItem, secret).unwrap()
        };
        assert_eq!(write(&mut keychain, b"one"), ItemWrite::Created);
        assert_eq!(write(&mut keychain, b"two"), ItemWrite::Updated);
        assert_eq!(keychain.modified(&name).unwrap(), LastModified::Unknown);
        let items = keychain.read(&name).unwrap();
        assert_eq!(*items[0].secret, b"two");
        // A name that begins alike is another item.
        assert!(keychain.read(&ItemName::new("a service", "an account of another")).unwrap().is_empty());
        let other = ItemSelection::Item(ItemId("another".into()));
        assert_eq!(keychain.delete(&name, &other).unwrap(), 0);
        assert_eq!(keychain.delete(&name, &ItemSelection::Item(items[0].id.clone())).unwrap(), 1);
        assert_eq!(keychain.delete(&name, &ItemSelection::All).unwrap(), 0);
        let gone = WriteTarget::Item(only_id());
        assert!(matches!(keychain.write(&name, &gone, b"three"), Err(Error::ItemMissing { .. })));
    }

    #[test]
    fn a_locked_keychain_is_neither_read_nor_changed_and_shows_no_dialogue() {
        let (mut keychain, session, name) = unlocked();
        let _ = keychain.write(&name, &WriteTarget::OnlyItem, b"one").unwrap();
        session.status.store(0, SeqCst);
        assert!(matches!(keychain.read(&name), Err(Error::Locked { .. })));
        assert!(matches!(keychain.modified(&name), Err(Error::Locked { .. })));
        assert!(matches!(keychain.write(&name, &WriteTarget::OnlyItem, b"2"), Err(Error::Locked { .. })));
        assert!(matches!(keychain.delete(&name, &ItemSelection::All), Err(Error::Locked { .. })));
        for code in [NO_DEFAULT_KEYCHAIN, NO_SUCH_KEYCHAIN] {
            session.code.store(code, SeqCst);
            assert!(matches!(keychain.read(&name), Err(Error::NotSetUp { .. })));
        }
        session.code.store(NOT_AVAILABLE, SeqCst);
        assert!(matches!(keychain.read(&name), Err(Error::Unavailable { .. })));
        assert!(session.allowed.load(SeqCst), "dialogues are allowed again");
        // With dialogues, macOS itself asks for the password.
        assert_eq!(*keychain.read_with_prompt(&name).unwrap()[0].secret, b"one");
    }

    #[test]
    fn a_cancelled_call_changes_nothing() {
        let (mut keychain, _, name) = unlocked();
        let _ = keychain.write(&name, &WriteTarget::OnlyItem, b"one").unwrap();
        keychain.context.cancel();
        assert!(matches!(keychain.write(&name, &WriteTarget::OnlyItem, b"2"), Err(Error::Failed { .. })));
        assert!(matches!(keychain.delete(&name, &ItemSelection::All), Err(Error::Failed { .. })));
        assert_eq!(*keychain.read(&name).unwrap()[0].secret, b"one");
    }

    #[test]
    fn a_status_code_of_a_store_error_says_what_is_wrong() {
        let (mut keychain, _, name) = unlocked();
        let platform = |code| StoreError::PlatformFailure(Status(code).into());
        let no_access = |code| StoreError::NoStorageAccess(Status(code).into());
        for code in [AUTH_FAILED, INTERACTION_NOT_ALLOWED, INTERACTION_REQUIRED, USER_CANCELED] {
            fail(&keychain, &name, platform(code));
            assert!(matches!(keychain.read(&name), Err(Error::Locked { .. })), "{code}");
        }
        for code in [AUTH_FAILED, USER_CANCELED] {
            fail(&keychain, &name, no_access(code));
            assert!(matches!(keychain.read_with_prompt(&name), Err(Error::Denied { .. })), "{code}");
        }
        fail(&keychain, &name, no_access(INTERACTION_REQUIRED));
        assert!(matches!(keychain.read_with_prompt(&name), Err(Error::Locked { .. })));
        fail(&keychain, &name, platform(NOT_AVAILABLE));
        assert!(matches!(keychain.read(&name), Err(Error::Unavailable { .. })));
        // errSecDiskFull, and an error without a code.
        fail(&keychain, &name, platform(-34));
        assert!(matches!(keychain.read(&name), Err(Error::Failed { .. })));
        fail(&keychain, &name, StoreError::PlatformFailure("no code".into()));
        assert!(matches!(keychain.read(&name), Err(Error::Failed { .. })));
        let secret = StoreError::BadEncoding(b"the secret".to_vec());
        fail(&keychain, &name, secret);
        let error = keychain.read(&name).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("the secret"), "{error:?}");
    }

    #[test]
    fn dialogues_are_disabled_until_the_last_call_ends() {
        let (keychain, session, _) = unlocked();
        let first = keychain.without_dialogues(Operation::Read).unwrap();
        let second = keychain.without_dialogues(Operation::Read).unwrap();
        drop(first);
        assert!(!session.allowed.load(SeqCst));
        drop(second);
        assert!(session.allowed.load(SeqCst));
        assert_eq!(session.changes.load(SeqCst), 2);
        // The host program had disabled them.
        session.allowed.store(false, SeqCst);
        drop(keychain.without_dialogues(Operation::Read).unwrap());
        assert!(!session.allowed.load(SeqCst));
        assert_eq!(session.changes.load(SeqCst), 2);
    }
}
