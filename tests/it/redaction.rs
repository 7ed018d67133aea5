//! No output, no file beside the login and no `Debug` text contains a marked secret.

use std::fmt::Debug;
use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use codex_auth::config::{Config, StoreSelection};
use codex_auth::store::migrate;
use codex_auth::store::{CommitLocks, SeenRevision, SettingsFile, WriteIntent};
use codex_auth::{AuthDocument, HomeState, Lease, Secret, StoreKind, login};
use serde_json::{Value, json};

use crate::support::{Machine, TestHome, jwt, now, over_both_stores};

over_both_stores![
    no_command_shows_a_secret_or_leaves_one_beside_the_login,
    no_failure_shows_a_secret,
    the_token_command_prints_the_access_token_and_no_other_secret,
];

/// A part of every secret in these tests.
pub const MARK: &str = "MARKED7f3a";

pub fn api_key() -> String {
    format!("sk-{MARK}-api-key")
}

fn access_token(life: i64) -> String {
    jwt(&json!({"iat": now() - 60, "exp": now() + life, "jti": format!("{MARK}-access")}))
}

/// Returns a ChatGPT login in which every secret contains [`MARK`].
fn chatgpt(life: i64) -> Value {
    let auth = json!({"chatgpt_account_id": "acct-1", "chatgpt_plan_type": "plus"});
    let id_token =
        json!({"email": "ada@example.com", "https://api.openai.com/auth": auth, "jti": format!("{MARK}-id")});
    json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": api_key(),
        "tokens": {
            "id_token": jwt(&id_token),
            "access_token": access_token(life),
            "refresh_token": format!("rt-{MARK}-refresh"),
            "account_id": "acct-1",
        },
        "unknown": format!("{MARK}-unknown"),
    })
}

/// Returns the texts that reveal a secret: the mark itself, in base64 at each of the three offsets, and as bytes.
fn forbidden_texts() -> Vec<String> {
    let mut texts = vec![MARK.to_owned(), MARK.to_lowercase()];
    for offset in 0..3 {
        let shifted = format!("{}{MARK}", "#".repeat(offset));
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted);
            // Without the characters that depend on neighbouring bytes.
            texts.push(text[if offset == 0 { 0 } else { 4 }..text.len() - 4].to_owned());
        }
    }
    texts.push(MARK.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    texts.push(MARK.bytes().map(|byte| format!("{byte:02x}")).collect());
    texts
}

#[track_caller]
pub fn assert_hidden(what: &str, text: &str) {
    for forbidden in forbidden_texts() {
        assert!(!text.contains(&forbidden), "{what} shows {forbidden}:\n{text}");
    }
}

/// Searches every file below the home except the document.
#[track_caller]
pub fn assert_no_secret_beside_the_login(home: &TestHome) {
    for (path, _, content) in home.tree() {
        if path != home.document() {
            assert_hidden(&path.display().to_string(), &String::from_utf8_lossy(&content));
        }
    }
}

/// Runs a command with `-v` and with `-v --json`, and searches its output.
#[track_caller]
fn run_and_search(machine: &Machine, arguments: &[&str], input: &str, mut before: impl FnMut()) {
    for more in [&["-v"][..], &["-v", "--json"]] {
        before();
        let line = arguments.iter().chain(more).copied();
        let ended = machine.codex(line).input(input).run();
        assert!(!ended.err.contains("panicked"), "{ended}");
        assert_hidden(&format!("{arguments:?} {more:?}"), &ended.to_string());
        assert_no_secret_beside_the_login(&machine.home);
    }
}

#[test]
fn the_search_finds_a_secret_in_every_encoding() {
    for encoded in
        [api_key(), access_token(60), STANDARD.encode(api_key()), STANDARD.encode(chatgpt(60).to_string())]
    {
        assert!(forbidden_texts().iter().any(|text| encoded.contains(text)), "{encoded}");
    }
    let bytes = format!("{:?}", api_key().as_bytes());
    assert!(forbidden_texts().iter().any(|text| bytes.contains(text)), "{bytes}");
}

