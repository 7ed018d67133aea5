//! `codex logout`: it removes every copy of the login and nothing else.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use crate::support::{Machine, TestHome, chatgpt, now, over_both_stores, snapshot_filters};

over_both_stores![
    an_api_key_login_ends,
    a_token_only_login_is_removed_without_a_revocation,
    an_invalid_document_without_a_token_is_removed_only_by_force,
    logging_out_twice_is_fine,
    the_report_says_what_was_removed,
];

pub(super) const API_KEY: &str = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#;

fn an_api_key_login_ends(machine: &mut Machine) {
    machine.store_text(API_KEY);
    insta::assert_snapshot!(machine.output_of(&["logout"]), @r"
    exit 0
    --- stdout
    --- stderr
    removed the login from the [store] store, [location]
    logged out
    ");
    assert_eq!(machine.stored_text(), None);
    machine.codex(["status"]).run().expect(1);
}

fn a_token_only_login_is_removed_without_a_revocation(machine: &mut Machine) {
    machine.store_text(chatgpt("acct-1", "placeholder", now(), now() + 3600));
    machine.codex(["logout"]).run().expect(0);
    assert_eq!(machine.stored_text(), None);
}

fn an_invalid_document_without_a_token_is_removed_only_by_force(machine: &mut Machine) {
    machine.store_text("{\"auth_mode\": ");
    let ended = machine.codex(["logout"]).run().refused(5);
    assert!(ended.err.contains("was not removed") && ended.err.contains("codex logout --force"), "{ended}");
    assert!(machine.stored_text().is_some());
    let ended = machine.codex(["logout", "--force"]).run().expect(0);
    assert!(ended.err.contains("may stay valid"), "{ended}");
    assert_eq!(machine.stored_text(), None);
}

fn logging_out_twice_is_fine(machine: &mut Machine) {
    machine.store_text(API_KEY);
    machine.codex(["logout"]).run().expect(0);
    for arguments in [&["logout"][..], &["logout", "--local"]] {
        let ended = machine.codex(arguments.iter().copied()).run().expect(0);
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", "not logged in\n"));
    }
}

#[test]
fn a_machine_without_a_keychain_keeps_no_copy_in_one_under_an_automatic_selection() {
    let home = TestHome::new();
    home.write("config.toml", "cli_auth_credentials_store = \"auto\"\n");
    for key in ["sk-first", "sk-second"] {
        let ended = home.codex(["login", "--with-api-key"]).input(key).run().expect(0);
        assert!(!ended.err.contains("could not be removed"), "{ended}");
    }
    home.codex(["logout"]).run().expect(0);
    home.codex(["status"]).run().expect(1);
}

fn the_report_says_what_was_removed(machine: &mut Machine) {
    machine.store_text(API_KEY);
    let _filters = snapshot_filters(&machine.home);
    insta::assert_snapshot!(machine.output_of(&["logout", "--json"]), @r#"
    exit 0
    --- stdout
    {
      "schema": 1,
      "home": "[home]",
      "place": "[home]",
      "account": null,
      "failed": [],
      "handed_in": false,
      "legacy_token_removed": false,
      "logged_out": true,
      "removed": [
        "[location]"
      ],
      "revoked": false,
      "warnings": []
    }
    --- stderr
    "#);
    let report = machine.codex(["logout", "--json"]).run().expect(0).json();
    assert_eq!((&report["logged_out"], &report["removed"]), (&json!(true), &json!([])), "{report:#}");
}

#[test]
fn the_auth_token_of_an_old_version_is_removed_and_the_rest_stays_byte_for_byte() {
    for (before, after) in [
        ("", ""),
        ("", "model = 'o5'\t# why\n"),
        ("# mine\r\nmodel = 'o5'\t# why\r\n", ""),
        ("# mine\nmodel = 'o5'\t# why\n\n\n# old\n", "other = 1\n\n[tools]\n  web=true\n"),
        ("# mine\nmodel = 'o5'\t# why\n\n\n# old\n", "[tools]\n  web=true\n"),
        ("# mine\nmodel = 'o5'\n", "# after\n\n[tools]\nweb = true\n# the end"),
    ] {
        let home = TestHome::new();
        home.write("config.toml", format!("{before}auth_token = \"marked\" # mark\n{after}"));
        let ended = home.codex(["logout"]).run().expect(0);
        assert_eq!(ended.err, "removed the auth_token of an old version from config.toml\nnot logged in\n");
        assert_eq!(home.read("config.toml"), format!("{before}{after}"));
    }
}

#[test]
fn a_configuration_without_keys_of_ours_is_not_rewritten() {
    let home = TestHome::new();
    let config = home.write("config.toml", "model = 'o5'\n");
    let before = fs::metadata(&config).unwrap().ino();
    home.codex(["logout"]).run().expect(0);
    assert_eq!(fs::metadata(&config).unwrap().ino(), before);
}

#[test]
fn a_linked_document_goes_and_the_link_stays() {
    let home = TestHome::new();
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
