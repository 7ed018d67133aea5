//! The crate and version with which Codex stores its item, on a real gnome-keyring: both programs use one item.

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::time::Duration;

use codex_auth::store::{RemoveOutcome, ReplaceOutcome, SeenRevision, StorageNote, Store as _};
use codex_auth::{AuthDocument, Secret, StoreKind};
use keyring3::secret_service::SsCredential;

use crate::support::session::{PrivateSession, inside};
use crate::support::writing::{self, remove, replace};
use crate::support::{Machine, TestHome, account, add_second_item, chatgpt, here, item, items, names};

const SOON: Duration = Duration::from_secs(20);

macro_rules! on_a_machine_with_a_keychain {
    ($($(#[doc = $doc:literal])* fn $test:ident($machine:ident) $body:block)*) => {
        $($(#[doc = $doc])* #[test]
        fn $test() {
            inside(here!(), || {
                let mut machine = Machine::with_keychain();
                {
                    let $machine = &machine;
                    $body
                }
                assert!(machine.session.as_mut().unwrap().dialogues().is_empty(), "a dialog was shown");
            });
        })*
    };
}

fn login(machine: &Machine, key: &str) {
    machine.codex(["login", "--with-api-key"]).input(key).run().expect(0);
}

fn compact(key: &str) -> String {
    format!(r#"{{"auth_mode":"apikey","OPENAI_API_KEY":"{key}"}}"#)
}

fn api_key(key: &str) -> AuthDocument {
    AuthDocument::with_api_key(&Secret::from(key))
}

/// All attributes of the item, except the one that the service adds to every item.
fn attributes(home: &TestHome) -> HashMap<String, String> {
    let name = SsCredential::new_with_target(None, "Codex Auth", &account(home)).unwrap();
    let mut attributes = name.new_from_matching_item().unwrap().attributes;
    attributes.remove("xdg:schema");
    attributes
}

on_a_machine_with_a_keychain! {
    fn each_reads_what_the_other_wrote(machine) {
        login(machine, "sk-ours");
        assert_eq!(machine.stored_text(), Some(compact("sk-ours")));
        machine.store_text(compact("sk-theirs"));
        assert_eq!(machine.codex(["token"]).run().expect(0).out, "sk-theirs\n");
        let status = machine.codex(["status", "--json"]).run().expect(0).json();
        assert_eq!((&status["store"], &status["location"]), (&"keychain".into(), &machine.location().into()));
    }

    fn pretty_printed_text_is_read(machine) {
        machine.store_text(format!("\n{:#}\n", serde_json::json!({"OPENAI_API_KEY": "sk-theirs"})));
        assert_eq!(machine.codex(["token"]).run().expect(0).out, "sk-theirs\n");
    }

    fn an_update_by_either_keeps_the_one_item(machine) {
        for (ours, theirs) in [("sk-1", "sk-2"), ("sk-3", "sk-4")] {
            login(machine, ours);
            assert_eq!(items(&machine.home), [compact(ours).into_bytes()]);
            machine.store_text(compact(theirs));
            assert_eq!(items(&machine.home), [compact(theirs).into_bytes()]);
        }
    }

    fn an_item_made_by_codex_is_updated_in_place(machine) {
        machine.store_text(compact("sk-theirs"));
        let label = || item(&machine.home).get_attributes().unwrap().remove("label");
        let (before, name) = (label(), attributes(&machine.home));
        login(machine, "sk-ours");
        assert_eq!((label(), attributes(&machine.home)), (before, name));
        assert_eq!(items(&machine.home), [compact("sk-ours").into_bytes()]);
    }

    fn a_removal_by_either_is_seen_by_the_other(machine) {
        login(machine, "sk-ours");
        item(&machine.home).delete_credential().unwrap();
        machine.codex(["status"]).run().expect(1);
        machine.store_text(compact("sk-theirs"));
        machine.codex(["logout", "--local"]).run().expect(0);
        assert!(matches!(item(&machine.home).get_secret(), Err(keyring3::Error::NoEntry)));
    }

    fn a_new_item_has_the_attributes_that_codex_would_set(machine) {
        login(machine, "sk-ours");
        let ours = attributes(&machine.home);
        let account = account(&machine.home);
        let expected = [
            ("service", "Codex Auth"),
            ("username", account.as_str()),
            ("target", "default"),
            ("application", "rust-keyring"),
        ];
        assert_eq!(ours, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        item(&machine.home).delete_credential().unwrap();
        machine.store_text(compact("sk-theirs"));
        assert_eq!(attributes(&machine.home), ours);
    }

    fn eight_kilobytes_can_be_read_by_both(machine) {
        let long = |account| chatgpt(account, &"r".repeat(8 * 1024), 1, 4_102_444_800);
        let store = machine.home.stores().keychain();
        let ours = AuthDocument::parse(long("acct-ours").as_bytes()).unwrap();
        let saved = replace(&machine.home.stores(), StoreKind::Keychain, SeenRevision::Nothing, &ours);
        assert!(matches!(saved, Ok(ReplaceOutcome::Written(_))), "{saved:?}");
        assert_eq!(machine.stored_text().unwrap().as_bytes(), ours.to_compact().as_slice());
        machine.store_text(long("acct-theirs"));
        let theirs = store.load(SOON).unwrap().unwrap().document;
        assert_eq!(String::from_utf8_lossy(&theirs.to_pretty()), long("acct-theirs"));
    }

    fn a_change_by_codex_refuses_the_commit(machine) {
        login(machine, "sk-ours");
        let (stores, kind) = (machine.home.stores(), StoreKind::Keychain);
        let seen = writing::seen(&stores, kind);
        machine.store_text(compact("sk-theirs"));
        let saved = replace(&stores, kind, seen, &api_key("sk-new"));
        assert!(matches!(saved, Ok(ReplaceOutcome::Changed(_))), "{saved:?}");
        assert!(matches!(remove(&stores, kind, seen), Ok(RemoveOutcome::Changed(_))));
        assert_eq!(machine.stored_text(), Some(compact("sk-theirs")));
    }

    /// As version 1 of the crate and other tools create them.
    fn an_item_without_a_target_is_found_and_completed(machine) {
        let account = account(&machine.home);
        let planted = SsCredential::new_with_target(None, "Codex Auth", "planted").unwrap();
        keyring3::Entry::new_with_credential(Box::new(planted.clone())).set_secret(b"{}").unwrap();
        let bare = HashMap::from([("service", "Codex Auth"), ("username", account.as_str())]);
        let renamed = planted.map_matching_items(
            |item| {
                item.set_attributes(bare.clone()).unwrap();
                Ok(())
            },
            true,
        );
        assert!(renamed.is_ok());
        assert!(machine.stored_text().is_some(), "the crate finds such an item if there is no other");
        login(machine, "sk-ours");
        assert_eq!(items(&machine.home), [compact("sk-ours").into_bytes()]);
        assert_eq!(attributes(&machine.home).get("target").map(String::as_str), Some("default"));
    }

    /// With two items, status, login and logout of Codex fail.
    fn of_two_items_one_is_used_and_migrate_removes_the_other(machine) {
        let document = |issued| chatgpt("acct-1", "rt-1", issued, 4_102_444_800);
        machine.store_text(document(1));
        add_second_item(&machine.home, document(2).as_bytes());
        assert!(matches!(item(&machine.home).get_secret(), Err(keyring3::Error::Ambiguous(_))));

        let stored = machine.home.stores().keychain().load(SOON).unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&stored.document.to_pretty()), document(2));
        assert!(matches!(stored.notes[..], [StorageNote::Duplicates { copies: 2, .. }]), "{:?}", stored.notes);
        for arguments in ["status", "token"] {
            let ended = machine.codex([arguments]).run().expect(0);
            if arguments == "status" {
                assert!(ended.err.contains("codex migrate --to keychain"), "{ended}");
            }
        }
        assert_eq!(items(&machine.home).len(), 2, "a read removes nothing");

        machine.codex(["migrate", "--to", "keychain"]).run().expect(0);
        assert_eq!(items(&machine.home).len(), 1);
        let kept = AuthDocument::parse(machine.stored_text().unwrap().as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&kept.to_pretty()), document(2));
    }

    fn with_two_items_a_login_adds_none_and_a_logout_removes_both(machine) {
        machine.store_text(compact("sk-1"));
        add_second_item(&machine.home, compact("sk-2").as_bytes());
        login(machine, "sk-ours");
        assert_eq!(items(&machine.home).len(), 2);
        assert_eq!(machine.codex(["token"]).run().expect(0).out, "sk-ours\n");
        machine.codex(["logout", "--local"]).run().expect(0);
        assert!(items(&machine.home).is_empty());
        machine.codex(["status"]).run().expect(1);
    }

    fn a_login_into_the_keychain_leaves_no_secret_in_any_file(machine) {
        login(machine, "sk-marked");
        assert_eq!(machine.home.names(), ["auth.json.lock", "auth.lock", "codex-auth", "config.toml"]);
        for folder in ["codex-auth", "codex-auth/history"] {
            for name in names(&machine.home.file(folder)).iter().filter(|name| *name != "history") {
                assert!(!machine.home.read(&format!("{folder}/{name}")).contains("marked"), "{name}");
            }
        }
    }
}

#[test]
fn a_home_behind_a_link_has_the_same_item() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let link = home.beside("elsewhere").join("link");
        symlink(home.path(), &link).unwrap();
        let run = |arguments: &[&str]| home.codex(arguments.iter().copied()).env("CODEX_HOME", &link);
        run(&["login", "--store", "keychain", "--with-api-key"]).input("sk-ours").run().expect(0);
        assert_eq!(items(&home), [compact("sk-ours").into_bytes()]);
        assert_eq!(run(&["token"]).run().expect(0).out, "sk-ours\n");
    });
}