fn no_command_shows_a_secret_or_leaves_one_beside_the_login(machine: &mut Machine) {
    let other = machine.other_store();
    let home = &machine.home;
    let put = || machine.store_text(chatgpt(3600).to_string());
    run_and_search(machine, &["login", "--with-api-key"], &api_key(), || ());
    run_and_search(machine, &["login", "--with-api-key"], &api_key(), put);
    run_and_search(machine, &["login", "--with-access-token"], &format!("at-{MARK}"), put);
    run_and_search(machine, &["login", "--with-access-token"], &access_token(60), put);
    run_and_search(machine, &["login", "--store", "auto", "--with-api-key"], &api_key(), put);
    home.write(
        "config.toml",
        format!("cli_auth_credentials_store = \"{}\"\n", if other == "file" { "keyring" } else { "file" }),
    );
    for life in [3600, 60, -60] {
        let put = || machine.store_text(chatgpt(life).to_string());
        run_and_search(machine, &["status"], "", put);
        run_and_search(machine, &["login", "status"], "", put);
        run_and_search(machine, &["migrate", "--to", other, "--dry-run"], "", put);
        run_and_search(machine, &["migrate", "--to", machine.store()], "", put);
        run_and_search(machine, &["logout"], "", put);
        run_and_search(machine, &["logout", "--local"], "", put);
    }
    // `migrate` moves the login from one store to the other.
    machine.store_text(chatgpt(3600).to_string());
    let ended = machine.codex(["migrate", "--to", other, "-v"]).run();
    assert_hidden("migrate", &ended.to_string());
    assert_no_secret_beside_the_login(home);
}

fn no_failure_shows_a_secret(machine: &mut Machine) {
    let key = api_key();
    for broken in [
        format!("{{\"OPENAI_API_KEY\":\"{key}"),
        format!("{{\"{key}\":1,\"{key}\":2}}"),
        format!("{{\"tokens\":\"{key}\"}}"),
        format!("{{\"tokens\":{{\"access_token\":[\"{key}\"]}}}}"),
        format!("\"{key}\""),
        format!("{{\"OPENAI_API_KEY\":\"{key}\"}}{key}"),
        json!({"last_refresh": key, "tokens": {"id_token": key, "access_token": access_token(-60), "refresh_token": key}}).to_string(),
        json!({"auth_mode": "bedrockApiKey", "bedrock_api_key": {"key": key}}).to_string(),
        json!({"agent_identity": [key]}).to_string(),
    ] {
        let put = || machine.store_text(&broken);
        for arguments in [&["status"][..], &["token"], &["migrate", "--to", machine.store()], &["logout"]] {
            run_and_search(machine, arguments, "", put);
        }
    }
    for input in
        [format!("{key} {key}"), format!("{key}\u{7}"), format!("e30.{key}.c2ln"), "x".repeat(70_000) + &key]
    {
        run_and_search(machine, &["login", "--with-access-token"], &input, || ());
        run_and_search(machine, &["login", "--with-api-key"], &(input.clone() + " \u{1b}"), || ());
    }
    // Invalid files that contain secrets.
    machine.store_text(chatgpt(3600).to_string());
    fs::create_dir_all(machine.home.file("codex-auth")).unwrap();
    for config in [
        format!("auth_token = \"{key}\n"),
        format!("auth_token = {key}\n"),
        format!("[{key}\n"),
        format!("{key}\n"),
    ] {
        machine.home.write("config.toml", config);
        for more in [
            &["status"][..],
            &["status", "-v"],
            &["login", "--with-api-key", "-v", "--json"],
            &["logout", "-v"],
        ] {
            let ended = machine.codex(more.iter().copied()).input(key.as_str()).run();
            // A logout does without the file, and fails to reach the authority.
            let ended = ended.expect(if more[0] == "logout" { 4 } else { 1 });
            assert_hidden("a broken config.toml", &ended.to_string());
        }
    }
    fs::remove_file(machine.home.file("config.toml")).unwrap();
    machine.home.write("codex-auth/state.json", format!("{{\"store\":\"{key}\",\"spent\":[\"{key}\"]}}"));
    for more in [&["status"][..], &["status", "-v", "--json"]] {
        assert_hidden("a broken state.json", &machine.codex(more.iter().copied()).run().to_string());
    }
}

