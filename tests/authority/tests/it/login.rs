//! The browser flow: the authorize endpoint, the exchange with PKCE, and the API key.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scripted_authority::{
    Account, Authority, CODEX_CLIENT_ID, Consent, Endpoint, Redirects, Step, TokenState,
};
use sha2::{Digest, Sha256};

use crate::client::{Answer, post_form, send};

const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more";
const REDIRECT: &str = "http://localhost:1455/auth/callback";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn authorize_query() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("response_type", "code".to_owned()),
        ("client_id", CODEX_CLIENT_ID.to_owned()),
        ("redirect_uri", REDIRECT.to_owned()),
        ("scope", "openid profile email offline_access".to_owned()),
        ("code_challenge", URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))),
        ("code_challenge_method", "S256".to_owned()),
        ("state", "a state".to_owned()),
        ("originator", "codex_cli_rs".to_owned()),
    ])
}

fn visit(authority: &Authority, query: &BTreeMap<&str, String>) -> Answer {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    send(authority.url(), "GET", &format!("/oauth/authorize?{query}"), &[], "").unwrap().whole()
}

/// Returns the query parameters of a redirect.
fn brought(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 303);
    let location = answer.header("location").unwrap();
    let query = location.strip_prefix(REDIRECT).unwrap().strip_prefix('?').unwrap();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn exchange(authority: &Authority, code: &str, verifier: &str) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", CODEX_CLIENT_ID),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", verifier),
    ];
    post_form(authority.url(), "/oauth/token", &fields)
}

#[test]
fn a_visit_returns_a_code_that_is_exchanged_once() {
    let authority = Authority::start().unwrap();
    authority.visit_as(Account::numbered(3));
    let brought = brought(&visit(&authority, &authorize_query()));
    assert_eq!(brought["state"], "a state");
    let tokens = exchange(&authority, &brought["code"], VERIFIER);
    assert_eq!(tokens.status, 200);
    let (access, refresh) = (tokens.text("access_token"), tokens.text("refresh_token"));
    assert_eq!(authority.state_of(&access), TokenState::Live);

    let fields = [
        ("grant_type", EXCHANGE),
        ("client_id", CODEX_CLIENT_ID),
        ("requested_token", "openai-api-key"),
        ("subject_token", &tokens.text("id_token")),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
    ];
    let key = post_form(authority.url(), "/oauth/token", &fields);
    assert!(key.text("access_token").starts_with("sk-"));

    assert_eq!(exchange(&authority, &brought["code"], VERIFIER).code(), "invalid_grant");
    assert_eq!(authority.state_of(&refresh), TokenState::Revoked, "a code that comes twice takes all back");
    let endpoints: Vec<_> = authority.journal().iter().map(|entry| entry.endpoint).collect();
    let expected = [Endpoint::Authorize, Endpoint::Exchange, Endpoint::ApiKey, Endpoint::Exchange];
    assert_eq!(endpoints, expected);
    assert_eq!(authority.journal()[0].query["originator"], "codex_cli_rs");
}

#[test]
fn a_wrong_verifier_is_refused() {
    let authority = Authority::start().unwrap();
    let code = brought(&visit(&authority, &authorize_query()))["code"].clone();
    let wrong = VERIFIER.replacen('a', "b", 1);
    assert_eq!(exchange(&authority, &code, &wrong).code(), "invalid_grant");
    assert_eq!(exchange(&authority, &code, VERIFIER).code(), "invalid_grant", "and has used the code up");
}

#[test]
fn nobody_is_redirected_to_an_unknown_address() {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| policy.redirects = Redirects::CodexPorts);
    for (field, value) in [
        ("redirect_uri", "http://localhost:1456/auth/callback"),
        ("redirect_uri", "http://evil.example:1455/auth/callback"),
        ("client_id", "app_other"),
    ] {
        let mut query = authorize_query();
        query.insert(field, value.to_owned());
        let answer = visit(&authority, &query);
        assert_eq!((answer.status, answer.header("location")), (400, None), "{value}");
    }
}

#[test]
fn an_incomplete_request_is_redirected_with_an_error() {
    let authority = Authority::start().unwrap();
    for (field, value, error) in [
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "openid", "invalid_scope"),
    ] {
        let mut query = authorize_query();
        query.insert(field, value.to_owned());
        assert_eq!(brought(&visit(&authority, &query))["error"], error);
    }
}

#[test]
fn a_refusal_redirects_with_the_error_of_the_policy() {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| {
        policy.consent =
            Consent::Refuses { error: "access_denied".to_owned(), description: "not & today".to_owned() };
    });
    let brought = brought(&visit(&authority, &authorize_query()));
    assert_eq!(brought["error"], "access_denied");
    assert_eq!(brought["error_description"], "not & today");
    assert_eq!(brought["state"], "a state");
}

#[test]
fn the_buttons_of_the_consent_page_work_once() {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| policy.consent = Consent::Page);
    for (decision, parameter) in [("continue", "code"), ("cancel", "error")] {
        let page = visit(&authority, &authorize_query());
        assert!(page.body.contains("person1@example.com") && page.body.contains("<html lang=\"en\">"));
        let name = page.body.split("name=\"request\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let fields = [("request", name), ("decision", decision)];
        let answer = post_form(authority.url(), "/oauth/authorize", &fields);
        assert!(brought(&answer).contains_key(parameter));
        assert_eq!(post_form(authority.url(), "/oauth/authorize", &fields).status, 400);
    }
}

#[test]
fn the_exchange_can_fail_on_request() {
    let authority = Authority::start().unwrap();
    let code = brought(&visit(&authority, &authorize_query()))["code"].clone();
    authority.script(Endpoint::Exchange, Step::status(500, "down"));
    assert_eq!(exchange(&authority, &code, VERIFIER).status, 500);
    assert_eq!(exchange(&authority, &code, VERIFIER).status, 200, "the code was not touched");
}
