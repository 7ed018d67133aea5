//! Selecting a store: where a login is found, which of two copies is used, and where a new login goes.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use codex_auth::config::StoreSelection;
use codex_auth::store::{
    ChoiceReason, CopyPreference, Error, KeychainError, RemoveOutcome, ReplaceOutcome, StorageNote,
};
use codex_auth::{AuthDocument, StoreKind, Stores};
use codex_auth_platform::keychain::{ItemName, Memory, MemoryState, Operation};

use super::SOON;
use super::worlds::{api_key, compact, item};
use crate::support::writing::{self, remove, replace, writing};
use crate::support::{TestHome, chatgpt};

/// A home with a keychain in memory.
struct Scene {
    home: TestHome,
    memory: Memory,
}

impl Scene {
    fn new() -> Self {
        Self { home: TestHome::new(), memory: Memory::new() }
    }

    /// Creates a home with this configured store, recorded store, and copies in the keychain and in the file.
    fn with(config: &str, recorded: &str, keychain: Option<Copy>, file: Option<Copy>) -> Self {
        let scene = Self::new();
        if !config.is_empty() {
            scene.home.write("config.toml", format!("cli_auth_credentials_store = \"{config}\"\n"));
        }
        if !recorded.is_empty() {
            fs::create_dir(scene.home.file("codex-auth")).unwrap();
            scene.home.write("codex-auth/state.json", format!("{{\"store\": \"{recorded}\"}}"));
        }
        if let Some(copy) = keychain {
            scene.memory.add_foreign(&scene.name(), copy.text().as_bytes());
        }
        if let Some(copy) = file {
            scene.home.write("auth.json", copy.text());
        }
        scene
    }

    fn stores(&self) -> Stores {
        Stores::with_keychain(self.home.home(), &self.home.environment(), self.memory.client()).unwrap()
    }

    fn name(&self) -> ItemName {
        item(&self.stores())
    }

    /// Returns everything that a reader might change.
    fn file_contents(&self) -> (Vec<(String, Vec<u8>, SystemTime)>, usize) {
        let mut files = Vec::new();
        picture(&self.home.path(), &mut files);
        files.sort();
        (files, self.memory.calls(Operation::Write) + self.memory.calls(Operation::Delete))
    }
}

fn picture(folder: &Path, files: &mut Vec<(String, Vec<u8>, SystemTime)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let changed = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            picture(&path, files);
        }
        files.push((path.display().to_string(), fs::read(&path).unwrap_or_default(), changed));
    }
}

/// A ChatGPT login: its account, and the issue time of its access token.
#[derive(Clone, Copy, Debug)]
struct Copy(&'static str, i64);

impl Copy {
    fn text(self) -> String {
        chatgpt(self.0, &format!("rt-{}", self.0), self.1, self.1 + 3600)
    }
}

/// A short name for a note; the tests of the commands check the texts.
fn name(note: &StorageNote) -> &'static str {
    match note {
        StorageNote::Duplicates { .. } => "duplicates",
        StorageNote::KeychainSkipped { .. } => "passed over",
        StorageNote::LegacyToken { .. } => "legacy token",
        StorageNote::ReadableByOthers { .. } => "loose",
        StorageNote::Misplaced { .. } => "misplaced",
        StorageNote::NotRead { .. } => "not read",
        StorageNote::OtherCopy { preference, .. } => match preference {
            CopyPreference::Keychain => "other copy: keychain",
            CopyPreference::LaterToken => "other copy: later",
            CopyPreference::Recorded => "other copy: recorded",
            _ => "other copy",
        },
        StorageNote::OtherUnreadable { .. } => "other unreadable",
        StorageNote::StateUnreadable { .. } => "state unreadable",
        _ => "another",
    }
}

