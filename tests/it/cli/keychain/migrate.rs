//! `codex migrate` between the file and a Secret Service.

use serde_json::{Value, json};

use crate::support::session::{PrivateSession, inside};
use crate::support::{Machine, TestHome, add_second_item, chatgpt, here, item, items, now, snapshot_filters};

const CONFIG: &str = "# mine\nmodel = \"o5\" # why\n\n[tools]\nweb = true\n";

/// A login with fields that this version does not know.
fn with_strangers() -> Value {
    let mut document: Value = serde_json::from_str(&chatgpt("acct-1", "rt-1", now(), now() + 3600)).unwrap();
    document["from_the_future"] = json!({"z": 1, "a": [1.5, null, "é"]});
    document["tokens"]["login_owner_id"] = json!("owner-1");
    document
}

#[test]
fn a_login_goes_to_the_keychain_and_back_and_no_field_is_lost() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let _filters = snapshot_filters(&home);
        let document = format!("{:#}", with_strangers());
        home.write("auth.json", &document);
        home.write("config.toml", CONFIG);
        insta::assert_snapshot!(home.codex(["migrate", "--to", "keychain"]).run(), @r#"
        exit 0
        --- stdout
        --- stderr
        set cli_auth_credentials_store = "keyring" in [home]/config.toml
        moved the login to the keychain store, item "Codex Auth" of cli|[hash]
        removed a copy from the file store, [home]/auth.json
        "#);
        assert!(!home.document().exists());
        let secret = String::from_utf8(item(&home).get_secret().unwrap()).unwrap();
        assert_eq!(secret, serde_json::from_str::<Value>(&document).unwrap().to_string());
        insta::assert_snapshot!(home.read("config.toml"), @r#"
        # mine
        model = "o5" # why
        cli_auth_credentials_store = "keyring"

        [tools]
        web = true
        "#);
        home.codex(["token"]).run().expect(0);
        insta::assert_snapshot!(home.codex(["migrate", "--to", "file", "--json"]).run(), @r#"
        exit 0
        --- stdout
        {
          "schema": 1,
          "home": "[home]",
          "place": "[home]",
          "account": {
            "email": "ada@example.com",
            "id": "acct-1",
            "plan": "plus"
          },
          "dry_run": false,
          "from": "item \"Codex Auth\" of cli|[hash]",
          "moves": true,
          "other_programs": [],
          "removed": [
            "item \"Codex Auth\" of cli|[hash]"
          ],
          "to": "[home]/auth.json",
          "warnings": []
        }
        --- stderr
        set cli_auth_credentials_store = "file" in [home]/config.toml
        "#);
        assert_eq!(home.read("auth.json"), document);
        assert!(items(&home).is_empty());
        assert!(home.read("config.toml").contains("\ncli_auth_credentials_store = \"file\"\n"));
        home.codex(["token"]).run().expect(0);
    });
}

#[test]
fn a_dry_run_shows_the_steps_and_changes_nothing() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let _filters = snapshot_filters(&home);
        home.write("auth.json", with_strangers().to_string());
        let before = home.tree();
        insta::assert_snapshot!(home.codex(["migrate", "--to", "keyring", "--dry-run"]).run(), @r#"
        exit 0
        --- stdout
        --- stderr
        would copy the login from the file store, [home]/auth.json
              to the keychain store, item "Codex Auth" of cli|[hash], read it back and compare
              then remove the old copy
        would set cli_auth_credentials_store = "keyring" in [home]/config.toml
        "#);
        insta::assert_snapshot!(home.codex(["migrate", "--to", "keychain", "--dry-run", "--json"]).run(), @r#"
        exit 0
        --- stdout
        {
          "schema": 1,
          "home": "[home]",
          "place": "[home]",
          "account": {
            "email": "ada@example.com",
            "id": "acct-1",
            "plan": "plus"
          },
          "dry_run": true,
          "from": "[home]/auth.json",
          "moves": true,
          "other_programs": [],
          "to": "item \"Codex Auth\" of cli|[hash]",
          "warnings": []
        }
        --- stderr
        would set cli_auth_credentials_store = "keyring" in [home]/config.toml
        "#);
        assert_eq!(home.tree(), before);
        assert!(items(&home).is_empty());
    });
}

#[test]
fn a_keychain_that_cannot_be_used_leaves_everything_as_it_was() {
    type Condition = fn() -> PrivateSession;
    let conditions: [(Condition, &str); 4] = [
        (PrivateSession::no_bus, "Secret Service cannot be reached"),
        (PrivateSession::without_service, "Secret Service cannot be reached"),
        (PrivateSession::locked_again, "GNOME Keyring is locked"),
        (PrivateSession::never_unlocked, "Secret Service has no default keyring yet"),
    ];
    for (condition, reason) in conditions {
        let session = condition();
        let home = TestHome::within(&session);
        home.write("auth.json", with_strangers().to_string());
        home.write("config.toml", CONFIG);
        let before = home.tree();
        for dry in [&["migrate", "--to", "keychain"][..], &["migrate", "--to", "keychain", "--dry-run"]] {
            let ended = home.codex(dry.iter().copied()).run().expect(5);
            assert!(
                ended.err.starts_with(&format!("error: {reason}")) && ended.err.contains("\nhint: "),
                "{ended}"
            );
            assert_eq!(home.tree(), before);
        }
    }
}

