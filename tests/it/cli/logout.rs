//! `codex logout`: every copy goes, whatever became of the others, and the rest of the machine is as it was.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use crate::support::session::{PrivateSession, inside};
use crate::support::{
    Home, Machine, chatgpt, filters, here, item, items, now, over_both_stores, plant_another_item,
};

over_both_stores![
    an_api_key_login_ends,
    a_token_only_login_ends_without_a_word_about_revoking,
    what_is_no_document_is_removed_too,
    logging_out_twice_is_fine,
    the_report_says_what_was_removed,
];

const API_KEY: &str = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#;

fn an_api_key_login_ends(machine: &mut Machine) {
    machine.keep(API_KEY);
    insta::assert_snapshot!(machine.told(&["logout"]), @r"
    exit 0
    --- stdout
    --- stderr
    removed the login from the [store] store, [location]
    logged out
    ");
    assert_eq!(machine.kept(), None);
    machine.codex(["status"]).run().expect(1);
}

fn a_token_only_login_ends_without_a_word_about_revoking(machine: &mut Machine) {
    machine.keep(chatgpt("acct-1", "placeholder", now(), now() + 3600));
    machine.codex(["logout"]).run().expect(0);
    assert_eq!(machine.kept(), None);
}

fn what_is_no_document_is_removed_too(machine: &mut Machine) {
    machine.keep("{\"auth_mode\": ");
    insta::assert_snapshot!(machine.told(&["logout"]), @r"
    exit 0
    --- stdout
    --- stderr
    removed the login from the [store] store, [location]
    logged out
    ");
    assert_eq!(machine.kept(), None);
}

fn logging_out_twice_is_fine(machine: &mut Machine) {
    machine.keep(API_KEY);
    machine.codex(["logout"]).run().expect(0);
    for arguments in [&["logout"][..], &["logout", "--local"]] {
        let ended = machine.codex(arguments.iter().copied()).run().expect(0);
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", "not logged in\n"));
    }
}

fn the_report_says_what_was_removed(machine: &mut Machine) {
    machine.keep(API_KEY);
    let _filters = filters(&machine.home);
    insta::assert_snapshot!(machine.told(&["logout", "--json"]), @r#"
    exit 0
    --- stdout
    {
      "schema": 1,
      "place": "[home]",
      "account": null,
      "logged_out": true,
      "revoked": false,
      "removed": [
        "[location]"
      ],
      "failed": [],
      "legacy_token_removed": false,
      "warnings": []
    }
    --- stderr
    "#);
    let report = machine.codex(["logout", "--json"]).run().expect(0).json();
    assert_eq!((&report["logged_out"], &report["removed"]), (&json!(true), &json!([])), "{report:#}");
}

#[test]
fn copies_in_every_store_go_whatever_the_configuration_says() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for config in
            ["", "cli_auth_credentials_store = \"file\"\n", "cli_auth_credentials_store = \"auto\"\n"]
        {
            let home = Home::within(&session);
            home.write("config.toml", config);
            home.write("auth.json", API_KEY);
            item(&home).set_secret(API_KEY.as_bytes()).unwrap();
            plant_another_item(&home, b"{}");
            let report = home.codex(["logout", "--json"]).run().expect(0).json();
            assert_eq!(report["removed"].as_array().unwrap().len(), 2, "{report:#}");
            assert!(!home.document().exists() && items(&home).is_empty(), "{config}");
        }
    });
}

#[test]
fn what_an_old_version_left_goes_and_the_rest_of_the_configuration_stays_byte_for_byte() {
    for (before, after) in [
        ("", ""),
        ("", "model = 'o5'\t# why\n"),
        ("# mine\r\nmodel = 'o5'\t# why\r\n", ""),
        ("# mine\nmodel = 'o5'\t# why\n\n\n# old\n", "other = 1\n\n[tools]\n  web=true\n"),
        ("# mine\nmodel = 'o5'\t# why\n\n\n# old\n", "[tools]\n  web=true\n"),
        ("# mine\nmodel = 'o5'\n", "# after\n\n[tools]\nweb = true\n# the end"),
    ] {
        let home = Home::new();
        home.write("config.toml", format!("{before}auth_token = \"marked\" # mark\n{after}"));
        let ended = home.codex(["logout"]).run().expect(0);
        assert_eq!(ended.err, "removed the auth_token of an old version from config.toml\nnot logged in\n");
        assert_eq!(home.read("config.toml"), format!("{before}{after}"));
    }
}

#[test]
fn a_configuration_with_nothing_of_ours_is_not_even_rewritten() {
    let home = Home::new();
    let config = home.write("config.toml", "model = 'o5'\n");
    let before = fs::metadata(&config).unwrap().ino();
    home.codex(["logout"]).run().expect(0);
    assert_eq!(fs::metadata(&config).unwrap().ino(), before);
}

#[test]
fn a_locked_keychain_that_may_hold_a_login_is_a_failure_and_the_file_goes_all_the_same() {
    let session = PrivateSession::locked_again();
    for config in ["keyring", "auto"] {
        let home = Home::within(&session);
        let _filters = filters(&home);
        home.write("config.toml", format!("cli_auth_credentials_store = \"{config}\"\n"));
        home.write("auth.json", API_KEY);
        let ended = home.codex(["logout", "--local"]).run();
        insta::allow_duplicates!(insta::assert_snapshot!(ended, @r"
        exit 5
        --- stdout
        --- stderr
        removed the login from the file store, [home]/auth.json
        error: Secret Service is locked; unlock it and try again
        hint: unlock the keychain, for example by logging in to the desktop, or keep the login in a file: codex login --store file
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
        let home = Home::within(&session);
        let _filters = filters(&home);
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
fn a_keychain_that_nobody_said_was_used_and_that_is_locked_is_only_mentioned() {
    let session = PrivateSession::locked_again();
    let home = Home::within(&session);
    let _filters = filters(&home);
    home.write("auth.json", API_KEY);
    insta::assert_snapshot!(home.codex(["logout"]).run(), @r"
    exit 0
    --- stdout
    --- stderr
    removed the login from the file store, [home]/auth.json
    warning: the keychain is not used: Secret Service is locked; unlock it and try again
    logged out
    ");
}

#[test]
fn a_linked_document_goes_and_the_link_stays() {
    let home = Home::new();
    let elsewhere = home.path().with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let target = elsewhere.join("shared.json");
    fs::write(&target, API_KEY).unwrap();
    std::os::unix::fs::symlink(&target, home.document()).unwrap();
    let report = home.codex(["logout", "--json"]).run().expect(0).json();
    assert_eq!(report["removed"], json!([target]));
    assert!(!target.exists());
    assert_eq!(fs::read_link(home.document()).unwrap(), target);
}
