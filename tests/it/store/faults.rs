//! Keychain faults at every step: each is reported as the right error, and none damages the stored login.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use codex_auth::config::StoreSelection;
use codex_auth::login::{self, StoreReport};
use codex_auth::store::{
    DocumentLocation, Error, KeychainError, RemoveOutcome, ReplaceOutcome, SeenRevision, StorageNote,
    StoreChoice,
};
use codex_auth::{StoreKind, Stores};
use codex_auth_platform::keychain::{Fault, ItemName, Memory, MemoryState, Operation, WriteTarget};

use super::SOON;
use super::worlds::{api_key, compact, item};
use crate::support::writing::{remove, replace, writing};
use crate::support::{Flock, TestHome, eventually};

/// The longest time that the commit locks may be held, and what a slow machine adds.
const MAX_HOLD: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(3);

struct Keychain {
    home: TestHome,
    memory: Memory,
    stores: Stores,
    name: ItemName,
}

impl Keychain {
    fn new() -> Self {
        let (home, memory) = (TestHome::new(), Memory::new());
        let stores = Stores::with_keychain(home.home(), &home.environment(), memory.client()).unwrap();
        let name = item(&stores);
        Self { home, memory, stores, name }
    }

    fn holding(key: &str) -> Self {
        let keychain = Self::new();
        keychain.memory.add_foreign(&keychain.name, &api_key(key).to_compact());
        keychain
    }

    fn save(&self, kind: StoreKind, seen: SeenRevision, key: &str) -> Result<ReplaceOutcome, Error> {
        replace(&self.stores, kind, seen, &api_key(key))
    }

    fn remove(&self, seen: SeenRevision) -> Result<RemoveOutcome, Error> {
        remove(&self.stores, StoreKind::Keychain, seen)
    }

    fn keep(&self, selection: StoreSelection, key: &str) -> Result<StoreReport, Error> {
        // As `--store` requests it.
        let choice: StoreChoice = self.stores.choose(Some(selection)).unwrap();
        writing(&self.stores, |writer| login::commit_login(writer, &choice, &api_key(key)))
    }

    fn secrets(&self) -> Vec<String> {
        let items = self.memory.items(&self.name);
        items.iter().map(|item| String::from_utf8(item.secret.to_vec()).unwrap()).collect()
    }

    /// Releases held calls as soon as there is one.
    fn release_the_next(&self) -> thread::JoinHandle<()> {
        let memory = self.memory.clone();
        thread::spawn(move || {
            memory.wait_for_held(1);
            memory.release();
        })
    }
}

fn seen(key: &str) -> SeenRevision {
    SeenRevision::Credential(api_key(key).revision())
}

#[test]
fn every_call_distinguishes_a_locked_a_missing_and_an_unavailable_keychain_from_logged_out() {
    type Is = fn(&Error) -> bool;
    let conditions: [(MemoryState, Is); 3] = [
        (MemoryState::Locked, |error| matches!(error, Error::Keychain(KeychainError::Locked { .. }))),
        (MemoryState::NotSetUp, |error| matches!(error, Error::Keychain(KeychainError::NotSetUp { .. }))),
        (MemoryState::Unavailable, |error| {
            matches!(error, Error::Keychain(KeychainError::Unavailable { .. }))
        }),
    ];
    for (state, is) in conditions {
        let keychain = Keychain::holding("sk-old");
        keychain.memory.set_state(state);
        let store = keychain.stores.store(StoreKind::Keychain);
        let load = store.load(SOON).unwrap_err();
        let check = keychain.stores.keychain().check(SOON).unwrap_err();
        let save = keychain.save(StoreKind::Keychain, seen("sk-old"), "sk-new").unwrap_err();
        let removal = keychain.remove(seen("sk-old")).unwrap_err();
        let login = keychain.keep(StoreSelection::Keychain, "sk-new").unwrap_err();
        for error in [load, check, save, removal, login] {
            assert!(is(&error) && !error.is_unknown(), "{state:?}: {error:?}");
        }
        assert_eq!(keychain.secrets(), [compact(&api_key("sk-old"))]);
        assert!(!keychain.home.document().exists());
    }
}

#[test]
fn a_keychain_that_fails_between_read_and_write_changes_nothing() {
    for fault in [Fault::Failed, Fault::Locked, Fault::NotSetUp, Fault::Unavailable] {
        let keychain = Keychain::holding("sk-old");
        keychain.memory.inject(Operation::Write, fault);
        let error = keychain.save(StoreKind::Keychain, seen("sk-old"), "sk-new").unwrap_err();
        assert!(!error.is_unknown(), "{fault:?}: {error}");
        keychain.memory.inject(Operation::Delete, fault);
        let error = keychain.remove(seen("sk-old")).unwrap_err();
        assert!(!error.is_unknown(), "{fault:?}: {error}");
        assert_eq!(keychain.secrets(), [compact(&api_key("sk-old"))]);
    }
}

#[test]
fn a_write_whose_reply_is_lost_is_read_back_and_such_a_removal_is_unknown() {
    let keychain = Keychain::holding("sk-old");
    keychain.memory.inject(Operation::Write, Fault::ReplyLost);
    let released = keychain.release_the_next();
    let written = keychain.save(StoreKind::Keychain, seen("sk-old"), "sk-new");
    released.join().unwrap();
    assert!(matches!(written, Ok(ReplaceOutcome::Written(_))), "{written:?}");
    assert_eq!(keychain.secrets(), [compact(&api_key("sk-new"))]);

    keychain.memory.inject(Operation::Delete, Fault::ReplyLost);
    let released = keychain.release_the_next();
    let error = keychain.remove(seen("sk-new")).unwrap_err();
    released.join().unwrap();
    assert!(error.is_unknown(), "{error}");
    assert!(keychain.secrets().is_empty());
}