#[test]
fn items_that_were_there_twice_are_one_afterwards() {
    inside(here!(), || {
        let machine = Machine::with_keychain();
        let _filters = snapshot_filters(&machine.home);
        machine.store_chatgpt("acct-1", 20, 60);
        let later = chatgpt("acct-1", "rt-later", now(), now() + 7200);
        add_second_item(&machine.home, later.as_bytes());
        insta::assert_snapshot!(machine.output_of(&["migrate", "--to", "keychain"]), @r"
        exit 0
        --- stdout
        --- stderr
        the login is already in the [store] store, [location]
        removed a copy from the [store] store, [location]
        ");
        assert_eq!(items(&machine.home), [later.into_bytes()]);
    });
}

#[test]
fn another_login_in_the_other_store_is_left_and_named() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let _filters = snapshot_filters(&home);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        item(&home).set_secret(chatgpt("acct-1", "rt-1", now(), now() + 3600).as_bytes()).unwrap();
        let other = chatgpt("acct-2", "rt-2", now(), now() + 3600);
        home.write("auth.json", &other);
        insta::assert_snapshot!(home.codex(["migrate", "--to", "keychain"]).run(), @r#"
        exit 0
        --- stdout
        --- stderr
        the login is already in the keychain store, item "Codex Auth" of cli|[hash]
        warning: a copy in the file store was left: it is another login; log out of it first if it is not wanted
        "#);
        assert_eq!(home.read("auth.json"), other);
        // An older copy of the same login is not another login.
        home.write("auth.json", chatgpt("acct-1", "rt-0", now() - 7200, now() - 3600));
        let report = home.codex(["migrate", "--to", "keychain", "--json"]).run().expect(0).json();
        assert_eq!(report["removed"], json!([home.document()]), "{report:#}");
    });
}

#[test]
fn a_move_does_not_write_over_another_login() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        item(&home).set_secret(chatgpt("acct-1", "rt-1", now(), now() + 3600).as_bytes()).unwrap();
        let other = chatgpt("acct-2", "rt-2", now(), now() + 3600);
        home.write("auth.json", &other);
        let ended = home.codex(["migrate", "--to", "file"]).run();
        assert_ne!(ended.code, Some(0), "{ended}");
        assert_eq!(home.read("auth.json"), other, "{ended}");
        assert!(item(&home).get_secret().is_ok());
    });
}

/// Found by `model/stores`: a program that is killed after selecting a store and before emptying the other leaves two
/// copies, and another program may refresh the one that is not selected.
#[test]
fn a_move_does_not_write_an_older_copy_over_a_newer_one() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        item(&home).set_secret(chatgpt("acct-1", "rt-0", now() - 60, now() + 3600).as_bytes()).unwrap();
        let newer = chatgpt("acct-1", "rt-1", now(), now() + 3600);
        home.write("auth.json", &newer);
        let ended = home.codex(["migrate", "--to", "file"]).run();
        assert_eq!(home.read("auth.json"), newer, "{ended}");
    });
}

#[test]
fn a_login_that_is_in_the_keychain_already_is_selected_without_a_false_warning() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        item(&home).set_secret(chatgpt("acct-1", "rt-1", now(), now() + 3600).as_bytes()).unwrap();
        let ended = home.codex(["migrate", "--to", "keychain"]).run().expect(0);
        let set = format!(
            "set cli_auth_credentials_store = \"keyring\" in {}\n",
            home.file("config.toml").display()
        );
        assert!(ended.err.starts_with(&set) && !ended.err.contains("warning:"), "{ended}");
        assert_eq!(home.codex(["status"]).run().expect(0).err, "");
        let ended = home.codex(["logout", "--local"]).run().expect(0);
        assert!(ended.err.contains("removed cli_auth_credentials_store from "), "{ended}");
        assert!(!home.file("config.toml").exists(), "it was created for the key");
    });
}

#[test]
fn a_shared_login_of_codex_needs_no_import() {
    let session = PrivateSession::unlocked();
    let home = TestHome::within(&session);
    let _filters = snapshot_filters(&home);
    for arguments in [&["migrate", "--from-codex"][..], &["migrate", "--from-codex", "--to", "file", "--yes"]]
    {
        insta::allow_duplicates!(insta::assert_snapshot!(home.codex(arguments.iter().copied()).run(), @r#"
        exit 0
        --- stdout
        --- stderr
        nothing to import: Codex and this program share the keychain store, item "Codex Auth" of cli|[hash]
        "#));
    }
    let report = home.codex(["migrate", "--from-codex", "--json"]).run().expect(0).json();
    assert_eq!(
        (&report["taken_over"], &report["shared"], &report["account"]),
        (&false.into(), &true.into(), &Value::Null)
    );
    assert!(home.names().is_empty());
    home.codex(["migrate", "--yes", "--to", "file"]).run().refused(2);
    home.codex(["migrate"]).run().refused(2);
}
