//! Revocations: which token, with which request, and how often it is retried.

use std::time::{Duration, Instant};

use codex_auth::AuthDocument;
use codex_auth::Secret;
use codex_auth::authority::{
    Authority, Deadlines, Endpoint, Error, MissingResponse, RequestFailure, RetryAdvice, Revocation,
    RevocationOutcome,
};
use scripted_authority::{
    Account, Authority as Scripted, Endpoint as At, Moment, StaleRevocation, Step, TokenState, fingerprint,
};

use super::{TEST_DEADLINES, World, environment, run};

const REVOKE_URL: &str = "CODEX_REVOKE_TOKEN_URL_OVERRIDE";

/// Revokes the tokens of `document`.
fn revoke(server: &Scripted, document: &str, deadlines: Deadlines) -> Result<RevocationOutcome, Error> {
    let environment = environment(&[(REVOKE_URL, &server.revoke_url())]);
    let document = AuthDocument::parse(document.as_bytes()).unwrap();
    let revocation = Revocation::of_document(&environment, &document)?.unwrap();
    run(Authority::with_deadlines(&environment, deadlines).revoke(&revocation))
}

impl World {
    fn revoke(&self) -> Result<RevocationOutcome, Error> {
        self.revoke_within(TEST_DEADLINES)
    }

    fn revoke_within(&self, deadlines: Deadlines) -> Result<RevocationOutcome, Error> {
        revoke(&self.server, &self.grant.auth_json(), deadlines)
    }
}

#[test]
fn a_refresh_token_is_revoked_with_its_client_id() {
    let world = World::new();
    assert_eq!(world.revoke().unwrap(), RevocationOutcome::Revoked);
    assert_eq!(world.server.state_of(&world.grant.tokens.refresh_token), TokenState::Revoked);
    let entry = world.server.journal().pop().unwrap();
    assert_eq!(entry.fingerprint, Some(fingerprint(&world.grant.tokens.refresh_token)));
    assert_eq!(entry.client_id.as_deref(), Some("app_EMoamEEZ73f0CkXaXp7hrann"));
    assert_eq!(entry.content_type.as_deref(), Some("application/json"));
    assert_eq!(entry.originator.as_deref(), Some("codex_cli_rs"));
}

