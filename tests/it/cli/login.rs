//! `codex login`: what is piped in is kept, where it should be, and nothing else is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::session::{PrivateSession, inside};
use crate::support::{Home, Machine, account, chatgpt, filters, here, item, now, over_both_stores};

over_both_stores![
    a_new_login_takes_the_place_of_the_old_one_and_says_so,
    a_login_over_what_is_no_document_replaces_it,
    what_is_no_access_token_is_refused_and_the_old_login_stays,
];

/// As a user might have it.
const CONFIG: &str = "# mine\nmodel = \"o5\"   # the good one\n\n[tools]\n  web = true\n";

#[test]
fn an_api_key_is_written_to_the_file_as_codex_writes_it_whatever_the_umask() {
    for umask in ["umask 000", "umask 022", "umask 777"] {
        let home = Home::new();
        let _filters = filters(&home);
        let line = format!("{umask}; exec \"$@\"");
        let run = home.codex(["login", "--store", "file", "--with-api-key"]).input("\n  sk-test-123 \n");
        let ended = run.through(["sh", "-c", &line, "sh"]).run();
        insta::allow_duplicates!(insta::assert_snapshot!(ended, @r"
        exit 0
        --- stdout
        --- stderr
        logged in with apikey
        kept in the file store, [home]/auth.json (you asked for it)
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

#[test]
fn an_api_key_goes_into_codexs_own_item_and_the_configuration_says_so_with_its_layout_kept() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for word in ["keychain", "keyring"] {
            let home = Home::within(&session);
            let _filters = filters(&home);
            home.write("config.toml", CONFIG);
            let ended = home.codex(["login", "--store", word, "--with-api-key"]).input("sk-test-123").run();
            insta::allow_duplicates!(insta::assert_snapshot!(ended, @r#"
            exit 0
            --- stdout
            --- stderr
            logged in with apikey
            kept in the keychain store, item "Codex Auth" of cli|[hash] (you asked for it)
            "#));
            let secret = String::from_utf8(item(&home).get_secret().unwrap()).unwrap();
            assert_eq!(secret, r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test-123"}"#);
            insta::allow_duplicates!(insta::assert_snapshot!(home.read("config.toml"), @r#"
            # mine
            model = "o5"   # the good one
            cli_auth_credentials_store = "keyring"

            [tools]
              web = true
            "#));
            assert_eq!(home.names(), ["auth.json.lock", "auth.lock", "codex-auth", "config.toml"]);
        }
    });
}

fn a_new_login_takes_the_place_of_the_old_one_and_says_so(machine: &mut Machine) {
    machine.keep(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}"#);
    machine.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    let kept: Value = serde_json::from_str(&machine.kept().unwrap()).unwrap();
    assert_eq!(kept, json!({"auth_mode": "apikey", "OPENAI_API_KEY": "sk-new"}));
    let ended = machine.codex(["login", "--with-api-key"]).input("sk-newer").run().expect(0);
    assert!(ended.err.starts_with("logged in with apikey, in place of the login before\n"), "{ended}");
    assert_eq!(ended.out, "");
}

fn a_login_over_what_is_no_document_replaces_it(machine: &mut Machine) {
    machine.keep("{\"auth_mode\": \"apikey\", \"OPENAI_A");
    let ended = machine.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    assert!(ended.err.starts_with("logged in with apikey\nkept in the"), "{ended}");
    assert!(machine.kept().unwrap().contains("sk-new"));
}

#[test]
fn a_login_in_the_other_store_is_removed_and_named() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = Home::within(&session);
        let _filters = filters(&home);
        let login = |store| home.codex(["login", "--store", store, "--with-api-key"]).input("sk-x").run();
        login("file").expect(0);
        insta::assert_snapshot!(login("keychain"), @r#"
        exit 0
        --- stdout
        --- stderr
        logged in with apikey, in place of the login before
        kept in the keychain store, item "Codex Auth" of cli|[hash] (you asked for it)
        removed the copy in the file store, [home]/auth.json
        "#);
        assert!(!home.document().exists() && item(&home).get_secret().is_ok());
        insta::assert_snapshot!(login("file"), @r#"
        exit 0
        --- stdout
        --- stderr
        logged in with apikey, in place of the login before
        kept in the file store, [home]/auth.json (you asked for it)
        removed the copy in the keychain store, item "Codex Auth" of cli|[hash]
        "#);
        assert!(home.document().exists() && item(&home).get_secret().is_err());
        assert_eq!(home.read("config.toml"), "cli_auth_credentials_store = \"file\"\n");
    });
}

#[test]
fn the_automatic_store_is_the_keychain_where_there_is_one() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = Home::within(&session);
        let _filters = filters(&home);
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-old"}"#);
        let ended = home.codex(["login", "--store", "auto", "--with-api-key"]).input("sk-new").run();
        insta::assert_snapshot!(ended, @r#"
        exit 0
        --- stdout
        --- stderr
        logged in with apikey, in place of the login before
        kept in the keychain store, item "Codex Auth" of cli|[hash] (you asked for it)
        removed the copy in the file store, [home]/auth.json
        "#);
        assert!(!home.document().exists() && item(&home).get_secret().is_ok());
        assert_eq!(home.read("config.toml"), "cli_auth_credentials_store = \"auto\"\n");
    });
}

#[test]
fn the_automatic_store_is_the_file_where_there_is_no_keychain_and_says_so() {
    let home = Home::new();
    let _filters = filters(&home);
    let ended = home.codex(["login", "--store", "auto", "--with-api-key"]).input("sk-new").run();
    insta::assert_snapshot!(ended, @r"
    exit 0
    --- stdout
    --- stderr
    logged in with apikey
    kept in the file store, [home]/auth.json (you asked for it)
    warning: the keychain is not used: Secret Service cannot be reached; start it for this session or choose another store
    ");
    assert!(home.read("auth.json").contains("sk-new"));
    assert_eq!(home.read("config.toml"), "cli_auth_credentials_store = \"auto\"\n");
}

#[test]
fn the_store_is_the_one_asked_for_else_configured_else_inhabited_else_the_keychain_else_the_file() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let (configured, elsewhere) = ("cli_auth_credentials_store = \"keyring\"\n", "model = \"o5\"\n");
        let (file, keychain) = (Some("file"), Some("keychain"));
        // What is asked for, config.toml, where a login is, whether there is a keychain; the store and why.
        for (asked, config, inhabited, reachable, store, because) in [
            (file, configured, keychain, true, "file", "you asked for it"),
            (keychain, elsewhere, file, true, "keychain", "you asked for it"),
            (None, configured, file, true, "keychain", "config.toml says so"),
            (None, "cli_auth_credentials_store = \"file\"\n", None, true, "file", "config.toml says so"),
            (None, elsewhere, file, true, "file", "a login is there already"),
            (None, elsewhere, keychain, true, "keychain", "a login is there already"),
            (None, elsewhere, None, true, "keychain", "the keychain can be used"),
            (
                None,
                elsewhere,
                None,
                false,
                "file",
                "the keychain cannot be used: Secret Service cannot be reached",
            ),
        ] {
            let home = if reachable { Home::within(&session) } else { Home::new() };
            home.write("config.toml", config);
            match inhabited {
                Some("file") => drop(home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-old"}"#)),
                Some(_) => item(&home).set_secret(br#"{"OPENAI_API_KEY":"sk-old"}"#).unwrap(),
                None => {}
            }
            let mut line = vec!["login", "--json", "--with-api-key"];
            line.extend(asked.iter().flat_map(|store| ["--store", *store]));
            let report = home.codex(line).input("sk-new").run().expect(0).json();
            let case = format!("{asked:?} {config:?} {inhabited:?}: {report:#}");
            assert_eq!(report["store"], store, "{case}");
            assert!(report["because"].as_str().unwrap().starts_with(because), "{case}");
            let removed = report["removed"].as_array().unwrap().len();
            assert_eq!(removed, usize::from(inhabited.is_some_and(|old| old != store)), "{case}");
            assert_eq!(home.document().exists(), store == "file", "{case}");
            if reachable {
                assert_eq!(item(&home).get_secret().is_ok(), store == "keychain", "{case}");
            }
        }
    });
}

#[test]
fn a_login_that_lives_in_memory_by_configuration_is_refused_with_a_way_out() {
    let home = Home::new();
    home.write("config.toml", "cli_auth_credentials_store = \"ephemeral\"\n");
    let ended = home.codex(["login", "--with-api-key"]).input("sk-new").run();
    insta::assert_snapshot!(ended, @r#"
    exit 1
    --- stdout
    --- stderr
    error: config.toml says cli_auth_credentials_store = "ephemeral", which keeps a login in memory only
    hint: name one that lasts, for example: codex login --store file
    "#);
    assert_eq!(home.names(), ["config.toml"]);
}

fn what_is_no_access_token_is_refused_and_the_old_login_stays(machine: &mut Machine) {
    let old = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}"#;
    machine.keep(old);
    for junk in ["junk", "e30.e30", "e30.???.c2ln", "e30.W10.c2ln", "sk-not-this-one"] {
        let ended = machine.codex(["login", "--with-access-token"]).input(junk).run().expect(1);
        let why =
            "error: this is not an agent identity token that can be relied on: it does not have the form";
        assert!(ended.err.starts_with(why), "{ended}");
        assert!(ended.err.lines().count() == 1 && !ended.err.contains(junk), "{ended}");
    }
    assert_eq!(machine.kept().unwrap(), old);
}

#[test]
fn input_that_is_no_credential_is_refused_with_its_reason_and_nothing_is_made() {
    let long = "k".repeat(64 * 1024 + 1);
    let home = Home::new();
    let hint = "hint: printenv CODEX_ACCESS_TOKEN | codex login --with-access-token";
    for (input, reason) in [
        (b"".as_slice(), "it is empty"),
        (b" \n\t ", "it is empty"),
        (b"sk-one sk-two", "there is white space inside it"),
        (b"sk-one\nsk-two\n", "there is white space inside it"),
        (b"sk-\x1b[200~one", "there are control characters in it"),
        (b"sk-one\0", "there are control characters in it"),
        (b"sk-\xff", "it is not UTF-8"),
        (long.as_bytes(), "it is longer than 64 KiB"),
    ] {
        let refused = |flag| home.codex(["login", flag]).input(input).run().expect(1).err;
        let told = format!("error: no access token on standard input: {reason}\n{hint}\n");
        assert_eq!(refused("--with-access-token"), told);
        let told = told.replace("access token", "API key").replace("CODEX_ACCESS_TOKEN", "OPENAI_API_KEY");
        assert_eq!(refused("--with-api-key"), told.replace("access-token", "api-key"));
    }
    assert!(home.names().is_empty(), "{:?}", home.names());
}

#[test]
fn a_credential_of_exactly_64_kib_is_one() {
    let home = Home::new();
    let key = "k".repeat(64 * 1024);
    home.codex(["login", "--with-api-key"]).input(key.as_str()).run().expect(0);
    assert_eq!(home.codex(["token"]).run().expect(0).out, key + "\n");
}

#[test]
fn a_terminal_on_standard_input_is_refused_with_a_hint() {
    let home = Home::new();
    let run = |flag| home.codex(["login", flag]).on_a_terminal().run().to_string().replace('\u{1b}', "ESC");
    insta::assert_snapshot!(run("--with-api-key"), @r"
    exit 2
    --- stdout
    ESC[31merror:ESC[0m the API key is read from a pipe, and standard input is a terminal
    ESC[36mhint:ESC[0m printenv OPENAI_API_KEY | codex login --with-api-key
    --- stderr
    ");
    insta::assert_snapshot!(run("--with-access-token"), @r"
    exit 2
    --- stdout
    ESC[31merror:ESC[0m the access token is read from a pipe, and standard input is a terminal
    ESC[36mhint:ESC[0m printenv CODEX_ACCESS_TOKEN | codex login --with-access-token
    --- stderr
    ");
    assert!(home.names().is_empty());
}

#[test]
fn a_command_line_that_makes_no_sense_exits_with_2_and_nothing_is_made() {
    let home = Home::new();
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
    let home = Home::new();
    let _filters = filters(&home);
    home.write("auth.json", chatgpt("acct-1", "rt-old", now(), now() + 3600));
    let ended = home.codex(["login", "--store", "auto", "--with-api-key", "--json"]).input("sk-new").run();
    insta::assert_snapshot!(ended, @r#"
    exit 0
    --- stdout
    {
      "schema": 1,
      "place": "[home]",
      "account": null,
      "logged_in": true,
      "method": "apikey",
      "store": "file",
      "location": "[home]/auth.json",
      "because": "you asked for it",
      "replaced": true,
      "old_tokens": "left-alive",
      "removed": [],
      "warnings": [
        "the keychain is not used: Secret Service cannot be reached; start it for this session or choose another store"
      ]
    }
    --- stderr
    "#);
    let home = Home::new();
    let _filters = filters(&home);
    let ended = home.codex(["login", "--with-access-token", "--json"]).input("junk").run();
    insta::assert_snapshot!(ended, @r#"
    exit 1
    --- stdout
    {
      "schema": 1,
      "place": "[home]",
      "account": null,
      "error": {
        "exit": 1,
        "kind": "failed",
        "message": "this is not an agent identity token that can be relied on: it does not have the form of one",
        "hints": []
      }
    }
    --- stderr
    error: this is not an agent identity token that can be relied on: it does not have the form of one
    "#);
}

#[test]
fn a_home_behind_a_link_has_the_item_of_the_real_one() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = Home::within(&session);
        let link = home.path().with_file_name("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        let run = home.codex(["login", "--store", "keychain", "--with-api-key", "--json"]);
        let report = run.env("CODEX_HOME", &link).input("sk-new").run().expect(0).json();
        assert_eq!(report["location"], format!("item \"Codex Auth\" of {}", account(&home)));
        assert!(item(&home).get_secret().is_ok());
    });
}
