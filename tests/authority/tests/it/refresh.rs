//! Refreshes and revocations: single use, grants, strict requests, and all formats of an error response.

use scripted_authority::{
    AccessLife, Account, Authority, CODEX_CLIENT_ID, Edit, Ending, Endpoint, ErrorShape, Outcome, Reuse,
    Revocation, Rotation, StaleRevocation, Step, TokenState, fingerprint,
};
use serde_json::{Value, json};

use crate::client::{JSON, fetch, post, refresh, refresh_body, send};

#[test]
fn a_refresh_returns_new_tokens_and_spends_the_old_one() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let answer = refresh(authority.url(), &grant.tokens.refresh_token);
    assert_eq!(answer.status, 200);
    let next = answer.text("refresh_token");
    assert_ne!(next, grant.tokens.refresh_token);
    assert_eq!(authority.live_refresh_token(grant.id), Some(next.clone()));
    assert_eq!(authority.latest(grant.id).unwrap().tokens.access_token, answer.text("access_token"));

    let again = refresh(authority.url(), &grant.tokens.refresh_token);
    assert_eq!((again.status, again.code().as_str()), (401, "refresh_token_reused"));
    assert_eq!(refresh(authority.url(), &next).status, 200, "the family lives on");
}

#[test]
fn a_reuse_revokes_the_grant_if_the_policy_says_so() {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    let grant = authority.grant(Account::default());
    let other = authority.grant(Account::default());
    let next = refresh(authority.url(), &grant.tokens.refresh_token).text("refresh_token");
    assert_eq!(refresh(authority.url(), &grant.tokens.refresh_token).code(), "refresh_token_reused");
    assert_eq!(refresh(authority.url(), &next).code(), "refresh_token_invalidated");
    assert_eq!(authority.live_refresh_token(grant.id), None);
    assert_eq!(
        refresh(authority.url(), &other.tokens.refresh_token).status,
        200,
        "another login is no relative"
    );
}

#[test]
fn dead_tokens_are_refused_by_name() {
    let authority = Authority::start().unwrap();
    for (ending, code) in [
        (Ending::RefreshExpired, "refresh_token_expired"),
        (Ending::RefreshInvalidated, "refresh_token_invalidated"),
        (Ending::WholeGrant, "refresh_token_invalidated"),
    ] {
        let grant = authority.grant(Account::default());
        authority.end(grant.id, ending);
        let answer = refresh(authority.url(), &grant.tokens.refresh_token);
        assert_eq!((answer.status, answer.code().as_str()), (401, code));
    }
    let unknown = refresh(authority.url(), "rt-unknown");
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "invalid_grant"));
}

#[test]
fn an_error_response_has_the_format_of_the_policy() {
    let authority = Authority::start().unwrap();
    let body = |shape| {
        authority.adjust(|policy| policy.error_shape = shape);
        refresh(authority.url(), "rt-unknown").json()
    };
    assert_eq!(body(ErrorShape::Nested)["error"]["code"], "invalid_grant");
    assert_eq!(body(ErrorShape::Flat)["error"], "invalid_grant");
    assert_eq!(body(ErrorShape::TopLevel)["code"], "invalid_grant");
}

#[test]
fn a_request_that_is_not_exactly_a_refresh_is_refused_and_spends_nothing() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let good = refresh_body(&grant.tokens.refresh_token);
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    let cases = [
        (JSON, with("client_id", json!("app_other")), 401),
        (JSON, with("grant_type", json!("authorization_code")), 400),
        (JSON, with("scope", json!("openid")), 400),
        (JSON, with("refresh_token", json!(7)), 400),
        (JSON, "{".to_owned(), 400),
        (JSON, with("refresh_reason", json!("x".repeat(70_000))), 400),
        (("Content-Type", "text/plain"), good.to_string(), 415),
    ];
    for (content_type, body, status) in cases {
        let answer = send(authority.url(), "POST", "/oauth/token", &[content_type], &body).unwrap().whole();
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let repeated = good.to_string().replacen('{', "{\"client_id\":\"x\",", 1);
    assert_eq!(
        send(authority.url(), "POST", "/oauth/token", &[JSON], &repeated).unwrap().whole().status,
        400
    );
    let foreign = authority.grant_to("app_other", Account::default());
    assert_eq!(refresh(authority.url(), &foreign.tokens.refresh_token).code(), "invalid_grant");
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Live);
}

#[test]
fn a_token_that_is_not_rotated_stays_valid_and_is_not_in_the_response() {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| policy.rotation = Rotation::Keeps);
    let grant = authority.grant(Account::default());
    for _ in 0..2 {
        let answer = refresh(authority.url(), &grant.tokens.refresh_token);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["refresh_token"], Value::Null);
    }
    assert_eq!(authority.latest(grant.id).unwrap().tokens.refresh_token, grant.tokens.refresh_token);
}