#[test]
fn an_access_token_is_revoked_without_a_client_id() {
    let world = World::new();
    let access = &world.grant.tokens.access_token;
    let document = format!(r#"{{"tokens":{{"access_token":"{access}","refresh_token":""}}}}"#);
    assert_eq!(revoke(&world.server, &document, TEST_DEADLINES).unwrap(), RevocationOutcome::Revoked);
    let entry = world.server.journal().pop().unwrap();
    assert_eq!((entry.fingerprint, entry.client_id), (Some(fingerprint(access)), None));
}

#[test]
fn an_invalid_token_counts_as_revoked() {
    let world = World::new();
    world.server.adjust(|policy| policy.stale_revocation = StaleRevocation::Refused);
    assert_eq!(world.revoke().unwrap(), RevocationOutcome::Revoked);
    assert_eq!(world.revoke().unwrap(), RevocationOutcome::AlreadyInvalid);
    for code in [
        "invalid_grant",
        "invalid_token",
        "refresh_token_expired",
        "refresh_token_reused",
        "REFRESH_TOKEN_INVALIDATED",
    ] {
        for status in [400, 401] {
            world.server.script(At::Revoke, Step::status(status, code));
            assert_eq!(world.revoke().unwrap(), RevocationOutcome::AlreadyInvalid, "{status} {code}");
        }
    }
}

#[test]
fn a_refusal_that_does_not_concern_the_token_is_not_retried() {
    for (status, code) in [
        (400, "invalid_request"),
        (401, "invalid_client"),
        (401, ""),
        (403, "invalid_token"),
        (404, "refresh_token_expired"),
        (307, "invalid_token"),
    ] {
        let world = World::new();
        world.server.script_always(At::Revoke, Step::status(status, code));
        let error = world.revoke().unwrap_err();
        let Error::Transient { cause: RequestFailure::Status { status: answered, .. }, .. } = &error else {
            panic!("{status} {code}: {error:?}")
        };
        assert_eq!(*answered, status, "{code}");
        assert_eq!(world.server.counters().all(), 1, "{status} {code}");
        assert_eq!(world.server.state_of(&world.grant.tokens.refresh_token), TokenState::Live);
    }
}

#[test]
fn transient_failures_are_retried() {
    for step in [
        Step::status(429, "slow_down"),
        Step::status(500, "server_error"),
        Step::status(503, "busy").with_header("Retry-After", "1"),
        Step::closed_before(),
        Step::closed_after(),
    ] {
        let world = World::new();
        world.server.script(At::Revoke, step.clone());
        assert_eq!(world.revoke().unwrap(), RevocationOutcome::Revoked, "{step:?}");
        assert_eq!(world.server.counters().all(), 2, "{step:?}");
    }
}

#[test]
fn a_revocation_is_reported_after_four_attempts() {
    let world = World::new();
    world.server.script_always(At::Revoke, Step::status(500, "server_error"));
    let started = Instant::now();
    let error = world.revoke().unwrap_err();
    assert_eq!(error.kind(), RetryAdvice::Transient, "{error:?}");
    assert_eq!(world.server.counters().all(), 4);
    // The minimum delays: half of a quarter, a half and one second.
    assert!(started.elapsed() >= Duration::from_millis(875), "{:?}", started.elapsed());
}

#[test]
fn a_delay_beyond_the_time_limit_is_not_begun() {
    let world = World::new();
    world.server.script_always(At::Revoke, Step::status(429, "slow_down").with_header("Retry-After", "60"));
    let started = Instant::now();
    let error = world.revoke().unwrap_err();
    assert!(
        matches!(&error, Error::Transient { retry_after: Some(wait), .. } if *wait == Duration::from_secs(60)),
        "{error:?}"
    );
    assert_eq!(world.server.counters().all(), 1);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn revoke_request_times_out() {
    assert_eq!(Deadlines::default().revoke, Duration::from_secs(10));
    let world = World::new();
    let hold = world.server.hold(At::Revoke, Moment::Before);
    let started = Instant::now();
    let error =
        world.revoke_within(Deadlines { revoke: Duration::from_millis(300), ..TEST_DEADLINES }).unwrap_err();
    assert!(matches!(&error, Error::Unknown { cause: MissingResponse::TimedOut(_), .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(world.server.counters().all(), 1);
    hold.arrived(Duration::from_secs(5)).unwrap();
}

#[test]
fn derives_revoke_url_from_refresh_token_override() {
    let server = Scripted::start().unwrap();
    let grant = server.grant(Account::numbered(1));
    let environment = environment(&[(super::REFRESH_URL, &format!("{}?query=1", server.token_url()))]);
    let document = AuthDocument::parse(grant.auth_json().as_bytes()).unwrap();
    let revocation = Revocation::of_document(&environment, &document).unwrap().unwrap();
    assert_eq!(run(Authority::new(&environment).revoke(&revocation)).unwrap(), RevocationOutcome::Revoked);
    assert_eq!(server.counters().of(At::Revoke), 1);
}

#[test]
fn an_empty_token_is_never_sent() {
    let world = World::new();
    let environment = environment(&[(REVOKE_URL, &world.server.revoke_url())]);
    let document = AuthDocument::parse(br#"{"tokens":{"refresh_token":"","access_token":""}}"#).unwrap();
    let tokens = document.tokens().unwrap();
    let endpoint = Endpoint::revoke(&environment, &tokens.provenance).unwrap();
    assert!(Revocation::of_document(&environment, &document).unwrap().is_none());
    let revocation = Revocation::of_access_token(endpoint, Secret::from(""));
    let error = run(Authority::new(&environment).revoke(&revocation)).unwrap_err();
    assert!(matches!(error, Error::NoToken { .. }), "{error:?}");
    assert_eq!(world.server.counters().all(), 0);
}
