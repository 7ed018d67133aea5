//! Tests of parsing, writing, and comparing documents.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::claims;
use crate::secret::Secret;

fn jwt(payload: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()))
}

pub(super) fn chatgpt(access: &Value, refresh_token: &str) -> Value {
    json!({
        "auth_mode": "chatgpt", "OPENAI_API_KEY": null,
        "tokens": {
            "id_token": jwt(&json!({"https://api.openai.com/auth": {"chatgpt_user_id": "user-1"}})),
            "access_token": jwt(access), "refresh_token": refresh_token, "account_id": "acct-1"
        },
        "last_refresh": "2026-11-01T00:00:00.000000000Z"
    })
}

pub(super) fn document(value: &Value) -> AuthDocument {
    AuthDocument::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn an_api_key_is_written_byte_for_byte_as_codex_writes_it() {
    let document = AuthDocument::with_api_key(&Secret::from("sk-test-123"));
    let file = "{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"sk-test-123\"\n}";
    assert_eq!(document.to_pretty().as_slice(), file.as_bytes());
    let item = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test-123"}"#;
    assert_eq!(document.to_compact().as_slice(), item.as_bytes());
    assert_eq!(AuthDocument::parse(file.as_bytes()).unwrap().revision(), document.revision());
}

#[test]
fn a_personal_access_token_is_written_without_a_mode() {
    let document = AuthDocument::with_personal_access_token(&Secret::from("at-1"));
    assert_eq!(
        document.to_compact().as_slice(),
        br#"{"OPENAI_API_KEY":null,"personal_access_token":"at-1"}"#
    );
    assert_eq!(document.mode(), Some(AuthMode::PersonalAccessToken));
    assert_eq!(document.bearer().map(Secret::expose), Some("at-1"));
}

#[test]
fn the_mode_is_the_declared_one_or_follows_from_the_fields() {
    for (value, mode) in [
        (json!({"OPENAI_API_KEY": "k", "tokens": {}}), Some(AuthMode::ApiKey)),
        (json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": "k", "tokens": {}}), Some(AuthMode::ChatGpt)),
        (
            json!({"personal_access_token": "at-1", "OPENAI_API_KEY": "k"}),
            Some(AuthMode::PersonalAccessToken),
        ),
        (json!({"bedrock_api_key": {}, "OPENAI_API_KEY": "k"}), Some(AuthMode::BedrockApiKey)),
        (json!({"OPENAI_API_KEY": null, "tokens": {}}), Some(AuthMode::ChatGpt)),
        (json!({"tokens": null, "last_refresh": null, "OPENAI_API_KEY": "k"}), Some(AuthMode::ApiKey)),
        (json!({}), None),
    ] {
        assert_eq!(document(&value).mode(), mode, "{value}");
    }
}

#[test]
fn a_fault_for_which_codex_refuses_the_file_loads_with_a_warning() {
    let whole = chatgpt(&json!({}), "rt");
    assert_eq!(document(&whole).warnings(), []);
    let mut strange = whole.clone();
    strange["auth_mode"] = json!("fromTheFuture");
    assert_eq!(document(&strange).warnings(), [DocumentWarning::UnknownMode("fromTheFuture".to_owned())]);
    assert!(document(&strange).bearer().is_some());
    let mut opaque = whole.clone();
    opaque["tokens"]["id_token"] = json!("not-a-jwt");
    assert_eq!(document(&opaque).warnings(), [DocumentWarning::IdToken(claims::Error::Parts)]);
    let mut object = whole.clone();
    object["tokens"]["id_token"] = json!({"email": "x"});
    assert_eq!(document(&object).warnings(), [DocumentWarning::IdToken(claims::Error::Parts)]);
    let mut partial = whole.clone();
    partial["tokens"].as_object_mut().unwrap().remove("refresh_token");
    assert_eq!(document(&partial).warnings(), [DocumentWarning::Missing("tokens.refresh_token")]);
    let mut undated = whole;
    undated["last_refresh"] = json!("yesterday");
    assert_eq!(document(&undated).warnings(), [DocumentWarning::LastRefresh]);
}

#[test]
fn a_parse_error_says_why_and_shows_nothing_of_the_text() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    for (bytes, part) in [
        (b"".as_slice(), "empty"),
        (b" \n\t", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"{\"OPENAI_API_KEY\":\"marked\xff\"}", "UTF-8"),
        (br#"{"OPENAI_API_KEY":"marked"#, "JSON"),
        (br#"{"OPENAI_API_KEY":"marked"} x"#, "JSON"),
        (br#"{"OPENAI_API_KEY":"marked","OPENAI_API_KEY":"marked"}"#, "JSON"),
        (br#"{"tokens":{"marked":1,"marked":2}}"#, "JSON"),
        (br#""marked""#, "not a JSON object"),
        (br#"["marked"]"#, "not a JSON object"),
        (deep.as_bytes(), "JSON"),
        (br#"{"OPENAI_API_KEY":7}"#, "OPENAI_API_KEY must be a string"),
        (br#"{"tokens":"marked"}"#, "tokens must be an object"),
        (br#"{"tokens":{"access_token":7}}"#, "tokens.access_token must be a string"),
        (br#"{"auth_mode":["marked"]}"#, "auth_mode must be a string"),
        (br#"{"last_refresh":1700000000}"#, "last_refresh must be a string"),
    ] {
        let error = AuthDocument::parse(bytes).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(error.to_string().contains(part), "{error} for {}", String::from_utf8_lossy(bytes));
        assert!(!format!("{error} {error:?} {cause}").contains("marked"), "{error:?}");
    }
}

#[test]
fn a_document_without_its_own_refresh_token_is_token_only() {
    let now = Timestamp::now();
    for token in ["", "placeholder", "PLACEHOLDER", "codex-auth.dummy.", super::tokens::DUMMY] {
        let ends = now.as_second() + 10;
        let document = document(&chatgpt(&json!({ "exp": ends }), token));
        assert_eq!(document.fingerprint(), None, "{token}");
        assert_eq!(document.freshness(now), Freshness::Fresh);
        let later = now + SignedDuration::from_secs(11);
        assert_eq!(document.freshness(later), Freshness::Stale(Staleness::Expired));
    }
    let mut handed_in = chatgpt(&json!({}), "rt");
    handed_in["auth_mode"] = json!("chatgptAuthTokens");
    assert_eq!(document(&handed_in).fingerprint(), None);
    assert!(document(&chatgpt(&json!({}), "rt")).fingerprint().is_some());
}

#[test]
fn a_token_is_stale_within_five_minutes_or_a_quarter_of_its_lifetime() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let standing = |lifetime: Option<i64>, left: i64| {
        let exp = now.as_second() + left;
        let access = match lifetime {
            Some(lifetime) => json!({"exp": exp, "iat": exp - lifetime}),
            None => json!({ "exp": exp }),
        };
        document(&chatgpt(&access, "rt")).freshness(now)
    };
    let soon = Freshness::Stale(Staleness::ExpiresSoon);
    assert_eq!(standing(Some(864_000), 301), Freshness::Fresh);
    assert_eq!(standing(Some(864_000), 300), soon);
    assert_eq!(standing(None, 301), Freshness::Fresh);
    assert_eq!(standing(None, 300), soon);
    assert_eq!(standing(Some(60), 16), Freshness::Fresh);
    assert_eq!(standing(Some(60), 15), soon);
    assert_eq!(standing(Some(60), 0), Freshness::Stale(Staleness::Expired));
    assert_eq!(standing(Some(-60), 300), soon, "an absurd lifetime falls back to five minutes");
}

#[test]
fn a_token_without_an_expiry_is_stale_after_eight_days() {
    let document = document(&chatgpt(&json!({"exp": 1.5}), "rt"));
    let received = document.last_refresh().unwrap();
    let eight_days = SignedDuration::from_hours(8 * 24);
    let older = received + eight_days;
    assert_eq!(document.freshness(older - SignedDuration::from_secs(1)), Freshness::Fresh);
    assert_eq!(document.freshness(older), Freshness::Stale(Staleness::Old));
}

#[test]
fn a_revision_covers_only_the_credential() {
    let first = chatgpt(&json!({}), "rt");
    let mut other = first.clone();
    other["last_refresh"] = json!("2027-01-01T00:00:00Z");
    other["future"] = json!(1);
    other["tokens"]["login_owner_id"] = json!("o");
    assert_eq!(document(&first).revision(), document(&other).revision());
    for field in ["id_token", "access_token", "refresh_token", "account_id"] {
        let mut changed = first.clone();
        changed["tokens"][field] = json!("e30.e30.other");
        assert_ne!(document(&first).revision(), document(&changed).revision(), "{field}");
    }
}

#[test]
fn two_documents_are_the_same_login_only_if_that_is_known() {
    let claims = |user: Option<&str>| jwt(&json!({"https://api.openai.com/auth": {"chatgpt_user_id": user}}));
    let login = |account: Option<&str>, user: Option<&str>, refresh_token: &str| {
        let mut value = chatgpt(&json!({}), refresh_token);
        value["tokens"]["account_id"] = json!(account);
        value["tokens"]["id_token"] = json!(claims(user));
        document(&value)
    };
    let whole = login(Some("a"), Some("u"), "rt-1");
    for (account, user, same, contradicts) in [
        (Some("a"), Some("u"), true, false),
        (Some("a"), None, false, false),
        (None, Some("u"), false, false),
        (None, None, false, false),
        (Some("b"), Some("u"), false, true),
        (Some("a"), Some("v"), false, true),
        (None, Some("v"), false, true),
    ] {
        let other = login(account, user, "rt-2");
        assert_eq!(whole.is_same_login_as(&other), same, "{account:?} {user:?}");
        assert_eq!(other.is_same_login_as(&whole), same, "{account:?} {user:?}");
        assert_eq!(whole.identity().contradicts(&other.identity()), contradicts, "{account:?} {user:?}");
        assert!(other.is_same_login_as(&other), "it is itself: {account:?} {user:?}");
        // With the same refresh token it is another login only if it is another user's.
        let copy = login(account, user, "rt-1");
        assert_eq!(whole.is_same_login_as(&copy), user != Some("v"), "{account:?} {user:?}");
    }
    let (one, other) = (login(Some("a"), None, "rt-1"), login(Some("a"), None, "rt-2"));
    assert!(!one.is_same_login_as(&other), "neither says whose it is");
}

#[test]
fn debug_shows_no_secret() {
    let mut value = chatgpt(&json!({"secret": "marked"}), "marked-refresh");
    value["OPENAI_API_KEY"] = json!("marked-key");
    let document = document(&value);
    let shown = format!("{document:?} {:?} {document:#?}", document.tokens());
    for secret in ["marked", document.bearer().unwrap().expose()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn new_tokens_are_merged_and_everything_else_stays() {
    let mut whole = chatgpt(&json!({}), "rt-0");
    whole["future"] = json!([1]);
    whole["tokens"]["login_owner_id"] = json!("owner");
    let old = document(&whole);
    let now: Timestamp = "2026-11-21T14:00:00.5Z".parse().unwrap();
    let tokens = NewTokens {
        id_token: Some(Secret::from("no jwt")),
        access_token: Some(Secret::from("new")),
        refresh_token: Some(Secret::from("rt-1")),
    };
    let new = old.with_new_tokens(&tokens, now).unwrap();
    whole["tokens"]["access_token"] = json!("new");
    whole["tokens"]["refresh_token"] = json!("rt-1");
    whole["last_refresh"] = json!("2026-11-21T14:00:00.500000000Z");
    assert_eq!(
        new.to_compact().to_vec(),
        whole.to_string().into_bytes(),
        "an undecodable id_token is left out"
    );
    let kept = old.with_new_tokens(&NewTokens::default(), now).unwrap();
    assert_eq!(kept.revision(), old.revision(), "what is not given stays");
    let no_tokens = document(&json!({"OPENAI_API_KEY": "k"}));
    assert!(no_tokens.with_new_tokens(&tokens, now).is_err());
}

#[test]
fn a_new_login_is_written_as_codex_writes_it() {
    let id_token = jwt(&json!({"https://api.openai.com/auth": {"chatgpt_account_id": "acct-1"}}));
    let mut login = NewLogin {
        id_token: Secret::from(id_token.as_str()),
        access_token: Secret::from("access"),
        refresh_token: Secret::from("rt-0"),
        api_key: None,
        provenance: Provenance::new(Some("https://a.example".to_owned()), Some("app_1".to_owned())),
        login_id: "owner".to_owned(),
    };
    let now: Timestamp = "2026-11-21T14:00:00.5Z".parse().unwrap();
    let written = AuthDocument::with_chatgpt_login(&login, now).unwrap();
    let text = format!(
        "{}{id_token}{}{}",
        r#"{"auth_mode":"chatgpt","OPENAI_API_KEY":null,"tokens":{"id_token":""#,
        r#"","access_token":"access","refresh_token":"rt-0","oauth_provenance":{"issuer":"https://a.example","#,
        r#""client_id":"app_1"},"login_owner_id":"owner","account_id":"acct-1"},"last_refresh":"2026-11-21T14:00:00.500000000Z"}"#,
    );
    assert_eq!(str::from_utf8(&written.to_compact()).unwrap(), text);
    assert_eq!(written.identity().account_id.as_deref(), Some("acct-1"));
    assert!(written.warnings().is_empty());
    login.id_token = Secret::from("no jwt");
    assert!(AuthDocument::with_chatgpt_login(&login, now).is_err(), "Codex could not read it");
}

#[test]
fn the_lifetime_of_a_token_is_counted_from_a_plausible_time_of_receipt() {
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    let moment = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
    // Time of receipt, current time, and expiry by the local clock, of a token issued at 0 for an hour.
    for (received, now, end) in [
        (0, 10, HOUR),
        (DAY, DAY + 10, DAY + HOUR),
        (DAY, DAY - 59, DAY + HOUR),
        (DAY, DAY - 61, HOUR),
        (-600, 10, HOUR - 600),
        (-DAY, -DAY + 10, -DAY + HOUR),
        (-DAY, -61, -DAY + HOUR),
        (-DAY, 0, HOUR),
    ] {
        let mut value =
            chatgpt(&json!({"iat": moment(0).as_second(), "exp": moment(HOUR).as_second()}), "rt");
        value["last_refresh"] = json!(moment(received).to_string());
        assert_eq!(document(&value).expires_at(moment(now)), Some(moment(end)), "{received} {now}");
        value["tokens"]["refresh_token"] = json!("");
        assert_eq!(
            document(&value).expires_at(moment(now)),
            Some(moment(HOUR)),
            "not issued to this document"
        );
    }
}

#[test]
fn a_token_is_valid_for_a_minute_after_receipt_whatever_expiry_it_claims() {
    let received = Timestamp::from_second(1_800_000_000).unwrap();
    let at = |seconds: i64| received + SignedDuration::from_secs(seconds);
    for claims in [json!({"exp": 1_000_000_000}), json!({"exp": -1, "iat": 1_800_000_000})] {
        let mut value = chatgpt(&claims, "rt");
        value["last_refresh"] = json!(received.to_string());
        let document = document(&value);
        assert_eq!(document.freshness(at(59)), Freshness::Fresh);
        assert_eq!(document.freshness(at(60)), Freshness::Stale(Staleness::Expired));
    }
}
