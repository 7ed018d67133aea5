//! Golden documents in all formats that Codex writes or wrote: how they are read, and that writing them back changes no
//! byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_auth::document::DocumentWarning;
use codex_auth::store::{ReplaceOutcome, SeenRevision, Store as _};
use codex_auth::{AuthDocument, AuthMode, Fingerprint, Secret, StoreKind, Timestamp};

use crate::support::writing::{self, replace};
use crate::support::{TestHome, names};

const SOON: Duration = Duration::from_secs(20);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/auth")
}

/// The text of a golden document.
pub(super) fn golden(name: &str) -> String {
    fs::read_to_string(folder().join(name).with_extension("json")).unwrap()
}

fn parsed(name: &str) -> AuthDocument {
    AuthDocument::parse(golden(name).as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The expected values of a golden document.
struct Row {
    name: &'static str,
    mode: AuthMode,
    /// Account and user.
    identity: [Option<&'static str>; 2],
    /// The refresh token that has the fingerprint.
    refresh_token: Option<&'static str>,
    /// The beginning of the bearer token.
    bearer: Option<&'static str>,
    oddities: usize,
}

const ADA: [Option<&str>; 2] = [Some("acct-made-up"), Some("user-made-up")];
const NO_IDENTITY: [Option<&str>; 2] = [None, None];

fn rows() -> Vec<Row> {
    let row = |name, mode, identity, refresh_token, bearer, oddities| Row {
        name,
        mode,
        identity,
        refresh_token,
        bearer,
        oddities,
    };
    let (key, token, jwt) = (Some("sk-made-up"), Some("rt-made-up"), Some("eyJhbGciOi"));
    let future = AuthMode::Unknown("modeOfTheFuture".to_owned());
    vec![
        row("agent_identity_key", AuthMode::AgentIdentity, NO_IDENTITY, None, None, 0),
        row("agent_identity_token", AuthMode::AgentIdentity, NO_IDENTITY, None, jwt, 0),
        row("api_key", AuthMode::ApiKey, NO_IDENTITY, None, key, 0),
        row("bedrock_access_keys", AuthMode::BedrockAccessKeys, NO_IDENTITY, None, None, 0),
        row("bedrock_api_key", AuthMode::BedrockApiKey, NO_IDENTITY, None, None, 0),
        row("chatgpt", AuthMode::ChatGpt, ADA, token, jwt, 0),
        row("chatgpt_auth_tokens", AuthMode::ChatGptAuthTokens, ADA, None, jwt, 0),
        row("chatgpt_with_api_key", AuthMode::ChatGpt, ADA, token, jwt, 0),
        row("old_id_token_object", AuthMode::ChatGpt, [None, Some("user-made-up")], token, jwt, 1),
        row("old_key_beside_tokens", AuthMode::ApiKey, ADA, None, key, 0),
        row("personal_access_token", AuthMode::PersonalAccessToken, NO_IDENTITY, None, Some("at-made-up"), 0),
        row("unknown_fields", AuthMode::ChatGpt, ADA, token, jwt, 0),
        row("unknown_mode", future, ADA, token, jwt, 1),
    ]
}

#[test]
fn every_golden_document_has_expected_values() {
    let listed: BTreeSet<_> = rows().iter().map(|row| format!("{}.json", row.name)).collect();
    assert_eq!(listed, names(&folder()).into_iter().collect());
}

#[test]
fn golden_documents_have_the_expected_values() {
    for row in rows() {
        let (name, document) = (row.name, parsed(row.name));
        assert_eq!(document.mode(), Some(row.mode), "{name}");
        let identity = document.identity();
        assert_eq!([identity.account_id.as_deref(), identity.user_id.as_deref()], row.identity, "{name}");
        assert_eq!(document.fingerprint(), row.refresh_token.map(Fingerprint::of), "{name}");
        let bearer = document.bearer().map(Secret::expose);
        assert_eq!(bearer.map(|bearer| &bearer[..10]), row.bearer, "{name}");
        assert_eq!(document.warnings().len(), row.oddities, "{name}: {:?}", document.warnings());
    }
    assert_eq!(
        parsed("unknown_mode").warnings(),
        [DocumentWarning::UnknownMode("modeOfTheFuture".to_owned())]
    );
    assert!(matches!(parsed("old_id_token_object").warnings(), [DocumentWarning::IdToken(_)]));
}

#[test]
fn times_email_and_plan_of_a_chatgpt_login_are_read() {
    let document = parsed("chatgpt");
    let moment = |seconds| Some(Timestamp::from_second(seconds).unwrap());
    assert_eq!(document.access_claims().expires_at, moment(4_102_444_800));
    assert_eq!(document.access_claims().issued_at, moment(1_796_296_400));
    assert_eq!(document.last_refresh(), Some("2026-12-03T10:33:20.123456789Z".parse().unwrap()));
    assert_eq!(document.claims().email.as_deref(), Some("ada@example.com"));
    assert_eq!(document.claims().plan.as_ref().map(codex_auth::claims::PlanType::as_str), Some("plus"));
    let with_api_key = parsed("chatgpt_with_api_key").to_compact();
    assert!(str::from_utf8(&with_api_key).unwrap().contains(r#""OPENAI_API_KEY":"sk-made-up""#));
}

#[test]
fn writing_a_golden_document_back_changes_no_byte() {
    for Row { name, .. } in rows() {
        let (text, document) = (golden(name), parsed(name));
        assert_eq!(String::from_utf8_lossy(&document.to_pretty()), text, "{name}");
        // Compact and back, as through the keychain.
        let item = document.to_compact();
        assert!(!item.contains(&b'\n'), "{name}");
        let back = AuthDocument::parse(&item).unwrap();
        assert_eq!(String::from_utf8_lossy(&back.to_pretty()), text, "{name}");
        assert_eq!(back.revision(), document.revision(), "{name}");
    }
}

#[test]
fn the_file_store_writes_and_reads_every_golden_document_byte_for_byte() {
    let home = TestHome::new();
    let stores = home.stores();
    let mut seen = SeenRevision::Nothing;
    for Row { name, .. } in rows() {
        let saved = replace(&stores, StoreKind::File, seen, &parsed(name));
        assert!(matches!(saved, Ok(ReplaceOutcome::Written(_))), "{name}: {saved:?}");
        assert_eq!(home.read("auth.json"), golden(name), "{name}");
        let stored = stores.file().load(SOON).unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&stored.document.to_pretty()), golden(name), "{name}");
        seen = writing::seen(&stores, StoreKind::File);
        assert_eq!(seen, SeenRevision::Credential(parsed(name).revision()), "{name}");
    }
}

#[test]
fn created_documents_equal_those_of_codex() {
    let token = parsed("agent_identity_token").bearer().unwrap().clone();
    for (made, name) in [
        (AuthDocument::with_api_key(&Secret::from("sk-made-up")), "api_key"),
        (AuthDocument::with_personal_access_token(&Secret::from("at-made-up")), "personal_access_token"),
        (AuthDocument::with_agent_identity(&token), "agent_identity_token"),
    ] {
        assert_eq!(String::from_utf8_lossy(&made.to_pretty()), golden(name));
        assert_eq!(made.revision(), parsed(name).revision(), "{name}");
    }
}

#[test]
fn golden_documents_differ_unless_only_unknown_fields_do() {
    for one in rows() {
        for other in rows().iter().filter(|other| other.name > one.name) {
            let same = parsed(one.name).revision() == parsed(other.name).revision();
            assert_eq!(
                same,
                (one.name, other.name) == ("chatgpt", "unknown_fields"),
                "{} {}",
                one.name,
                other.name
            );
        }
    }
}

#[test]
fn status_names_the_mode_as_codex_does_and_token_prints_bearer_tokens() {
    for row in rows() {
        let home = TestHome::new();
        home.write("auth.json", golden(row.name));
        let usable = row.bearer.is_some();
        let status = home.codex(["status", "--json"]).run();
        let report = status.json();
        assert_eq!(report["method"], row.mode.as_str(), "{}: {status}", row.name);
        assert_eq!((&report["logged_in"], &report["usable"]), (&true.into(), &usable.into()), "{status}");
        assert_eq!(report["warnings"].as_array().unwrap().len(), row.oddities, "{}: {status}", row.name);
        let token = home.codex(["token"]).run();
        assert_eq!(token.code == Some(0), usable, "{}: {token}", row.name);
        assert_eq!(token.out.get(..10), row.bearer, "{}: {token}", row.name);
        assert_eq!(home.read("auth.json"), golden(row.name));
    }
}
