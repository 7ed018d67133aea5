//! `codex login` with a credential from a pipe.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Machine, TestHome, chatgpt, now, over_both_stores, snapshot_filters};

over_both_stores![
    a_new_login_replaces_the_old_one_and_says_so,
    a_login_replaces_an_invalid_document,
    an_invalid_access_token_is_refused_and_the_old_login_stays,
];

#[test]
fn an_api_key_is_written_to_the_file_as_codex_writes_it_whatever_the_umask() {
    for umask in ["umask 000", "umask 022", "umask 777"] {
        let home = TestHome::new();
        let _filters = snapshot_filters(&home);
        let line = format!("{umask}; exec \"$@\"");
        let run = home.codex(["login", "--store", "file", "--with-api-key"]).input("\n  sk-test-123 \n");
        let ended = run.through(["sh", "-c", &line, "sh"]).run();
        insta::allow_duplicates!(insta::assert_snapshot!(ended, @r"
        exit 0
        --- stdout
        --- stderr
        logged in with an API key
        stored in the file store, [home]/auth.json (you asked for it)
        "));
        assert_eq!(
            home.read("auth.json"),
            "{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"sk-test-123\"\n}"
        );
        assert_eq!(home.read("auth.json").len(), 62);
        let mode = fs::metadata(home.document()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{umask}");
        assert_eq!(home.names(), ["auth.json", "auth.json.lock", "auth.lock", "codex-auth"]);
    }
}

fn a_new_login_replaces_the_old_one_and_says_so(machine: &mut Machine) {
    machine.store_text(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}"#);
    machine.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    let kept: Value = serde_json::from_str(&machine.stored_text().unwrap()).unwrap();
    assert_eq!(kept, json!({"auth_mode": "apikey", "OPENAI_API_KEY": "sk-new"}));
    let ended = machine.codex(["login", "--with-api-key"]).input("sk-newer").run().expect(0);
    assert!(ended.err.starts_with("logged in with an API key, in place of the old login\n"), "{ended}");
    assert_eq!(ended.out, "");
}

fn a_login_replaces_an_invalid_document(machine: &mut Machine) {
    machine.store_text("{\"auth_mode\": \"apikey\", \"OPENAI_A");
    let ended = machine.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    assert!(ended.err.starts_with("logged in with an API key\nstored in the"), "{ended}");
    assert!(machine.stored_text().unwrap().contains("sk-new"));
}

#[test]
fn the_automatic_store_is_the_file_where_there_is_no_keychain_and_says_so() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    let ended = home.codex(["login", "--store", "auto", "--with-api-key"]).input("sk-new").run();
    insta::assert_snapshot!(ended, @r#"
    exit 0
    --- stdout
    --- stderr
    set cli_auth_credentials_store = "auto" in [home]/config.toml
    logged in with an API key
    stored in the file store, [home]/auth.json (you asked for it)
    warning: the keychain is not used: Secret Service cannot be reached: Failed to connect to address `unix:path=[no-bus]`: No such file or directory (os error 2); start it for this session or choose another store
    "#);
    assert!(home.read("auth.json").contains("sk-new"));
    assert_eq!(home.read("config.toml"), "cli_auth_credentials_store = \"auto\"\n");
}

#[test]
fn a_login_that_lives_in_memory_by_configuration_is_refused_with_a_way_out() {
    let home = TestHome::new();
    home.write("config.toml", "cli_auth_credentials_store = \"ephemeral\"\n");
    let ended = home.codex(["login", "--with-api-key"]).input("sk-new").run();
    insta::assert_snapshot!(ended, @r#"
    exit 1
    --- stdout
    --- stderr
    error: config.toml says cli_auth_credentials_store = "ephemeral", which keeps a login in memory only
    hint: choose a store that keeps it: codex login --store file
    "#);
    assert_eq!(home.names(), ["config.toml"]);
}

fn an_invalid_access_token_is_refused_and_the_old_login_stays(machine: &mut Machine) {
    let old = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}"#;
    machine.store_text(old);
    for junk in ["junk", "e30.e30", "e30.???.c2ln", "e30.W10.c2ln", "sk-not-this-one"] {
        let ended = machine.codex(["login", "--with-access-token"]).input(junk).run().expect(1);
        let why = "error: the input is neither a personal access token (at-…) nor an agent identity token\n";
        assert!(ended.err.starts_with(why), "{ended}");
        assert!(ended.err.lines().count() == 2 && !ended.err.contains(junk), "{ended}");
    }
    assert_eq!(machine.stored_text().unwrap(), old);
}

#[test]
fn invalid_input_is_refused_with_a_reason_and_creates_nothing() {
    let long = "k".repeat(64 * 1024 + 1);
    let home = TestHome::new();
    let hint = "hint: printenv CODEX_ACCESS_TOKEN | codex login --with-access-token";
    for (input, reason) in [
        (b"".as_slice(), "it is empty"),
        (b" \n\t ", "it is empty"),
        (b"sk-one sk-two", "it contains white space"),
        (b"sk-one\nsk-two\n", "it contains white space"),
        (b"sk-\x1b[200~one", "it contains control characters"),
        (b"sk-one\0", "it contains control characters"),
        (b"sk-\xff", "it is not UTF-8"),
        (long.as_bytes(), "it is longer than 64 KiB"),
    ] {
        let refused = |flag| home.codex(["login", flag]).input(input).run().expect(1).err;
        let printed = format!("error: no access token on standard input: {reason}\n{hint}\n");
        assert_eq!(refused("--with-access-token"), printed);
        let printed =
            printed.replace("access token", "API key").replace("CODEX_ACCESS_TOKEN", "OPENAI_API_KEY");
        assert_eq!(refused("--with-api-key"), printed.replace("access-token", "api-key"));
    }
    assert!(home.names().is_empty(), "{:?}", home.names());
}

#[test]
fn a_credential_of_exactly_64_kib_is_one() {
    let home = TestHome::new();
    let key = "k".repeat(64 * 1024);
    home.codex(["login", "--with-api-key"]).input(key.as_str()).run().expect(0);
    assert_eq!(home.codex(["token"]).run().expect(0).out, key + "\n");
}

#[test]
fn a_terminal_on_standard_input_is_refused_with_a_hint() {
    let home = TestHome::new();
    let run = |flag| home.codex(["login", flag]).on_a_terminal().run().to_string().replace('\u{1b}', "ESC");
    insta::assert_snapshot!(run("--with-api-key"), @r"
    exit 2
    --- stdout
    ESC[31merror:ESC[0m the API key must come from a pipe, but standard input is a terminal

    ESC[36mhint:ESC[0m printenv OPENAI_API_KEY | codex login --with-api-key
    ESC[36mhint:ESC[0m codex login --help
    --- stderr
    ");
    insta::assert_snapshot!(run("--with-access-token"), @r"
    exit 2
    --- stdout
    ESC[31merror:ESC[0m the access token must come from a pipe, but standard input is a terminal

    ESC[36mhint:ESC[0m printenv CODEX_ACCESS_TOKEN | codex login --with-access-token
    ESC[36mhint:ESC[0m codex login --help
    --- stderr
    ");
    assert!(home.names().is_empty());
}

#[test]
fn a_wrong_command_line_exits_with_2_and_creates_nothing() {
    let home = TestHome::new();
    for line in [
        &["login", "--with-api-key", "--with-access-token"][..],
        &["login", "--store", "floppy", "--with-api-key"],
        &["login", "--store", "ephemeral", "--with-api-key"],
        &["login", "--store"],
        &["login", "--with-api-key", "status"],
        &["login", "--with-api-key", "sk-on-the-command-line"],
        &["login", "--device-auth", "--no-browser"],
        &["login", "--device-auth", "--with-api-key"],
        &["login", "--with-api-key", "--keep-old", "--revoke-old"],
        &["login", "--with-api-key", "--issuer", "http://example.org"],
        &["login", "--api-key", "sk-on-the-command-line"],
    ] {
        let ended = home.codex(line.iter().copied()).input("sk-new").run().expect(2);
        assert!(ended.out.is_empty() && ended.err.starts_with("error: "), "{ended}");
        assert!(!ended.err.contains("sk-new"), "{ended}");
    }
    assert!(home.names().is_empty());
}

#[test]
fn the_report_says_what_was_done_and_where() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.write("auth.json", chatgpt("acct-1", "rt-old", now(), now() + 3600));
    let ended = home.codex(["login", "--store", "auto", "--with-api-key", "--json"]).input("sk-new").run();
    insta::assert_snapshot!(ended, @r#"
    exit 0
    --- stdout
    {
      "schema": 1,
      "home": "[home]",
      "place": "[home]",
      "account": null,
      "because": "you asked for it",
      "location": "[home]/auth.json",
      "logged_in": true,
      "method": "apikey",
      "old_tokens": "left-alive",
      "removed": [],
      "replaced": true,
      "store": "file",
      "warnings": [
        "the keychain is not used: Secret Service cannot be reached: Failed to connect to address `unix:path=[no-bus]`: No such file or directory (os error 2); start it for this session or choose another store"
      ]
    }
    --- stderr
    set cli_auth_credentials_store = "auto" in [home]/config.toml
    "#);
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    let ended = home.codex(["login", "--with-access-token", "--json"]).input("junk").run();
    insta::assert_snapshot!(ended, @r#"
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
          "printenv CODEX_ACCESS_TOKEN | codex login --with-access-token"
        ],
        "kind": "failed",
        "message": "the input is neither a personal access token (at-…) nor an agent identity token"
      }
    }
    --- stderr
    error: the input is neither a personal access token (at-…) nor an agent identity token
    hint: printenv CODEX_ACCESS_TOKEN | codex login --with-access-token
    "#);
}