#[test]
fn the_login_is_found_by_configuration_then_state_and_the_later_of_two_copies_is_used() {
    use ChoiceReason::{Configured, Default, LoginPresent, Recorded};
    const OLD: Option<Copy> = Some(Copy("a", 1));
    const NEW: Option<Copy> = Some(Copy("a", 2));
    const OTHER: Option<Copy> = Some(Copy("b", 9));
    const FILE: Option<StoreKind> = Some(StoreKind::File);
    const KEYCHAIN: Option<StoreKind> = Some(StoreKind::Keychain);
    type Row = (
        &'static str,
        &'static str,
        Option<Copy>,
        Option<Copy>,
        Option<StoreKind>,
        ChoiceReason,
        &'static [&'static str],
    );
    let rows: &[Row] = &[
        // config, state, keychain, file -> found, reason, notes
        ("", "", None, None, None, Default, &[]),
        ("", "", None, OLD, FILE, Default, &[]),
        ("", "", OLD, None, KEYCHAIN, LoginPresent, &["misplaced"]),
        ("", "", NEW, OLD, FILE, Default, &[]),
        ("", "file", None, OLD, FILE, Default, &[]),
        ("", "file", OLD, None, None, Default, &[]),
        ("", "keychain", None, None, None, Recorded, &[]),
        ("", "keychain", None, OLD, FILE, Recorded, &[]),
        ("", "keychain", OLD, None, KEYCHAIN, Recorded, &["misplaced"]),
        ("", "keychain", NEW, OLD, KEYCHAIN, Recorded, &["other copy: later", "misplaced"]),
        ("", "keychain", OLD, NEW, FILE, Recorded, &["other copy: later"]),
        ("file", "", None, OLD, FILE, Configured, &[]),
        ("file", "", OLD, None, None, Configured, &[]),
        ("file", "keychain", NEW, OLD, FILE, Configured, &[]),
        ("file", "keychain", OLD, None, KEYCHAIN, LoginPresent, &["misplaced"]),
        ("file", "keychain", None, None, None, Configured, &[]),
        ("keyring", "", OLD, None, KEYCHAIN, Configured, &[]),
        ("keyring", "", OLD, NEW, KEYCHAIN, Configured, &[]),
        ("keyring", "", None, OLD, None, Configured, &[]),
        ("keyring", "file", None, OLD, FILE, LoginPresent, &["misplaced"]),
        ("keyring", "file", OLD, NEW, KEYCHAIN, Configured, &[]),
        ("keychain", "", OLD, None, KEYCHAIN, Configured, &[]),
        ("auto", "", None, None, None, Configured, &[]),
        ("auto", "", OLD, None, KEYCHAIN, Configured, &[]),
        ("auto", "", None, OLD, FILE, Configured, &[]),
        ("auto", "file", NEW, OLD, KEYCHAIN, Configured, &["other copy: later"]),
        ("auto", "keychain", OLD, NEW, FILE, Configured, &["other copy: later"]),
        ("auto", "", OLD, OLD, KEYCHAIN, Configured, &["other copy: keychain"]),
        ("auto", "file", OLD, OLD, FILE, Configured, &["other copy: recorded"]),
        // Issue times of two different logins are not compared.
        ("auto", "", OLD, OTHER, KEYCHAIN, Configured, &["other copy: keychain"]),
        ("auto", "file", OTHER, OLD, FILE, Configured, &["other copy: recorded"]),
        ("auto", "keychain", OLD, OTHER, KEYCHAIN, Configured, &["other copy: recorded"]),
        ("ephemeral", "", OLD, OLD, None, Configured, &["not read"]),
    ];
    for (config, recorded, keychain, file, kind, reason, notes) in rows {
        let row = format!("{config:?} {recorded:?} {keychain:?} {file:?}");
        let scene = Scene::with(config, recorded, *keychain, *file);
        let before = scene.file_contents();
        let found = scene.stores().find().unwrap();
        assert_eq!(found.stored.as_ref().map(|stored| stored.location.kind()), *kind, "{row}");
        assert_eq!(found.reason, *reason, "{row}");
        let names: Vec<_> =
            found.stored.iter().flat_map(|stored| &stored.notes).chain(&found.notes).map(name).collect();
        assert_eq!(names, *notes, "{row}");
        let held = if *kind == FILE { *file } else { *keychain };
        if let Some(stored) = &found.stored {
            let held = AuthDocument::parse(held.unwrap().text().as_bytes()).unwrap();
            assert_eq!(compact(&stored.document), compact(&held), "{row}");
        }
        assert_eq!(scene.file_contents(), before, "a reader changed something: {row}");
    }
}

