//! The resource, whoami, the keys of agent identities, and expiry.

use scripted_authority::{Account, Authority, Ending, Endpoint, Outcome, Signing};

use crate::client::{fetch, post, refresh};

#[test]
fn the_resource_accepts_live_access_tokens_only() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::numbered(2));
    let answer = fetch(authority.url(), "/resource", &grant.tokens.access_token);
    assert_eq!((answer.status, answer.text("chatgpt_user_id").as_str()), (200, "user-2"));
    authority.end(grant.id, Ending::AccessInvalidated);
    assert_eq!(fetch(authority.url(), "/resource", &grant.tokens.access_token).code(), "token_invalidated");
    let healed = refresh(authority.url(), &grant.tokens.refresh_token).text("access_token");
    assert_eq!(fetch(authority.url(), "/resource", &healed).status, 200);
    assert_eq!(fetch(authority.url(), "/resource", "nonsense").code(), "invalid_token");
    authority.adjust(|policy| policy.access_lifetime = -1);
    let stale = authority.grant(Account::default());
    assert_eq!(fetch(authority.url(), "/resource", &stale.tokens.access_token).code(), "token_expired");
}

#[test]
fn a_clock_that_is_set_forward_ages_tokens() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    authority.adjust(|policy| policy.clock_offset = 2 * 86_400);
    assert_eq!(fetch(authority.url(), "/resource", &grant.tokens.access_token).code(), "token_expired");
    assert_eq!(refresh(authority.url(), &grant.tokens.refresh_token).status, 200);
    authority.adjust(|policy| policy.clock_offset = 200 * 86_400);
    let latest = authority.latest(grant.id).unwrap();
    assert_eq!(refresh(authority.url(), &latest.tokens.refresh_token).code(), "refresh_token_expired");
}

#[test]
fn whoami_knows_personal_tokens_under_both_of_its_paths() {
    let authority = Authority::start().unwrap();
    let token = authority.personal_access_token(Account::numbered(5));
    assert!(token.starts_with("at-"));
    for path in ["/v1/user-auth-credential/whoami", "/api/accounts/v1/user-auth-credential/whoami"] {
        assert_eq!(fetch(authority.url(), path, &token).text("email"), "person5@example.com");
        assert_eq!(fetch(authority.url(), path, "at-unknown").status, 401);
    }
}

#[test]
fn workspaces_and_the_model_accept_live_access_tokens_only() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::numbered(1));
    for path in ["/wham/accounts/check", "/backend-api/wham/accounts/check", "/api/codex/accounts/check"] {
        let accounts = fetch(authority.url(), path, &grant.tokens.access_token).json()["accounts"].take();
        assert_eq!((&accounts[0]["id"], &accounts[1]["id"]), (&"acct-1".into(), &"shared".into()));
        assert_eq!(fetch(authority.url(), path, "nonsense").status, 401);
    }
    let token = authority.personal_access_token(Account::numbered(5));
    assert_eq!(fetch(authority.url(), "/wham/accounts/check", &token).json()["accounts"][0]["id"], "acct-5");
    authority.end(grant.id, Ending::AccessInvalidated);
    assert_eq!(fetch(authority.url(), "/wham/accounts/check", &grant.tokens.access_token).status, 401);
    assert_eq!(authority.counters().ended(Endpoint::Workspaces, Outcome::Refused), 4);
}

#[test]
fn agent_identities_come_with_the_keys_that_verify_them() {
    let authority = Authority::start().unwrap();
    let token = authority.agent_identity(&Account::default(), Signing::Valid).unwrap();
    assert_eq!(token.split('.').count(), 3);
    for prefix in ["/wham", "/backend-api/wham", "/api/codex", ""] {
        let keys = fetch(authority.url(), &format!("{prefix}/agent-identities/jwks"), "").json();
        assert_eq!(keys["keys"][0]["alg"], "RS256");
    }
}

#[test]
fn anything_else_is_refused_and_written_down() {
    let authority = Authority::start().unwrap();
    assert_eq!(fetch(authority.url(), "/nowhere", "").status, 404);
    assert_eq!(fetch(authority.url(), "/oauth/token", "").status, 405);
    assert_eq!(fetch(authority.url(), "/control/issued-secrets", "").status, 404, "not in a library");
    assert_eq!(post(authority.url(), "/control/grant", &serde_json::json!({})).status, 404);
    assert_eq!(authority.counters().ended(Endpoint::Other, Outcome::Refused), 4);
}