#[test]
fn fields_of_an_answer_are_edited_on_request() {
    let authority = Authority::start().unwrap();
    let edited = |edit| {
        let grant = authority.grant(Account::default());
        authority.script(Endpoint::Refresh, Step::edited("id_token", edit));
        refresh(authority.url(), &grant.tokens.refresh_token).json()
    };
    assert_eq!(edited(Edit::Missing).get("id_token"), None);
    assert_eq!(edited(Edit::Empty)["id_token"], "");
    assert_eq!(edited(Edit::Null).get("id_token"), Some(&Value::Null));
    assert_eq!(edited(Edit::Value(json!(7)))["id_token"], 7);
    assert_eq!(edited(Edit::Gigantic(100_000))["id_token"].as_str().unwrap().len(), 100_000);
    let foreign = edited(Edit::IssuedTo(Account::numbered(9)));
    assert!(authority.issued_secrets().contains(&foreign["id_token"].as_str().unwrap().to_owned()));
}

#[test]
fn a_revocation_ends_what_the_policy_says() {
    let authority = Authority::start().unwrap();
    let revoke = |token: &str| {
        let hint = if token.starts_with("rt-") { "refresh_token" } else { "access_token" };
        let mut body = json!({"token": token, "token_type_hint": hint});
        if hint == "refresh_token" {
            body["client_id"] = json!(CODEX_CLIENT_ID);
        }
        post(authority.url(), "/oauth/revoke", &body).status
    };
    let grant = authority.grant(Account::default());
    assert_eq!(revoke(&grant.tokens.refresh_token), 200);
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Revoked);
    assert_eq!(authority.state_of(&grant.tokens.access_token), TokenState::Live);
    assert_eq!(revoke(&grant.tokens.access_token), 200);
    assert_eq!(authority.state_of(&grant.tokens.access_token), TokenState::Revoked);

    authority.adjust(|policy| policy.revocation = Revocation::WholeGrant);
    let grant = authority.grant(Account::default());
    assert_eq!(revoke(&grant.tokens.refresh_token), 200);
    assert_eq!(authority.state_of(&grant.tokens.access_token), TokenState::Revoked);

    assert_eq!(revoke("rt-unknown"), 200);
    authority.adjust(|policy| policy.stale_revocation = StaleRevocation::Refused);
    assert_eq!(revoke("rt-unknown"), 400);
    assert_eq!(revoke(&grant.tokens.refresh_token), 400);
}

#[test]
fn a_revocation_without_its_fields_is_refused() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let token = &grant.tokens.refresh_token;
    for body in [
        json!({"token": token, "token_type_hint": "refresh_token"}),
        json!({"token": token}),
        json!({"token": token, "token_type_hint": "refresh_token", "client_id": "app_other"}),
        json!({"token": token, "token_type_hint": "refresh_token", "client_id": CODEX_CLIENT_ID, "x": 1}),
    ] {
        assert_ne!(post(authority.url(), "/oauth/revoke", &body).status, 200, "{body}");
    }
    assert_eq!(authority.state_of(token), TokenState::Live);
}

#[test]
fn a_refresh_can_revoke_the_old_access_token() {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| policy.access = AccessLife::UntilRefresh);
    let grant = authority.grant(Account::default());
    assert_eq!(fetch(authority.url(), "/resource", &grant.tokens.access_token).status, 200);
    let new = refresh(authority.url(), &grant.tokens.refresh_token).text("access_token");
    let old = fetch(authority.url(), "/resource", &grant.tokens.access_token);
    assert_eq!((old.status, old.code().as_str()), (401, "token_invalidated"));
    assert_eq!(fetch(authority.url(), "/resource", &new).status, 200);
}

#[test]
fn the_journal_contains_everything_but_secrets() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let token = &grant.tokens.refresh_token;
    let headers = [JSON, ("Originator", "codex_cli_rs"), ("User-Agent", &format!("leaky/{token}"))];
    send(authority.url(), "POST", "/oauth/token", &headers, &refresh_body(token).to_string()).unwrap();
    refresh(authority.url(), token);

    let journal = authority.journal();
    let first = &journal[0];
    assert_eq!((first.number, first.endpoint, first.outcome), (1, Endpoint::Refresh, Outcome::Granted));
    assert_eq!(first.fingerprint, Some(fingerprint(token)));
    assert_eq!(first.refresh_reason.as_deref(), Some("forced"));
    assert_eq!(first.client_id.as_deref(), Some(CODEX_CLIENT_ID));
    assert_eq!(first.originator.as_deref(), Some("codex_cli_rs"));
    assert_eq!(first.user_agent.as_deref(), Some("leaky/(secret)"));
    assert_eq!(first.content_type.as_deref(), Some("application/json"));
    assert!(first.took_effect && first.status == Some(200) && first.ended_ms >= Some(first.arrived_ms));
    assert_eq!(journal[1].code.as_deref(), Some("refresh_token_reused"));
    assert!(!journal[1].took_effect);
    assert_eq!(authority.counters().ended(Endpoint::Refresh, Outcome::Refused), 1);
    assert_eq!(authority.counters().all(), 2);

    let shown = format!("{journal:?}{grant:?}{authority:?}{}", json!(journal));
    let leaked = authority.issued_secrets().into_iter().filter(|secret| shown.contains(secret.as_str()));
    assert_eq!(leaked.count(), 0);
}
