//! Marked secrets are pushed through every path; everything that is printed, written beside the login, or shown by the
//! kernel is searched for them.

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
    the_token_command_shows_the_access_token_and_no_other_secret,
];

/// In every secret of these tests.
pub const MARK: &str = "MARKED7f3a";

pub fn api_key() -> String {
    format!("sk-{MARK}-api-key")
}

fn access_token(life: i64) -> String {
    jwt(&json!({"iat": now() - 60, "exp": now() + life, "jti": format!("{MARK}-access")}))
}

/// A ChatGPT login in which whatever is secret is marked.
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

/// What gives a secret away: the mark itself, the mark in base64 at each of its three offsets, and parts of the tokens.
fn traces() -> Vec<String> {
    let mut traces = vec![MARK.to_owned(), MARK.to_lowercase()];
    for offset in 0..3 {
        let shifted = format!("{}{MARK}", "#".repeat(offset));
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted);
            // Without the letters that depend on what stands before and behind.
            traces.push(text[if offset == 0 { 0 } else { 4 }..text.len() - 4].to_owned());
        }
    }
    traces.push(MARK.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    traces.push(MARK.bytes().map(|byte| format!("{byte:02x}")).collect());
    traces
}

#[track_caller]
pub fn hides(what: &str, text: &str) {
    for trace in traces() {
        assert!(!text.contains(&trace), "{what} shows {trace}:\n{text}");
    }
}

/// Every file below the home but the document.
#[track_caller]
pub fn nothing_beside_the_login(home: &TestHome) {
    for (path, _, content) in home.tree() {
        if path != home.document() {
            hides(&path.display().to_string(), &String::from_utf8_lossy(&content));
        }
    }
}

/// Runs a command with all that it can be made to say, to people and as a report, and searches it.
#[track_caller]
fn run_openly(machine: &Machine, arguments: &[&str], input: &str, mut before: impl FnMut()) {
    for more in [&["-v"][..], &["-v", "--json"]] {
        before();
        let line = arguments.iter().chain(more).copied();
        let ended = machine.codex(line).input(input).run();
        assert!(!ended.err.contains("panicked"), "{ended}");
        hides(&format!("{arguments:?} {more:?}"), &ended.to_string());
        nothing_beside_the_login(&machine.home);
    }
}

#[test]
fn the_search_finds_a_secret_in_every_disguise() {
    for disguise in
        [api_key(), access_token(60), STANDARD.encode(api_key()), STANDARD.encode(chatgpt(60).to_string())]
    {
        assert!(traces().iter().any(|trace| disguise.contains(trace)), "{disguise}");
    }
    let bytes = format!("{:?}", api_key().as_bytes());
    assert!(traces().iter().any(|trace| bytes.contains(trace)), "{bytes}");
}

fn no_command_shows_a_secret_or_leaves_one_beside_the_login(machine: &mut Machine) {
    let other = machine.other_store();
    let home = &machine.home;
    let put = || machine.store_text(chatgpt(3600).to_string());
    run_openly(machine, &["login", "--with-api-key"], &api_key(), || ());
    run_openly(machine, &["login", "--with-api-key"], &api_key(), put);
    run_openly(machine, &["login", "--with-access-token"], &format!("at-{MARK}"), put);
    run_openly(machine, &["login", "--with-access-token"], &access_token(60), put);
    run_openly(machine, &["login", "--store", "auto", "--with-api-key"], &api_key(), put);
    home.write(
        "config.toml",
        format!("cli_auth_credentials_store = \"{}\"\n", if other == "file" { "keyring" } else { "file" }),
    );
    for life in [3600, 60, -60] {
        let put = || machine.store_text(chatgpt(life).to_string());
        run_openly(machine, &["status"], "", put);
        run_openly(machine, &["login", "status"], "", put);
        run_openly(machine, &["migrate", "--to", other, "--dry-run"], "", put);
        run_openly(machine, &["migrate", "--to", machine.store()], "", put);
        run_openly(machine, &["logout"], "", put);
        run_openly(machine, &["logout", "--local"], "", put);
    }
    // What `migrate` moves, it moves from one store to the other and shows nowhere.
    machine.store_text(chatgpt(3600).to_string());
    let ended = machine.codex(["migrate", "--to", other, "-v"]).run();
    hides("migrate", &ended.to_string());
    nothing_beside_the_login(home);
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
            run_openly(machine, arguments, "", put);
        }
    }
    for input in
        [format!("{key} {key}"), format!("{key}\u{7}"), format!("e30.{key}.c2ln"), "x".repeat(70_000) + &key]
    {
        run_openly(machine, &["login", "--with-access-token"], &input, || ());
        run_openly(machine, &["login", "--with-api-key"], &(input.clone() + " \u{1b}"), || ());
    }
    // Files of others that hold secrets and cannot be understood.
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
            hides(
                "a broken config.toml",
                &machine.codex(more.iter().copied()).input(key.as_str()).run().expect(1).to_string(),
            );
        }
    }
    fs::remove_file(machine.home.file("config.toml")).unwrap();
    machine.home.write("codex-auth/state.json", format!("{{\"store\":\"{key}\",\"spent\":[\"{key}\"]}}"));
    for more in [&["status"][..], &["status", "-v", "--json"]] {
        hides("a broken state.json", &machine.codex(more.iter().copied()).run().to_string());
    }
}

