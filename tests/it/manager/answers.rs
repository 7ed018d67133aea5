//! Responses of the authority; Codex's own test cases keep their names.

use scripted_authority::{Account, Edit, Ending, Endpoint, ErrorShape, Outcome, Step};
use serde_json::json;

use super::world::{World, merged, spend};
use crate::support::{Machine, over_both_stores};

over_both_stores!(
    refresh_token_succeeds_updates_storage,
    refresh_token_skips_refresh_when_auth_changed,
    a_rejected_refresh_token_is_sent_once_and_replaced_by_a_login,
);

fn refresh_token_succeeds_updates_storage(machine: &mut Machine) {
    let world = World::fresh(machine);
    let before = world.document();
    world.codex(["refresh"]).run().expect(0);
    let after = world.document();
    for token in ["id_token", "access_token", "refresh_token"] {
        assert_ne!(before["tokens"][token], after["tokens"][token], "{token}");
    }
    assert_ne!(before["last_refresh"], after["last_refresh"]);
    assert_eq!(before["tokens"]["account_id"], after["tokens"]["account_id"]);
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
    assert_eq!((world.requests(), world.has_rescue()), (1, false));
    let state = world.state();
    assert_eq!(state["outcome"]["ending"], "committed");
    assert_eq!(state["spent"].as_array().unwrap().len(), 1);
}

/// What another program stored is adopted without a request.
fn refresh_token_skips_refresh_when_auth_changed(machine: &mut Machine) {
    let world = World::expired(machine);
    let answer = spend(&world.authority, &world.grant.tokens.refresh_token);
    let document = merged(&world.machine.stored_text().unwrap(), &answer);
    world.machine.store_text(document);
    let ended = world.codex(["token"]).run().expect(0);
    assert_eq!(Some(ended.out.trim_end()), answer["access_token"].as_str());
    assert_eq!(world.requests(), 1, "only that of the other program");
}

fn a_rejected_refresh_token_is_sent_once_and_replaced_by_a_login(machine: &mut Machine) {
    let world = World::expired(machine);
    world.authority.end(world.grant.id, Ending::RefreshExpired);
    for _ in 0..3 {
        let ended = world.codex(["token"]).run().refused(3);
        assert!(ended.err.contains("the refresh token has expired"), "{ended}");
    }
    assert_eq!(world.requests(), 1);
    let status = world.codex(["status", "--json"]).run().expect(3).json();
    assert_eq!((&status["logged_in"], &status["usable"]), (&json!(true), &json!(false)));
    assert_eq!(status["account"]["email"], "person1@example.com", "the account stays visible");

    let again = world.authority.grant(Account::numbered(1));
    world.log_in(&again);
    let ended = world.codex(["token"]).run().expect(0);
    assert_eq!(ended.out.trim_end(), again.tokens.access_token);
    assert_eq!(world.requests(), 1);
}

#[test]
fn auth_refreshes_when_access_token_is_near_expiry() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    world.codex(["token"]).run().expect(0);
    assert_eq!(world.requests(), 1);
}

#[test]
fn returns_fresh_tokens_as_is() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let ended = world.codex(["token"]).run().expect(0);
    assert_eq!((ended.out.trim_end(), world.requests()), (world.grant.tokens.access_token.as_str(), 0));
    assert!(!world.machine.home.file("codex-auth").exists(), "a read makes nothing");
}

#[test]
fn refreshes_token_when_access_token_is_expired() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let ended = world.codex(["token"]).run().expect(0);
    assert_eq!(ended.out.trim_end(), world.stored_token("access_token"));
    assert_eq!(world.requests(), 1);
}

#[test]
fn refresh_token_returns_transient_error_on_server_failure() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.document();
    for (status, code) in [(500, "oops"), (503, "busy"), (429, "slow"), (403, "no"), (404, "gone")] {
        world.authority.script(Endpoint::Refresh, Step::status(status, code));
        let ended = world.codex(["refresh"]).run().refused(4);
        assert!(ended.err.contains(&status.to_string()), "{ended}");
        assert_eq!(world.document(), before, "nothing changed");
    }
    world.codex(["refresh"]).run().expect(0);
}

