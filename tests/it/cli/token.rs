//! `codex token`: one valid access token on stdout, or an exit code.

use std::io;
use std::process::Stdio;

use crate::support::{Machine, TestHome, chatgpt, now, over_both_stores, snapshot_filters};

over_both_stores![
    a_fresh_token_is_all_that_is_printed,
    a_header_is_the_whole_line,
    a_report_has_the_token_and_its_end,
    a_token_without_a_refresh_token_is_printed_until_it_expires,
    without_a_login_there_is_no_token,
    a_login_that_has_no_token_says_which_kind_it_is,
];

fn a_fresh_token_is_all_that_is_printed(machine: &mut Machine) {
    let token = machine.store_chatgpt("acct-1", 10, 60);
    let ended = machine.codex(["token"]).run().expect(0);
    assert_eq!((ended.out, ended.err), (token + "\n", String::new()));
}

fn a_header_is_the_whole_line(machine: &mut Machine) {
    let token = machine.store_chatgpt("acct-1", 10, 60);
    let ended = machine.codex(["token", "--header"]).run().expect(0);
    assert_eq!((ended.out, ended.err), (format!("Authorization: Bearer {token}\n"), String::new()));
}

fn a_report_has_the_token_and_its_end(machine: &mut Machine) {
    let token = machine.store_chatgpt("acct-1", 10, 60);
    let _filters = snapshot_filters(&machine.home);
    let printed = machine.output_of(&["token", "--json"]).replace(&token, "[token]");
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
      "expires_at": "[moment]",
      "provider": null,
      "token": "[token]",
      "warnings": []
    }
    --- stderr
    "#);
}

fn a_token_without_a_refresh_token_is_printed_until_it_expires(machine: &mut Machine) {
    for placeholder in ["", "placeholder"] {
        machine.store_text(chatgpt("acct-1", placeholder, now() - 3600, now() + 60));
        assert_eq!(machine.codex(["token"]).run().expect(0).err, "");
        machine.store_text(chatgpt("acct-1", placeholder, now() - 3600, now() - 1));
        assert_eq!(machine.codex(["token"]).run().expect(3).out, "");
    }
}

fn without_a_login_there_is_no_token(machine: &mut Machine) {
    insta::assert_snapshot!(machine.output_of(&["token"]), @r"
    exit 1
    --- stdout
    --- stderr
    error: not logged in
    hint: log in first: codex login
    ");
    let _filters = snapshot_filters(&machine.home);
    insta::assert_snapshot!(machine.output_of(&["token", "--json"]), @r#"
    exit 1
    --- stdout
    {
      "schema": 1,
      "home": "[home]",
      "place": "[home]",
      "account": null,
      "error": {
        "exit": 1,
        "hints": [
          "log in first: codex login"
        ],
        "kind": "failed",
        "message": "not logged in"
      }
    }
    --- stderr
    error: not logged in
    hint: log in first: codex login
    "#);
}

fn a_login_that_has_no_token_says_which_kind_it_is(machine: &mut Machine) {
    machine.store_text(r#"{"auth_mode":"bedrockApiKey","bedrock_api_key":{"key":"k","region":"r"}}"#);
    insta::assert_snapshot!(machine.output_of(&["token"]), @r"
    exit 1
    --- stdout
    --- stderr
    error: a bedrockApiKey login has no bearer token
    ");
    machine.store_text(r#"{"auth_mode":"chatgpt","tokens":null}"#);
    insta::assert_snapshot!(machine.output_of(&["token"]), @r"
    exit 3
    --- stdout
    --- stderr
    error: the stored login has mode chatgpt but not that credential
    hint: log in again: codex login
    ");
}

#[test]
fn an_opaque_token_is_good_for_eight_days_from_when_it_was_received() {
    let home = TestHome::new();
    let received = |days: i64| {
        let moment = codex_auth::Timestamp::from_second(now() - days * 86_400).unwrap();
        let id = crate::support::jwt(&serde_json::json!({"email": "ada@example.com"}));
        let tokens = format!(r#"{{"id_token":"{id}","access_token":"opaque","refresh_token":"rt"}}"#);
        home.write("auth.json", format!(r#"{{"tokens":{tokens},"last_refresh":"{moment}"}}"#));
        // No server listens there.
        home.codex(["token"]).env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", "http://127.0.0.1:9/oauth/token").run()
    };
    assert_eq!(received(7).expect(0).err, "");
    // It has no expiry, so it is served while no other can be obtained.
    let old = received(9).expect(0);
    assert_eq!(old.out, "opaque\n");
    assert!(old.err.starts_with("warning: the token could not be refreshed: "), "{old}");
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    for arguments in
        [&["token"][..], &["token", "--json"], &["status"], &["status", "--json"], &["completions", "bash"]]
    {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = home.codex(arguments.iter().copied()).into_command();
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

// Linux: procfs.
#[cfg(target_os = "linux")]
#[test]
fn a_token_that_cannot_be_written_out_is_a_failure() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    let mut command = home.codex(["token"]).into_command();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdin(Stdio::null()).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"error: cannot write the output: No space left on device (os error 28)");
}

#[test]
fn a_header_and_a_report_exclude_each_other() {
    let ended = TestHome::new().codex(["token", "--header", "--json"]).run().expect(2);
    assert_eq!(ended.json()["error"]["kind"], "usage", "{ended}");
}

#[test]
fn a_token_that_no_header_can_contain_is_an_error_and_is_not_printed() {
    for key in ["sk-\u{1b}[2J", "sk-1\nX-Other: 1", "sk-\u{202e}1", "sk- 1", "sk-\u{9b}1"] {
        let home = TestHome::new();
        home.write("auth.json", serde_json::json!({"OPENAI_API_KEY": key}).to_string());
        for arguments in [&["token"][..], &["token", "--header"], &["token", "--json"]] {
            let ended = home.codex(arguments.iter().copied()).run().expect(3);
            assert!(!(ended.out.clone() + &ended.err).contains("sk-"), "{ended}");
            assert!(ended.err.contains("a character that no HTTP header can contain"), "{ended}");
        }
    }
}

#[test]
fn the_name_of_a_linked_file_cannot_control_the_terminal() {
    let home = TestHome::new();
    let name = "evil\u{1b}]0;title\u{7}\u{202e}\u{9b}2J.json";
    let target = home.beside("elsewhere").join(name);
    std::fs::write(&target, r#"{"OPENAI_API_KEY": "sk-1"}"#).unwrap();
    std::os::unix::fs::symlink(&target, home.document()).unwrap();
    let login = ["login", "--store", "file", "--with-api-key"];
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &login,
        &["logout", "--local"],
    ] {
        let ended = home.codex(arguments.iter().copied()).input("sk-2").run();
        let all = ended.out.clone() + &ended.err;
        let is_shown = |letter: char| letter == '\n' || !(letter.is_control() || letter == '\u{202e}');
        assert!(all.chars().all(is_shown), "{arguments:?}: {all:?}");
        assert!(all.contains(r"\u{1b}]0;title") || all.contains(r"\u001b]0;title"), "{arguments:?}: {all}");
        if arguments.contains(&"--json") {
            assert!(ended.json().to_string().contains(".json"));
        }
    }
}