fn the_token_command_shows_the_access_token_and_no_other_secret(machine: &mut Machine) {
    machine.store_text(chatgpt(3600).to_string());
    let document: Value = serde_json::from_str(&machine.stored_text().unwrap()).unwrap();
    let token = document["tokens"]["access_token"].as_str().unwrap();
    for more in [&[][..], &["-v"], &["--header"], &["--json"], &["--json", "-v"]] {
        let ended = machine.codex(["token"].into_iter().chain(more.iter().copied())).run().expect(0);
        assert_eq!(ended.out.matches(token).count(), 1, "{ended}");
        hides(&format!("token {more:?}"), &ended.to_string().replace(token, "[token]"));
    }
}

#[test]
fn a_credential_that_is_given_as_an_argument_is_not_repeated() {
    let home = TestHome::new();
    for line in
        [&["login", "--with-api-key", &api_key()][..], &["login", &api_key()], &["status", &api_key()]]
    {
        hides(&format!("{:?}", line[0]), &home.codex(line.iter().copied()).run().expect(2).to_string());
    }
}

#[test]
fn debug_of_whatever_holds_a_secret_shows_none() {
    let shown = |what: &str, value: &dyn Debug| hides(what, &format!("{value:?} {value:#?}"));
    let text = chatgpt(3600).to_string();
    let document = AuthDocument::parse(text.as_bytes()).unwrap();
    shown("document", &document);
    shown("tokens", &document.tokens().unwrap());
    shown("identity and claims", &(document.identity(), document.claims(), document.access_claims()));
    shown("revision", &document.revision());
    let key = Secret::from(api_key());
    shown("secret", &(&key, document.bearer(), document.api_key()));
    for made in [
        AuthDocument::with_api_key(&key),
        AuthDocument::with_personal_access_token(&key),
        AuthDocument::with_agent_identity(&Secret::from(access_token(60))),
    ] {
        shown("made document", &made);
    }
    shown("input", &login::credential_from_input(api_key().as_bytes()));

    let home = TestHome::new();
    home.write("auth.json", &text);
    home.write("config.toml", format!("auth_token = \"{MARK}\" # {MARK}\n"));
    shown("settings", &SettingsFile::read(&home.home()).unwrap());
    shown("configuration", &Config::parse(&home.read("config.toml")));
    let stores = home.stores();
    let found = stores.find().unwrap();
    shown("stores", &(&stores, &found, &found.stored));
    let lease = Lease::acquire(&home.home(), Duration::from_secs(5), |_| ()).unwrap();
    shown("lease", &lease);
    shown("commit", &CommitLocks::acquire(&lease, WriteIntent::Save).unwrap());
    let mut writer = stores.writer(&lease).unwrap();
    let (kind, content) = (StoreKind::File, writer.read(StoreKind::File).unwrap());
    shown("content", &content);
    shown(
        "moved",
        &writer.replace(kind, SeenRevision::Nothing, &document, WriteIntent::Save, |_| {}).unwrap(),
    );
    shown("replaced", &writer.replace(kind, content.seen(), &document, WriteIntent::Save, |_| {}).unwrap());
    shown("plan", &migrate::plan(&stores, kind).unwrap());
    shown("migrated", &migrate::migrate(&mut writer, kind).unwrap());
    let choice = stores.choose(Some(StoreSelection::File)).unwrap();
    shown("kept", &login::commit_login(&mut writer, &choice, &AuthDocument::with_api_key(&key)).unwrap());
    shown("writer", &writer);
    shown("state", &HomeState::read(&home.home()).unwrap());
    drop(writer);
    home.write("auth.json", format!("{{\"tokens\":{{\"access_token\":[\"{MARK}\"]}}}}"));
    shown("an error", &stores.find().unwrap_err());
    home.write("auth.json", format!("{{\"{MARK}"));
    shown("another error", &codex_auth::Error::from(stores.find().unwrap_err()));
}
