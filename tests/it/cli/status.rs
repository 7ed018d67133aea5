//! `codex status`: it shows the login and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Machine, TestHome, chatgpt, jwt, now, over_both_stores, snapshot_filters};

over_both_stores![
    no_login_is_reported,
    an_api_key_is_named_by_its_fingerprint,
    a_fresh_login_is_usable,
    a_report_has_every_field_of_a_fresh_login,
    a_login_with_a_refresh_token_is_usable_after_its_access_token_expired,
    a_token_only_login_is_usable_until_it_ends,
    kinds_of_login_without_a_bearer_token_say_so,
    an_empty_document_counts_as_logged_out,
    fields_that_codex_cannot_read_are_reported,
    no_control_character_of_a_document_reaches_the_terminal,
    read_only_commands_change_nothing,
    login_status_says_what_codex_says,
    as_json_login_status_is_the_same_command,
];

fn no_login_is_reported(machine: &mut Machine) {
    insta::assert_snapshot!(machine.output_of(&["status"]), @r"
    exit 1
    --- stdout
    not logged in
    --- stderr
    hint: log in first: codex login
    ");
    let _filters = snapshot_filters(&machine.home);
    let report = machine.codex(["status", "--json"]).run().expect(1).json();
    assert_eq!(report["logged_in"], false);
    assert_eq!(report["reason"], "not logged in");
    assert!(report["store"].is_null() && report["location"].is_null(), "{report:#}");
}

#[test]
fn a_login_that_the_configuration_keeps_from_being_read_is_named() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test-123"}"#);
    home.write("config.toml", "cli_auth_credentials_store = \"ephemeral\"\n");
    let _filters = snapshot_filters(&home);
    insta::assert_snapshot!(home.codex(["status"]).run(), @r#"
    exit 1
    --- stdout
    not logged in
    --- stderr
    warning: config.toml says cli_auth_credentials_store = "ephemeral", so the login in [home]/auth.json is not read; `codex logout` revokes and removes it
    hint: log in first: codex login
    "#);
    let ended = home.codex(["logout"]).run().expect(0);
    assert!(!home.document().exists() && ended.err.contains("auth.json"), "{ended}");
}

#[test]
fn a_kind_of_login_that_the_configuration_forbids_is_not_usable() {
    let home = TestHome::new();
    let codex = |words: &[&'static str]| home.codex(words.iter().copied()).run();
    let key = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test-123"}"#;
    for (document, rule) in
        [(key.to_owned(), "chatgpt"), (chatgpt("acct-1", "rt-1", now(), now() + 3_600), "api")]
    {
        home.write("auth.json", document);
        home.write("config.toml", format!("forced_login_method = \"{rule}\"\n"));
        let why = format!(
            "config.toml allows logins only by {}",
            if rule == "api" { "API key" } else { "ChatGPT account" }
        );
        let status = codex(&["status"]).expect(3);
        assert!(status.out.contains(" usable ") && status.out.contains(&format!(" no: {why}")), "{status}");
        assert!(status.err.contains("hint: log in as config.toml allows: codex login"), "{status}");
        let token = codex(&["token"]).refused(3);
        assert!(token.err.contains(&why), "{token}");
        home.write("config.toml", "");
        codex(&["status"]).expect(0);
    }
}

fn an_api_key_is_named_by_its_fingerprint(machine: &mut Machine) {
    machine.store_text(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test-123"}"#);
    let ended = machine.codex(["status"]).run().expect(0);
    // The first 16 hex digits of its SHA-256.
    assert!(ended.out.contains("\n  fingerprint  e0dbaa0c6455768b\n"), "{ended}");
    assert!(
        ended.out.contains("  method       apikey\n") && ended.out.ends_with("  usable       yes\n"),
        "{ended}"
    );
    assert_eq!(ended.err, "");
    let report = machine.codex(["status", "--json"]).run().expect(0).json();
    assert_eq!((&report["method"], &report["usable"]), (&json!("apikey"), &json!(true)), "{report:#}");
}

fn a_fresh_login_is_usable(machine: &mut Machine) {
    machine.store_chatgpt("acct-1", 10, 60);
    let _filters = snapshot_filters(&machine.home);
    let printed = machine.output_of(&["status"]);
    // Only the reason for the store differs.
    let printed =
        printed.replace("(it is the default)", "([why])").replace("(config.toml says so)", "([why])");
    insta::assert_snapshot!(printed, @r"
    exit 0
    --- stdout
      method     chatgpt
      account    ada@example.com (plus)
      workspace  acct-1
      stored in  [store] store, [location] ([why])
      expires    in [time]
      refreshed  [time] ago
      usable     yes
    --- stderr
    ");
}

fn a_report_has_every_field_of_a_fresh_login(machine: &mut Machine) {
    machine.store_chatgpt("acct-1", 10, 60);
    let _filters = snapshot_filters(&machine.home);
    let printed = machine.output_of(&["status", "--json"]);
    let printed =
        printed.replace("\"it is the default\"", "\"[why]\"").replace("\"config.toml says so\"", "\"[why]\"");
    insta::assert_snapshot!(printed, @r#"
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
      "because": "[why]",
      "busy": null,
      "expires_at": "[moment]",
      "handed_in": false,
      "last_refresh": "[moment]",
      "location": "[location]",
      "logged_in": true,
      "method": "chatgpt",
      "provider": null,
      "reason": null,
      "store": "[store]",
      "usable": true,
      "warnings": []
    }
    --- stderr
    "#);
}

/// Exit code, `usable` and `reason` of the report, after a comparison with the text output.
fn verdict(machine: &Machine) -> (i32, bool, String) {
    let report = machine.codex(["status", "--json"]).run();
    let prose = machine.codex(["status"]).run();
    assert_eq!(report.code, prose.code, "{prose}");
    assert_eq!(report.err, "", "{report}");
    let (code, report) = (report.code.unwrap(), report.json());
    let reason = report["reason"].as_str().unwrap_or_default().to_owned();
    let said = if report["usable"] == true { "yes".to_owned() } else { format!("no: {reason}") };
    assert!(prose.out.contains(&format!("  usable     {said}\n")), "{prose}\n{report:#}");
    let hint = if code == 3 { "hint: log in again: codex login\n" } else { "" };
    assert!(prose.err.ends_with(hint) && prose.err.contains("hint:") != hint.is_empty(), "{prose}");
    (code, report["usable"] == true, reason)
}

fn a_login_with_a_refresh_token_is_usable_after_its_access_token_expired(machine: &mut Machine) {
    for (ago, minutes) in [(56, 60), (60, 59)] {
        machine.store_chatgpt("acct-1", ago, minutes);
        assert_eq!(verdict(machine), (0, true, String::new()));
    }
}

fn a_token_only_login_is_usable_until_it_ends(machine: &mut Machine) {
    machine.store_text(chatgpt("acct-1", "placeholder", now() - 3600, now() + 60));
    assert_eq!(verdict(machine), (0, true, String::new()));
    machine.store_text(chatgpt("acct-1", "placeholder", now() - 3600, now() - 1));
    assert_eq!(verdict(machine), (3, false, "the access token has expired".to_owned()));
}

fn kinds_of_login_without_a_bearer_token_say_so(machine: &mut Machine) {
    for (document, reason) in [
        (
            r#"{"auth_mode":"bedrockApiKey","bedrock_api_key":{"k":1}}"#,
            "a bedrockApiKey login has no bearer token",
        ),
        (r#"{"bedrock_access_keys":{"k":1}}"#, "a bedrockAccessKeys login has no bearer token"),
        (r#"{"auth_mode":"chatgpt"}"#, "the stored login has mode chatgpt but not that credential"),
        (
            r#"{"auth_mode":"apikey","OPENAI_API_KEY":""}"#,
            "the stored login has mode apikey but not that credential",
        ),
    ] {
        machine.store_text(document);
        let ended = machine.codex(["status", "--json"]).run();
        let report = ended.json();
        assert_eq!((&report["logged_in"], &report["reason"]), (&json!(true), &json!(reason)), "{ended}");
        let expected = if reason.starts_with("a bedrock") { 1 } else { 3 };
        assert_eq!(ended.code, Some(expected), "{ended}");
    }
}

fn an_empty_document_counts_as_logged_out(machine: &mut Machine) {
    for document in ["{}", r#"{"tokens":null}"#, r#"{"OPENAI_API_KEY":null,"strange":1}"#] {
        machine.store_text(document);
        let ended = machine.codex(["status"]).run().expect(1);
        assert_eq!(ended.out, "not logged in\n", "{document}");
        let report = machine.codex(["status", "--json"]).run().expect(1).json();
        assert_eq!((&report["logged_in"], &report["method"]), (&json!(false), &json!(null)), "{document}");
    }
}

fn fields_that_codex_cannot_read_are_reported(machine: &mut Machine) {
    let access = jwt(&json!({"exp": now() + 3600}));
    let mut printed = String::new();
    for document in [
        json!({"auth_mode": "fromTheFuture", "tokens": {"id_token": jwt(&json!({})), "access_token": access, "refresh_token": "rt"}}),
        json!({"tokens": {"id_token": "no JWT", "access_token": access, "refresh_token": "rt"}}),
        json!({"tokens": {"access_token": access}}),
        json!({"OPENAI_API_KEY": "sk", "last_refresh": "yesterday"}),
    ] {
        machine.store_text(document.to_string());
        let ended = machine.codex(["status"]).run().expect(0);
        printed.push_str(&ended.err);
        let report = machine.codex(["status", "--json"]).run().expect(0).json();
        assert_eq!(report["warnings"].as_array().unwrap().len(), ended.err.lines().count(), "{report:#}");
    }
    insta::assert_snapshot!(printed, @r#"
    warning: auth_mode "fromTheFuture" is not known to this version; Codex 0.169 cannot read the login
    warning: the id_token cannot be decoded (it does not have three parts separated by dots); Codex 0.169 cannot read the login
    warning: tokens.id_token is missing; Codex 0.169 cannot read the login
    warning: tokens.refresh_token is missing; Codex 0.169 cannot read the login
    warning: last_refresh is not an RFC 3339 time; Codex 0.169 cannot read the login
    "#);
}

fn no_control_character_of_a_document_reaches_the_terminal(machine: &mut Machine) {
    let odd = "a\u{1b}[2J\u{7}\r\nb";
    let claims = json!({"chatgpt_account_id": odd, "chatgpt_plan_type": odd});
    let tokens = json!({
        "id_token": jwt(&json!({"email": odd, "https://api.openai.com/auth": claims})),
        "access_token": jwt(&json!({"exp": now() + 3600})),
        "refresh_token": "rt",
        "account_id": odd,
    });
    for mode in ["chatgpt", odd] {
        machine.store_text(json!({"auth_mode": mode, "tokens": tokens}).to_string());
        let ended = machine.codex(["status"]).run().expect(0);
        let strange = |text: &str| text.chars().any(|letter| letter.is_control() && letter != '\n');
        assert!(!strange(&ended.out) && !strange(&ended.err), "{:?}", ended.to_string());
        assert!(ended.out.lines().all(|line| line.starts_with("  ")), "{ended}");
    }
}

fn read_only_commands_change_nothing(machine: &mut Machine) {
    machine.store_chatgpt("acct-1", 10, 60);
    let before = (machine.home.tree(), machine.stored_text());
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["login", "status"],
        &["token"],
        &["migrate", "--to", machine.store(), "--dry-run"],
    ] {
        machine.codex(arguments.iter().copied()).run().expect(0);
        assert_eq!((machine.home.tree(), machine.stored_text()), before, "{arguments:?}");
    }
}

fn login_status_says_what_codex_says(machine: &mut Machine) {
    let status = || machine.codex(["login", "status"]).run();
    let ended = status().expect(1);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", "Not logged in\n"));
    machine.store_text(r#"{"OPENAI_API_KEY":"sk-test"}"#);
    let ended = status().expect(0);
    let sentence = "API key configured - ***\nAuthentication is checked when you send a request.\n";
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", sentence));
    for left in [60, -60] {
        machine.store_chatgpt("acct-1", 10, left);
        let ended = status().expect(0);
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", "Logged in using ChatGPT\n"));
    }
    machine.store_text("no document");
    assert_eq!(status().refused(1).out, "");
}

fn as_json_login_status_is_the_same_command(machine: &mut Machine) {
    machine.store_chatgpt("acct-1", 10, 60);
    assert_eq!(machine.output_of(&["status", "--json"]), machine.output_of(&["login", "status", "--json"]));
}

#[test]
fn a_missing_home_is_not_created() {
    let home = TestHome::new();
    let user = home.path().with_file_name("user");
    fs::create_dir(&user).unwrap();
    let run = |command| home.codex([command]).without("CODEX_HOME").env("HOME", &user).run();
    assert_eq!(run("status").expect(1).out, "not logged in\n");
    assert_eq!(run("logout").expect(0).err, "not logged in\n");
    assert_eq!(run("token").expect(1).out, "");
    assert_eq!(fs::read_dir(&user).unwrap().count(), 0);
}

#[test]
fn the_auth_token_of_an_old_version_is_reported_without_its_value() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.write("config.toml", "auth_token = \"marked-secret\"\n");
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    let ended = home.codex(["status"]).run().expect(0);
    insta::assert_snapshot!(ended, @r"
    exit 0
    --- stdout
      method       apikey
      fingerprint  [fingerprint]
      stored in    file store, [home]/auth.json (it is the default)
      usable       yes
    --- stderr
    warning: [home]/config.toml still holds the auth_token of an old version; `codex logout` removes it
    ");
    let report = home.codex(["status", "--json"]).run().expect(0);
    assert!(!report.out.contains("marked"), "{report}");
    assert_eq!(report.json()["warnings"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn a_file_that_others_can_read_is_reported_and_left_as_it_is() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    let document = home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    fs::set_permissions(&document, fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(home.codex(["status"]).run(), @r"
    exit 0
    --- stdout
      method       apikey
      fingerprint  [fingerprint]
      stored in    file store, [home]/auth.json (it is the default)
      usable       yes
    --- stderr
    warning: [home]/auth.json has mode 644, so other users can read it; the next write makes it 600, or run: chmod 600 [home]/auth.json
    ");
    assert_eq!(fs::metadata(&document).unwrap().permissions().mode() & 0o777, 0o644);
    let ended = home.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    assert!(
        ended.err.contains("auth.json had mode 644, so other users could read the old login; it is 600 now"),
        "{ended}"
    );
    assert_eq!(fs::metadata(&document).unwrap().permissions().mode() & 0o777, 0o600);
}