#[test]
fn a_keychain_that_may_hold_the_login_and_cannot_be_read_is_an_error() {
    let file = Some(Copy("a", 1));
    for (config, recorded, file, state) in [
        ("keyring", "", None, MemoryState::Locked),
        ("keyring", "", file, MemoryState::Locked),
        ("keyring", "", None, MemoryState::NotSetUp),
        ("keyring", "", None, MemoryState::Unavailable),
        ("keyring", "file", file, MemoryState::Locked),
        ("auto", "", None, MemoryState::Locked),
        ("auto", "keychain", None, MemoryState::Unavailable),
        ("auto", "keychain", None, MemoryState::NotSetUp),
        ("file", "keychain", None, MemoryState::Locked),
        ("file", "keychain", None, MemoryState::Unavailable),
        ("", "keychain", None, MemoryState::Locked),
        ("", "keychain", None, MemoryState::Unavailable),
    ] {
        let scene = Scene::with(config, recorded, None, file);
        scene.memory.set_state(state);
        let before = scene.file_contents();
        let row = format!("{config:?} {recorded:?} {file:?} {state:?}");
        let error = scene.stores().find().expect_err(&row);
        assert!(matches!(error, Error::Keychain(_)), "{row}: {error:?}");
        assert_eq!(
            matches!(error, Error::Keychain(KeychainError::Locked { .. })),
            state == MemoryState::Locked
        );
        assert_eq!(scene.file_contents(), before);
    }
}

#[test]
fn an_unreadable_keychain_that_does_not_hold_the_login_is_skipped_with_a_note() {
    let file = Some(Copy("a", 1));
    for (config, recorded, file, state, notes) in [
        ("auto", "", file, MemoryState::Locked, &["passed over"][..]),
        ("auto", "", file, MemoryState::Unavailable, &["passed over"]),
        ("auto", "keychain", file, MemoryState::Locked, &["passed over"]),
        ("auto", "", None, MemoryState::Unavailable, &[]),
        ("auto", "", None, MemoryState::NotSetUp, &[]),
        ("file", "", None, MemoryState::Locked, &[]),
        ("", "", file, MemoryState::Locked, &[]),
        ("", "file", None, MemoryState::Locked, &[]),
        ("", "", None, MemoryState::Unavailable, &[]),
        ("", "", None, MemoryState::Locked, &["passed over"]),
    ] {
        let scene = Scene::with(config, recorded, None, file);
        scene.memory.set_state(state);
        let row = format!("{config:?} {recorded:?} {file:?} {state:?}");
        let found = scene.stores().find().expect(&row);
        assert_eq!(found.stored.is_some(), file.is_some(), "{row}");
        let names: Vec<_> =
            found.stored.iter().flat_map(|stored| &stored.notes).chain(&found.notes).map(name).collect();
        assert_eq!(names, notes, "{row}");
    }
}

#[test]
fn a_new_login_goes_to_the_requested_configured_current_or_best_store() {
    use ChoiceReason::{Configured, KeychainUsable, LoginPresent, Requested};
    use StoreSelection::{Auto, File, Keychain};
    let copy = Some(Copy("a", 1));
    for (config, recorded, keychain, file, asked, kind, reason) in [
        ("keyring", "", copy, None, Some(File), File, Requested),
        ("ephemeral", "", None, None, Some(Auto), Auto, Requested),
        ("file", "keychain", copy, None, None, File, Configured),
        ("keyring", "", None, copy, None, Keychain, Configured),
        ("auto", "", None, copy, None, Auto, Configured),
        ("", "", None, copy, None, File, LoginPresent),
        ("", "", copy, None, None, Keychain, LoginPresent),
        ("", "keychain", copy, None, None, Keychain, LoginPresent),
        ("", "", None, None, None, Keychain, KeychainUsable),
        ("", "file", None, None, None, Keychain, KeychainUsable),
    ] {
        let scene = Scene::with(config, recorded, keychain, file);
        let before = scene.file_contents();
        let choice = scene.stores().choose(asked).unwrap();
        assert_eq!((choice.selection, &choice.reason), (kind, &reason), "{config:?} {recorded:?} {asked:?}");
        assert_eq!(scene.file_contents(), before);
    }
    for state in [MemoryState::Locked, MemoryState::NotSetUp, MemoryState::Unavailable] {
        let scene = Scene::new();
        scene.memory.set_state(state);
        let choice = scene.stores().choose(None).unwrap();
        assert_eq!(choice.selection, StoreSelection::File, "{state:?}");
        assert!(matches!(choice.reason, ChoiceReason::KeychainUnusable(_)), "{choice:?}");
    }
    let scene = Scene::with("ephemeral", "", None, None);
    assert!(matches!(scene.stores().choose(None), Err(Error::EphemeralConfigured { .. })));
    let scene = Scene::new();
    scene.home.write("auth.json", "no document");
    assert_eq!(scene.stores().choose(None).unwrap().reason, LoginPresent);
}

