//! Every store with its own home, so that one law can be tested for each.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;

use codex_auth::store::{DocumentLocation, Error, RemoveOutcome, ReplaceOutcome, SeenRevision, Store};
use codex_auth::{AuthDocument, Secret, StoreKind, Stores};
use codex_auth_platform::keychain::{Fault, ItemName, Memory, Operation, WriteTarget};

use super::SOON;
use crate::support::session::{PrivateSession, inside};
use crate::support::writing::{self, remove, replace};
use crate::support::{TestHome, item as theirs, names};

/// A store, its home and the backend behind it.
pub struct World {
    pub home: TestHome,
    pub kind: StoreKind,
    stores: Stores,
    backend: Box<dyn Backend>,
}

/// The disk or keychain behind a store, accessed without our library.
trait Backend {
    /// Opens the stores as another process would.
    fn open(&self, home: &TestHome) -> Stores {
        home.stores()
    }

    /// Writes bytes into the store as another program does.
    fn put(&self, world: &World, bytes: &[u8]);

    /// Asserts that a write fails while the backend is broken, and restores the backend.
    fn fail_a_write(&self, world: &World);
}

impl World {
    fn new(home: TestHome, kind: StoreKind, backend: impl Backend + 'static) -> Self {
        Self { kind, stores: backend.open(&home), backend: Box::new(backend), home }
    }

    pub fn store(&self) -> Box<dyn Store> {
        self.stores.store(self.kind)
    }

    /// Opens the stores again, as another process would.
    pub fn other_handle(&self) -> Stores {
        self.backend.open(&self.home)
    }

    pub fn put(&self, bytes: &[u8]) {
        self.backend.put(self, bytes);
    }

    pub fn fail_a_write(&self) {
        self.backend.fail_a_write(self);
    }

    pub fn seen(&self) -> SeenRevision {
        writing::seen(&self.stores, self.kind)
    }

    /// Replaces the content, whatever it is.
    pub fn write(&self, document: &AuthDocument) {
        assert!(matches!(self.save(self.seen(), document), Ok(ReplaceOutcome::Written(_))));
    }

    pub fn save(&self, seen: SeenRevision, document: &AuthDocument) -> Result<ReplaceOutcome, Error> {
        replace(&self.stores, self.kind, seen, document)
    }

    pub fn remove(&self, seen: SeenRevision) -> Result<RemoveOutcome, Error> {
        remove(&self.stores, self.kind, seen)
    }

    /// Returns the document in the store, as text.
    pub fn text(&self) -> Option<String> {
        self.store().load(SOON).unwrap().map(|stored| compact(&stored.document))
    }

    /// Asserts that a save fails with a known outcome.
    fn assert_refused(&self, seen: SeenRevision) {
        let error = self.save(seen, &api_key("sk-never")).unwrap_err();
        assert!(!error.is_unknown(), "{error}");
    }
}

pub fn api_key(key: &str) -> AuthDocument {
    AuthDocument::with_api_key(&Secret::from(key))
}

pub fn compact(document: &AuthDocument) -> String {
    String::from_utf8(document.to_compact().to_vec()).unwrap()
}

/// Returns the name of the keychain item of a home.
pub fn item(stores: &Stores) -> ItemName {
    match stores.location(StoreKind::Keychain) {
        DocumentLocation::Keychain { service, account } => ItemName::new(service, account),
        other => panic!("{other}"),
    }
}

/// A file store.
pub fn file(_test: &str, law: fn(&World)) {
    law(&World::new(TestHome::new(), StoreKind::File, Disk));
}

/// A file store whose document is a link into another folder.
pub fn linked_file(_test: &str, law: fn(&World)) {
    let home = TestHome::new();
    let target = home.beside("elsewhere").join("login.json");
    symlink(&target, home.document()).unwrap();
    let world = World::new(home, StoreKind::File, Disk);
    law(&world);
    assert!(world.home.document().is_symlink(), "the link was replaced");
}

/// The keychain store over the keychain in memory.
pub fn memory_keychain(_test: &str, law: fn(&World)) {
    law(&World::new(TestHome::new(), StoreKind::Keychain, Memory::new()));
}

/// The keychain store over the real keychain of this system.
pub fn system_keychain(test: &str, law: fn(&World)) {
    inside(test, || in_a_keyring(StoreKind::Keychain, law));
}

fn in_a_keyring(kind: StoreKind, law: fn(&World)) {
    let session = PrivateSession::unlocked();
    law(&World::new(TestHome::within(&session), kind, Keyring(RefCell::new(session))));
}

/// A disk that can be full.
struct Disk;

impl Backend for Disk {
    fn put(&self, world: &World, bytes: &[u8]) {
        fs::write(world.home.document(), bytes).unwrap();
    }

    fn fail_a_write(&self, world: &World) {
        let document = world.home.document().canonicalize().unwrap();
        let folder = document.parent().unwrap();
        let before = names(folder);
        // The process may not write any file longer than 0 bytes.
        let full = ["sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""];
        let login = ["login", "--store", world.kind.as_str(), "--with-api-key"];
        let ended = world.home.codex(login).input("sk-never").through(full).run().expect(5);
        assert!(ended.err.contains("no space for"), "{ended}");
        let left: Vec<_> = names(folder).into_iter().filter(|name| !before.contains(name)).collect();
        assert!(left.iter().all(|name| name.ends_with(".lock") || name == "codex-auth"), "{left:?}");
    }
}

impl Backend for Memory {
    fn open(&self, home: &TestHome) -> Stores {
        Stores::with_keychain(home.home(), &home.environment(), self.client()).unwrap()
    }

    fn put(&self, world: &World, bytes: &[u8]) {
        self.connect().write(&item(&world.stores), &WriteTarget::OnlyItem, bytes).unwrap();
    }

    fn fail_a_write(&self, world: &World) {
        self.inject(Operation::Write, Fault::Failed);
        world.assert_refused(world.seen());
    }
}

/// The system's keychain, in a private session.
struct Keyring(RefCell<PrivateSession>);

impl Backend for Keyring {
    fn put(&self, world: &World, bytes: &[u8]) {
        theirs(&world.home).set_secret(bytes).unwrap();
    }

    fn fail_a_write(&self, world: &World) {
        let seen = world.seen();
        let mut session = self.0.borrow_mut();
        session.lock_again();
        world.assert_refused(seen);
        session.unlock_again();
        assert!(session.dialogues().is_empty(), "a password prompt appeared");
    }
}
