//! The contract of `Store` and `Writer`, tested for every store.

use codex_auth::store::{Removal, RemoveOutcome, ReplaceOutcome, SeenRevision, StoreContent};
use codex_auth::{AuthDocument, Fingerprint};

use super::SOON;
use super::worlds::{self, World, api_key, compact};
use crate::support::writing::{content, remove, replace};
use crate::support::{chatgpt, here};

/// Declares a module with one test per law in these lists: `store_contract!(file, laws_of_every_store)`.
macro_rules! store_contract {
    ($store:ident, $($laws:ident),+) => {
        mod $store {
            use super::*;
            $($laws!(worlds::$store);)+
        }
    };
}

macro_rules! laws {
    ($world:path; $($law:ident)+) => {
        $(#[test]
        fn $law() {
            $world(here!(), super::$law);
        })+
    };
}

macro_rules! laws_of_every_store {
    ($world:path) => {
        laws! { $world;
            load_sees_the_last_write
            unknown_fields_survive
            removing_nothing_is_no_error_and_a_removal_leaves_nothing
            a_save_over_changed_content_is_refused_and_returns_it
            a_save_over_new_content_is_refused
            a_save_over_removed_content_is_refused
            a_removal_of_content_that_was_not_seen_is_refused
            a_change_outside_the_credential_does_not_count_as_a_change
            a_document_of_8_kib_is_read_back_whole
            two_handles_see_each_others_writes
        }
    };
}

/// Laws of a store whose content outlives its process.
macro_rules! laws_of_a_lasting_store {
    ($world:path) => {
        laws! { $world;
            find_returns_what_was_written
            a_write_that_fails_leaves_the_old_document_whole
            unparsable_content_is_replaced_only_if_it_was_seen
        }
    };
}

/// Laws of a store that other processes can access.
macro_rules! laws_of_a_shared_store {
    ($world:path) => {
        laws! { $world;
            processes_see_each_others_writes
        }
    };
}

store_contract!(file, laws_of_every_store, laws_of_a_lasting_store, laws_of_a_shared_store);
store_contract!(linked_file, laws_of_every_store, laws_of_a_lasting_store, laws_of_a_shared_store);
store_contract!(memory_keychain, laws_of_every_store, laws_of_a_lasting_store);
store_contract!(system_keychain, laws_of_every_store, laws_of_a_lasting_store);

// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod shared {
    use super::{here, processes_see_each_others_writes, worlds};

    mod system_keychain {
        use super::*;
        laws_of_a_shared_store!(worlds::system_keychain);
    }
}

fn load_sees_the_last_write(world: &World) {
    assert_eq!(world.text(), None);
    for document in [api_key("sk-1"), parsed(&chatgpt("acct-1", "rt-1", 1, 2)), api_key("sk-2")] {
        world.write(&document);
        let stored = world.store().load(SOON).unwrap().unwrap();
        assert_eq!(compact(&stored.document), compact(&document));
        assert_eq!(stored.document.revision(), document.revision());
    }
}

