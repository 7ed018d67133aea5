//! `codex logout` with a Secret Service in every state.

use serde_json::json;

use super::super::logout::API_KEY;
use crate::support::session::{PrivateSession, inside};
use crate::support::{TestHome, add_second_item, here, item, items, snapshot_filters};

#[test]
fn copies_in_every_store_are_removed_for_any_configuration() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for config in
            ["", "cli_auth_credentials_store = \"file\"\n", "cli_auth_credentials_store = \"auto\"\n"]
        {
            let home = TestHome::within(&session);
            home.write("config.toml", config);
            home.write("auth.json", API_KEY);
            item(&home).set_secret(API_KEY.as_bytes()).unwrap();
            add_second_item(&home, b"{}");
            let report = home.codex(["logout", "--json"]).run().expect(0).json();
            assert_eq!(report["removed"].as_array().unwrap().len(), 2, "{report:#}");
            assert!(!home.document().exists() && items(&home).is_empty(), "{config}");
        }
    });
}

#[test]
fn a_locked_keychain_that_may_hold_a_login_is_a_failure_and_the_file_is_removed() {
    let session = PrivateSession::locked_again();
    for config in ["keyring", "auto"] {
        let home = TestHome::within(&session);
        let _filters = snapshot_filters(&home);
        home.write("config.toml", format!("cli_auth_credentials_store = \"{config}\"\n"));
        home.write("auth.json", API_KEY);
        let ended = home.codex(["logout", "--local"]).run().to_string();
        let name = format!("item \"Codex Auth\" of {}", crate::support::account(&home));
        let ended = ended.replace(&name, "[item]");
        insta::allow_duplicates!(insta::assert_snapshot!(ended, @r"
        exit 5
        --- stdout
        --- stderr
        removed the login from the file store, [home]/auth.json
        error: the copy in [item] was not removed: GNOME Keyring is locked; log in to the desktop, or unlock the login keyring in Passwords and Keys, and try again
        hint: then run again: codex logout
        "));
        assert!(!home.document().exists());
        home.write("auth.json", API_KEY);
        let ended = home.codex(["logout", "--local", "--json"]).run().expect(5);
        let report = ended.json();
        assert_eq!((&report["logged_out"], &ended.err), (&json!(false), &String::new()), "{report:#}");
        assert_eq!(report["failed"].as_array().unwrap().len(), 1, "{report:#}");
    }
}

#[test]
fn a_machine_without_a_keychain_logs_out_of_the_file_without_noise() {
    for condition in [PrivateSession::no_bus, PrivateSession::dead_socket, PrivateSession::without_service] {
        let session = condition();
        let home = TestHome::within(&session);
        let _filters = snapshot_filters(&home);
        home.write("auth.json", API_KEY);
        insta::allow_duplicates!(insta::assert_snapshot!(home.codex(["logout"]).run(), @r"
        exit 0
        --- stdout
        --- stderr
        removed the login from the file store, [home]/auth.json
        logged out
        "));
        assert!(!home.document().exists());
    }
}

#[test]
fn a_locked_keychain_that_was_never_used_is_only_a_warning() {
    let session = PrivateSession::locked_again();
    let home = TestHome::within(&session);
    let _filters = snapshot_filters(&home);
    home.write("auth.json", API_KEY);
    insta::assert_snapshot!(home.codex(["logout"]).run(), @r"
    exit 0
    --- stdout
    --- stderr
    removed the login from the file store, [home]/auth.json
    warning: the keychain is not used: GNOME Keyring is locked; log in to the desktop, or unlock the login keyring in Passwords and Keys, and try again
    logged out
    ");
}