#[test]
fn the_item_in_use_has_the_later_token_or_is_parsable_or_is_always_the_same() {
    let text = |copy: Copy| copy.text().into_bytes();
    let (old, new, garbage) = (text(Copy("a", 1)), text(Copy("a", 2)), b"no document".to_vec());
    for (items, used, preference) in [
        (vec![&old, &new], &new, CopyPreference::LaterToken),
        (vec![&new, &old], &new, CopyPreference::LaterToken),
        (vec![&old, &new, &old], &new, CopyPreference::LaterToken),
        (vec![&garbage, &old], &old, CopyPreference::Readable),
        (vec![&old, &garbage], &old, CopyPreference::Readable),
        (vec![&old, &old], &old, CopyPreference::First),
    ] {
        let scene = Scene::with("keyring", "", None, None);
        for item in &items {
            scene.memory.add_foreign(&scene.name(), item);
        }
        let stored = scene.stores().find().unwrap().stored.unwrap();
        assert_eq!(stored.document.revision(), AuthDocument::parse(used).unwrap().revision());
        assert_eq!(stored.notes, [StorageNote::Duplicates { copies: items.len(), preference }]);
    }
}

#[test]
fn a_write_goes_to_the_item_in_use_and_a_removal_removes_all_items() {
    let scene = Scene::with("keyring", "", Some(Copy("a", 1)), None);
    let newer = scene.memory.add_foreign(&scene.name(), Copy("a", 2).text().as_bytes());
    scene.memory.add_foreign(&scene.name(), b"no document");
    // Items that are otherwise equal are ordered by the service's modification time, in whole seconds.
    let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for item in scene.memory.items(&scene.name()) {
        scene.memory.set_modified(&item.id, Some(earlier));
    }
    let (stores, kind) = (scene.stores(), StoreKind::Keychain);
    let saved = replace(&stores, kind, writing::seen(&stores, kind), &api_key("sk-1"));
    assert!(matches!(saved, Ok(ReplaceOutcome::Written(_))), "{saved:?}");
    let items = scene.memory.items(&scene.name());
    let written: Vec<_> =
        items.iter().filter(|item| **item.secret == **api_key("sk-1").to_compact()).collect();
    assert_eq!((items.len(), written.len()), (3, 1));
    assert_eq!(written[0].id, newer);
    let stored = stores.store(kind).load(SOON).unwrap().unwrap();
    assert_eq!(stored.document.revision(), api_key("sk-1").revision(), "what was written is what is read");

    let removed = remove(&stores, kind, writing::seen(&stores, kind));
    assert!(matches!(removed, Ok(RemoveOutcome::Removed(_))), "{removed:?}");
    assert!(scene.memory.items(&scene.name()).is_empty());
}

#[test]
fn removing_duplicates_leaves_only_the_item_in_use() {
    let scene = Scene::with("keyring", "", Some(Copy("a", 2)), None);
    scene.memory.add_foreign(&scene.name(), Copy("a", 1).text().as_bytes());
    scene.memory.add_foreign(&scene.name(), b"no document");
    writing(&scene.stores(), |writer| {
        assert_eq!(writer.remove_duplicates().unwrap(), 2);
        assert_eq!(writer.remove_duplicates().unwrap(), 0);
    });
    let items = scene.memory.items(&scene.name());
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].secret.as_slice(), Copy("a", 2).text().as_bytes());
}

#[test]
fn an_unreadable_copy_is_reported_and_does_not_hide_the_readable_one() {
    let scene = Scene::with("auto", "", Some(Copy("a", 1)), None);
    scene.home.write("auth.json", "no document");
    let stored = scene.stores().find().unwrap().stored.unwrap();
    assert_eq!(stored.location.kind(), StoreKind::Keychain);
    assert_eq!(stored.notes.iter().map(name).collect::<Vec<_>>(), ["other unreadable"]);

    let scene = Scene::with("auto", "", None, Some(Copy("a", 1)));
    scene.memory.add_foreign(&scene.name(), b"no document");
    let stored = scene.stores().find().unwrap().stored.unwrap();
    assert_eq!(stored.location.kind(), StoreKind::File);
    assert_eq!(stored.notes.len(), 1, "{:?}", stored.notes);
}

#[test]
fn problems_of_a_home_are_reported_and_nothing_is_changed() {
    let scene = Scene::with("", "keychain", Some(Copy("a", 1)), None);
    scene.home.write("codex-auth/state.json", "{ no record");
    scene.home.write("config.toml", "auth_token = \"old\"\n");
    let before = scene.file_contents();
    let found = scene.stores().find().unwrap();
    assert!(found.stored.is_some());
    let notes: Vec<_> = found.notes.iter().map(name).collect();
    assert_eq!(notes, ["legacy token", "state unreadable", "misplaced"]);
    assert_eq!(scene.file_contents(), before);
}