fn unknown_fields_survive(world: &World) {
    let text = chatgpt("acct-1", "rt-1", 1, 2)
        .replacen('{', r#"{"before": [1, null, {"a": 2.5}],"#, 1)
        .replacen(r#""tokens": {"#, r#""tokens": {"within": {"b": "ü"},"#, 1);
    let document = parsed(&text);
    world.write(&document);
    let kept = world.text().unwrap();
    assert_eq!(kept, compact(&document));
    assert!(
        kept.contains(r#""before":[1,null,{"a":2.5}]"#) && kept.contains(r#""within":{"b":"ü"}"#),
        "{kept}"
    );
}

fn removing_nothing_is_no_error_and_a_removal_leaves_nothing(world: &World) {
    assert!(matches!(world.remove(SeenRevision::Nothing), Ok(RemoveOutcome::Removed(Removal::Absent))));
    world.write(&api_key("sk-1"));
    assert!(matches!(world.remove(world.seen()), Ok(RemoveOutcome::Removed(Removal::Removed))));
    assert_eq!(world.text(), None);
    assert!(matches!(world.remove(SeenRevision::Nothing), Ok(RemoveOutcome::Removed(Removal::Absent))));
}

fn a_save_over_changed_content_is_refused_and_returns_it(world: &World) {
    world.write(&api_key("sk-1"));
    let seen = world.seen();
    world.put(&api_key("sk-theirs").to_compact());
    let moved = world.save(seen, &api_key("sk-2")).unwrap();
    let ReplaceOutcome::Changed(StoreContent::Document(there)) = moved else { panic!("{moved:?}") };
    assert_eq!(there.document.revision(), api_key("sk-theirs").revision());
    assert_eq!(world.text(), Some(compact(&api_key("sk-theirs"))));
}

fn a_save_over_new_content_is_refused(world: &World) {
    let seen = world.seen();
    assert_eq!(seen, SeenRevision::Nothing);
    world.put(&api_key("sk-theirs").to_compact());
    assert!(matches!(
        world.save(seen, &api_key("sk-1")),
        Ok(ReplaceOutcome::Changed(StoreContent::Document(_)))
    ));
    assert_eq!(world.text(), Some(compact(&api_key("sk-theirs"))));
}

fn a_save_over_removed_content_is_refused(world: &World) {
    world.write(&api_key("sk-1"));
    let seen = world.seen();
    let gone = remove(&world.other_handle(), world.kind, seen);
    assert!(matches!(gone, Ok(RemoveOutcome::Removed(Removal::Removed))));
    assert!(matches!(world.save(seen, &api_key("sk-2")), Ok(ReplaceOutcome::Changed(_))));
    assert_eq!(world.text(), None);
}

fn a_removal_of_content_that_was_not_seen_is_refused(world: &World) {
    let vanished = SeenRevision::Credential(api_key("sk-1").revision());
    assert!(matches!(world.remove(vanished), Ok(RemoveOutcome::Changed(StoreContent::Nothing))));
    world.put(&api_key("sk-theirs").to_compact());
    for seen in [vanished, SeenRevision::Nothing, SeenRevision::Unparsable(Fingerprint::of("other"))] {
        let refused = world.remove(seen);
        assert!(
            matches!(refused, Ok(RemoveOutcome::Changed(StoreContent::Document(_)))),
            "{seen:?}: {refused:?}"
        );
        assert_eq!(world.text(), Some(compact(&api_key("sk-theirs"))));
    }
}

fn a_change_outside_the_credential_does_not_count_as_a_change(world: &World) {
    let text = chatgpt("acct-1", "rt-1", 1, 2);
    world.write(&parsed(&text));
    let seen = world.seen();
    let reformatted =
        text.replace("2026-11-01", "2026-11-02").replacen('{', "{ \"stranger\" :\n\t1,", 1) + "\n";
    world.put(reformatted.as_bytes());
    assert_eq!(world.seen(), seen);
    assert!(matches!(world.save(seen, &api_key("sk-1")), Ok(ReplaceOutcome::Written(_))));
    assert_eq!(world.text(), Some(compact(&api_key("sk-1"))));
}

fn a_document_of_8_kib_is_read_back_whole(world: &World) {
    let text = chatgpt("acct-1", &"r".repeat(8 * 1024), 1, 2);
    world.write(&parsed(&text));
    assert_eq!(world.text(), Some(compact(&parsed(&text))));
    world.write(&api_key("sk-short"));
    assert_eq!(world.text(), Some(compact(&api_key("sk-short"))));
}

fn two_handles_see_each_others_writes(world: &World) {
    world.write(&api_key("sk-ours"));
    let elsewhere = world.other_handle();
    let there = content(&elsewhere, world.kind);
    let seen = there.seen();
    assert_eq!(there.stored().unwrap().document.revision(), api_key("sk-ours").revision());
    let written = replace(&elsewhere, world.kind, seen, &api_key("sk-theirs"));
    assert!(matches!(written, Ok(ReplaceOutcome::Written(_))));
    assert_eq!(world.text(), Some(compact(&api_key("sk-theirs"))));
}

fn find_returns_what_was_written(world: &World) {
    world.write(&api_key("sk-1"));
    let found = world.other_handle().find().unwrap().stored.unwrap();
    assert_eq!(found.document.revision(), api_key("sk-1").revision());
    assert_eq!(found.location, world.store().load(SOON).unwrap().unwrap().location);
}

fn a_write_that_fails_leaves_the_old_document_whole(world: &World) {
    world.write(&api_key("sk-old"));
    world.fail_a_write();
    assert_eq!(world.text(), Some(compact(&api_key("sk-old"))));
    world.write(&api_key("sk-new"));
    assert_eq!(world.text(), Some(compact(&api_key("sk-new"))));
}

fn unparsable_content_is_replaced_only_if_it_was_seen(world: &World) {
    world.put(b"{ this is no document");
    let seen = world.seen();
    assert!(matches!(seen, SeenRevision::Unparsable(_)));
    for other in [SeenRevision::Nothing, SeenRevision::Unparsable(Fingerprint::of("other"))] {
        let refused = world.save(other, &api_key("sk-1"));
        assert!(
            matches!(refused, Ok(ReplaceOutcome::Changed(StoreContent::Unparsable { .. }))),
            "{refused:?}"
        );
        let refused = world.remove(other);
        assert!(
            matches!(refused, Ok(RemoveOutcome::Changed(StoreContent::Unparsable { .. }))),
            "{refused:?}"
        );
    }
    assert_eq!(world.seen(), seen);
    assert!(matches!(world.save(seen, &api_key("sk-1")), Ok(ReplaceOutcome::Written(_))));
    assert_eq!(world.text(), Some(compact(&api_key("sk-1"))));
}

fn processes_see_each_others_writes(world: &World) {
    world.write(&api_key("sk-ours"));
    assert_eq!(world.home.codex(["token"]).run().expect(0).out, "sk-ours\n");
    let login = ["login", "--with-api-key", "--store", world.kind.as_str()];
    world.home.codex(login).input("sk-theirs").run().expect(0);
    assert_eq!(world.text(), Some(compact(&api_key("sk-theirs"))));
    world.home.codex(["logout", "--local"]).run().expect(0);
    assert_eq!(world.text(), None);
}

fn parsed(text: &str) -> AuthDocument {
    AuthDocument::parse(text.as_bytes()).unwrap()
}