#[test]
fn a_read_whose_reply_is_lost_is_an_error_and_not_unknown() {
    let keychain = Keychain::holding("sk-old");
    keychain.memory.inject(Operation::Read, Fault::ReplyLost);
    let released = keychain.release_the_next();
    let error = keychain.stores.store(StoreKind::Keychain).load(SOON).unwrap_err();
    released.join().unwrap();
    assert!(!error.is_unknown(), "{error}");
}

#[test]
fn a_write_that_times_out_is_unknown_releases_the_commit_locks_and_may_still_take_effect() {
    let keychain = Keychain::holding("sk-old");
    keychain.memory.inject(Operation::Write, Fault::Held);
    let begun = Instant::now();
    let error = keychain.save(StoreKind::Keychain, seen("sk-old"), "sk-new").unwrap_err();
    assert!(begun.elapsed() < MAX_HOLD + MARGIN, "{:?}", begun.elapsed());
    assert!(matches!(error, Error::Keychain(KeychainError::TimedOut { .. })), "{error:?}");
    assert!(error.is_unknown());
    for lock in ["auth.lock", "auth.json.lock"] {
        drop(Flock::hold(&keychain.home.file(lock)));
    }
    assert_eq!(keychain.secrets(), [compact(&api_key("sk-old"))]);
    keychain.memory.release();
    eventually("the late write", || keychain.secrets() == [compact(&api_key("sk-new"))]);
}

#[test]
fn a_slow_read_under_the_locks_writes_nothing_and_is_not_unknown() {
    let keychain = Keychain::holding("sk-old");
    keychain.memory.inject(Operation::Read, Fault::NoReply);
    let begun = Instant::now();
    let error = keychain.save(StoreKind::Keychain, seen("sk-old"), "sk-new").unwrap_err();
    assert!(begun.elapsed() < MAX_HOLD + MARGIN, "{:?}", begun.elapsed());
    assert!(!error.is_unknown(), "{error}");
    assert_eq!(keychain.memory.calls(Operation::Write), 0);
}

#[test]
fn a_login_whose_reply_is_lost_reads_the_store_before_it_reports() {
    let keychain = Keychain::holding("sk-old");
    keychain.memory.inject(Operation::Write, Fault::ReplyLost);
    let released = keychain.release_the_next();
    let kept = keychain.keep(StoreSelection::Keychain, "sk-new").unwrap();
    released.join().unwrap();
    assert_eq!(kept.location.kind(), StoreKind::Keychain);
    assert_eq!(keychain.secrets(), [compact(&api_key("sk-new"))]);

    keychain.memory.inject(Operation::Write, Fault::NoReply);
    let error = keychain.keep(StoreSelection::Keychain, "sk-lost").unwrap_err();
    assert!(error.is_unknown(), "{error}");
    assert_eq!(keychain.secrets(), [compact(&api_key("sk-new"))]);
}

/// The other program takes the commit locks and writes before we read back what we wrote.
#[test]
fn a_login_that_another_one_replaces_at_once_was_stored_all_the_same() {
    let keychain = Keychain::holding("sk-old");
    let kept = AtomicBool::new(false);
    for _ in 0..20 {
        keychain.memory.inject(Operation::Read, Fault::Held);
    }
    let lock = keychain.home.write("auth.json.lock", "");
    thread::scope(|scope| {
        scope.spawn(|| {
            let theirs = api_key("sk-theirs").to_compact();
            let mut written = false;
            while !kept.load(Ordering::SeqCst) {
                let ours_is_there = keychain.memory.calls(Operation::Write) > 0;
                if ours_is_there && !written && File::open(&lock).unwrap().try_lock().is_ok() {
                    keychain.memory.connect().write(&keychain.name, &WriteTarget::OnlyItem, &theirs).unwrap();
                    written = true;
                }
                keychain.memory.release();
                thread::yield_now();
            }
        });
        let outcome = keychain.keep(StoreSelection::Keychain, "sk-ours");
        kept.store(true, Ordering::SeqCst);
        assert_eq!(outcome.unwrap().location.kind(), StoreKind::Keychain);
    });
}

#[test]
fn the_automatic_store_falls_back_to_the_file_and_says_why() {
    for state in [MemoryState::Locked, MemoryState::NotSetUp, MemoryState::Unavailable] {
        let keychain = Keychain::new();
        keychain.memory.set_state(state);
        let kept = keychain.keep(StoreSelection::Auto, "sk-new").unwrap();
        assert_eq!(kept.location, DocumentLocation::File(keychain.home.document()), "{state:?}");
        assert!(
            kept.notes.iter().any(|note| matches!(note, StorageNote::KeychainSkipped { .. })),
            "{kept:?}"
        );
    }
    let keychain = Keychain::new();
    keychain.memory.inject(Operation::Write, Fault::Failed);
    let kept = keychain.keep(StoreSelection::Auto, "sk-new").unwrap();
    assert_eq!(kept.location.kind(), StoreKind::File);
    assert!(matches!(kept.notes[..], [StorageNote::KeychainSkipped { .. }]), "{kept:?}");
}

#[test]
fn an_unknown_keychain_write_of_the_automatic_store_makes_no_second_copy_in_the_file() {
    let keychain = Keychain::new();
    keychain.memory.inject(Operation::Write, Fault::ReplyLost);
    let released = keychain.release_the_next();
    let kept = keychain.keep(StoreSelection::Auto, "sk-new").unwrap();
    released.join().unwrap();
    assert_eq!(kept.location.kind(), StoreKind::Keychain, "the write took effect");
    assert!(!keychain.home.document().exists());
    assert_eq!(keychain.secrets(), [compact(&api_key("sk-new"))]);
}