fn the_token_command_prints_the_access_token_and_no_other_secret(machine: &mut Machine) {
    machine.store_text(chatgpt(3600).to_string());
    let document: Value = serde_json::from_str(&machine.stored_text().unwrap()).unwrap();
    let token = document["tokens"]["access_token"].as_str().unwrap();
    for more in [&[][..], &["-v"], &["--header"], &["--json"], &["--json", "-v"]] {
        let ended = machine.codex(["token"].into_iter().chain(more.iter().copied())).run().expect(0);
        assert_eq!(ended.out.matches(token).count(), 1, "{ended}");
        assert_hidden(&format!("token {more:?}"), &ended.to_string().replace(token, "[token]"));
    }
}

#[test]
fn a_credential_in_an_argument_is_not_repeated() {
    let home = TestHome::new();
    for line in
        [&["login", "--with-api-key", &api_key()][..], &["login", &api_key()], &["status", &api_key()]]
    {
        assert_hidden(
            &format!("{:?}", line[0]),
            &home.codex(line.iter().copied()).run().expect(2).to_string(),
        );
    }
}

#[test]
fn debug_shows_no_secret() {
    let check = |what: &str, value: &dyn Debug| assert_hidden(what, &format!("{value:?} {value:#?}"));
    let text = chatgpt(3600).to_string();
    let document = AuthDocument::parse(text.as_bytes()).unwrap();
    check("document", &document);
    check("tokens", &document.tokens().unwrap());
    check("identity and claims", &(document.identity(), document.claims(), document.access_claims()));
    check("revision", &document.revision());
    let key = Secret::from(api_key());
    check("secret", &(&key, document.bearer()));
    for made in [
        AuthDocument::with_api_key(&key),
        AuthDocument::with_personal_access_token(&key),
        AuthDocument::with_agent_identity(&Secret::from(access_token(60))),
    ] {
        check("made document", &made);
    }
    check("input", &Secret::from_input(api_key().as_bytes()));

    let home = TestHome::new();
    home.write("auth.json", &text);
    home.write("config.toml", format!("auth_token = \"{MARK}\" # {MARK}\n"));
    check("settings", &SettingsFile::read(&home.home()).unwrap());
    check("configuration", &Config::parse(&home.read("config.toml")));
    let stores = home.stores();
    let found = stores.find().unwrap();
    check("stores", &(&stores, &found, &found.stored));
    let lease = Lease::acquire(&home.home(), Duration::from_secs(5), |_| ()).unwrap();
    check("lease", &lease);
    check("commit", &CommitLocks::acquire(&lease, WriteIntent::Save).unwrap());
    let mut writer = stores.writer(&lease).unwrap();
    let (kind, content) = (StoreKind::File, writer.read(StoreKind::File).unwrap());
    check("content", &content);
    check(
        "moved",
        &writer.replace(kind, SeenRevision::Nothing, &document, WriteIntent::Save, |_| {}).unwrap(),
    );
    check("replaced", &writer.replace(kind, content.seen(), &document, WriteIntent::Save, |_| {}).unwrap());
    check("plan", &migrate::plan(&stores, kind).unwrap());
    check("migrated", &migrate::migrate(&mut writer, kind).unwrap());
    let choice = stores.choose(Some(StoreSelection::File)).unwrap();
    check("kept", &login::commit_login(&mut writer, &choice, &AuthDocument::with_api_key(&key)).unwrap());
    check("writer", &writer);
    check("state", &HomeState::read(&home.home()).unwrap());
    drop(writer);
    home.write("auth.json", format!("{{\"tokens\":{{\"access_token\":[\"{MARK}\"]}}}}"));
    check("an error", &stores.find().unwrap_err());
    home.write("auth.json", format!("{{\"{MARK}"));
    check("another error", &codex_auth::Error::from(stores.find().unwrap_err()));
}