/// Every permanent error, in every shape that the authority sends.
#[test]
fn refresh_token_returns_permanent_error_in_every_shape() {
    for shape in [ErrorShape::Nested, ErrorShape::Flat, ErrorShape::TopLevel] {
        for (status, code, message) in [
            (401, "refresh_token_expired", "has expired"),
            (400, "refresh_token_expired", "has expired"),
            (401, "refresh_token_invalidated", "was revoked"),
            (400, "invalid_grant", "rejects"),
            (401, "something_else", "rejects"),
        ] {
            let mut machine = Machine::with_file();
            let world = World::fresh(&mut machine);
            world.authority.adjust(|policy| policy.error_shape = shape);
            world.authority.script(Endpoint::Refresh, Step::status(status, code));
            let ended = world.codex(["refresh"]).run().refused(3);
            assert!(
                ended.err.contains(message) && ended.err.contains(code),
                "{status} {code} {shape:?}\n{ended}"
            );
            assert_eq!(world.state()["poison"]["code"], code);
        }
    }
}

#[test]
fn an_unknown_refusal_expires_and_can_be_retried_with_refresh() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::status(401, "something_else"));
    world.codex(["refresh"]).run().refused(3);
    assert!(world.state()["poison"]["until"].is_string());
    world.codex(["token"]).run().refused(3);
    assert_eq!(world.requests(), 1);
    world.codex(["refresh"]).run().expect(0);
    world.codex(["token"]).run().expect(0);
}

#[test]
fn refresh_without_id_token_keeps_the_old_one() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.stored_token("id_token");
    world.authority.script(Endpoint::Refresh, Step::edited("id_token", Edit::Missing));
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.stored_token("id_token"), before);
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}

#[test]
fn a_response_without_a_refresh_token_keeps_the_old_one() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.adjust(|policy| policy.rotation = scripted_authority::Rotation::Keeps);
    let before = world.stored_token("refresh_token");
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.stored_token("refresh_token"), before);
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.requests_with(Outcome::Granted), 2);
}

/// The retry reports that the token was reused. No process has the new token, so only a login helps, and the access
/// token is no longer served.
#[test]
fn a_lost_response_is_retried_once() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::closed_after());
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("did not save the new one"), "{ended}");
    assert_eq!(world.requests(), 2, "one retry in the same lease");
    world.codex(["token"]).run().refused(3);
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_connection_closed_before_the_request_is_retried_once() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::closed_before());
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(
        (world.requests(), Some(world.stored_token("refresh_token"))),
        (2, world.live_refresh_token())
    );
}

#[test]
fn tokens_of_another_account_are_revoked_and_never_stored() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.document();
    world.authority.script(Endpoint::Refresh, Step::edited("id_token", Edit::IssuedTo(Account::numbered(2))));
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("another account"), "{ended}");
    assert_eq!(world.document(), before);
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1);
    assert!(!world.has_rescue());
}

#[test]
fn a_valid_token_is_served_while_the_authority_is_down_and_backs_off() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::status(503, "busy").with_header("Retry-After", "30"));
    for _ in 0..3 {
        let ended = world.codex(["token"]).run().expect(0);
        assert_eq!(ended.out.trim_end(), world.grant.tokens.access_token);
        assert!(ended.err.starts_with("warning: the token could not be refreshed: "), "{ended}");
    }
    assert_eq!(world.requests(), 1, "for every process");
}

#[test]
fn automatic_refreshes_spend_at_most_one_token_per_minute() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    // Tokens last two seconds, so each is stale on arrival.
    world.authority.adjust(|policy| policy.access_lifetime = 2);
    for _ in 0..10 {
        let ended = world.codex(["token", "--min-ttl", "1h"]).run();
        assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
    }
    assert_eq!(world.requests(), 1);
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.requests(), 2, "an explicit refresh is allowed");
}
