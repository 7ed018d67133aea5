//! Every answer of an authority, and what is done with it; upstream's own cases by their names.

use scripted_authority::{Account, Edit, Ending, Endpoint, ErrorShape, Outcome, Step};
use serde_json::json;

use super::world::{World, merged, post};
use crate::support::{Machine, over_both_stores};

over_both_stores!(
    refresh_token_succeeds_updates_storage,
    refresh_token_skips_refresh_when_auth_changed,
    a_dead_credential_is_tried_once_and_healed_by_a_login,
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
    assert_eq!(Some(world.kept("refresh_token")), world.live());
    assert_eq!((world.requests(), world.has_rescue()), (1, false));
    let state = world.state();
    assert_eq!(state["outcome"]["ending"], "committed");
    assert_eq!(state["spent"].as_array().unwrap().len(), 1);
}

/// What another program stored is taken over without a request.
fn refresh_token_skips_refresh_when_auth_changed(machine: &mut Machine) {
    let world = World::expired(machine);
    let answer = post(&world.authority, &world.grant.tokens.refresh_token);
    let document = merged(&world.machine.kept().unwrap(), &answer);
    world.machine.keep(document);
    let ended = world.codex(["token"]).run().expect(0);
    assert_eq!(Some(ended.out.trim_end()), answer["access_token"].as_str());
    assert_eq!(world.requests(), 1, "only the other program's own");
}

fn a_dead_credential_is_tried_once_and_healed_by_a_login(machine: &mut Machine) {
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
    assert_eq!(ended.out.trim_end(), world.kept("access_token"));
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

/// Every row of the table in `codex-behaviour.md` 3.5 that is final, in every shape of an error.
#[test]
fn refresh_token_returns_permanent_error_in_every_shape() {
    for shape in [ErrorShape::Nested, ErrorShape::Flat, ErrorShape::TopLevel] {
        for (status, code, told) in [
            (401, "refresh_token_expired", "has expired"),
            (400, "refresh_token_expired", "has expired"),
            (401, "refresh_token_invalidated", "was revoked"),
            (400, "invalid_grant", "refuses"),
            (401, "something_else", "refuses"),
        ] {
            let mut machine = Machine::with_file();
            let world = World::fresh(&mut machine);
            world.authority.adjust(|policy| policy.error_shape = shape);
            world.authority.script(Endpoint::Refresh, Step::status(status, code));
            let ended = world.codex(["refresh"]).run().refused(3);
            assert!(
                ended.err.contains(told) && ended.err.contains(code),
                "{status} {code} {shape:?}\n{ended}"
            );
            assert_eq!(world.state()["poison"]["code"], code);
        }
    }
}

#[test]
fn an_unnamed_refusal_passes_and_may_be_asked_again_by_hand() {
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
    let before = world.kept("id_token");
    world.authority.script(Endpoint::Refresh, Step::edited("id_token", Edit::Missing));
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.kept("id_token"), before);
    assert_eq!(Some(world.kept("refresh_token")), world.live());
}

#[test]
fn an_answer_without_a_new_refresh_token_keeps_the_old_one_alive() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.adjust(|policy| policy.rotation = scripted_authority::Rotation::Keeps);
    let before = world.kept("refresh_token");
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.kept("refresh_token"), before);
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.ended(Outcome::Granted), 2);
}

/// The answer was lost, so the token may be spent. The retry says that it is, nobody has the successor, and only a new
/// login helps; the access token is not given out any more.
#[test]
fn an_answer_that_is_lost_is_asked_for_once_more_and_then_given_up() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::closed_after());
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("did not save its successor"), "{ended}");
    assert_eq!(world.requests(), 2, "one retry in the same lease");
    world.codex(["token"]).run().refused(3);
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_connection_that_breaks_before_anything_happened_is_tried_once_more() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::closed_before());
    world.codex(["refresh"]).run().expect(0);
    assert_eq!((world.requests(), Some(world.kept("refresh_token"))), (2, world.live()));
}

#[test]
fn tokens_of_another_account_are_taken_back_and_never_stored() {
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
fn a_live_token_is_served_while_the_authority_is_down_and_left_alone_meanwhile() {
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
fn automatic_reasons_spend_one_token_a_minute_at_most() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    // Every token that is given lives for two seconds, so each is stale as soon as it is there.
    world.authority.adjust(|policy| policy.access_lifetime = 2);
    for _ in 0..10 {
        let ended = world.codex(["token", "--min-ttl", "1h"]).run();
        assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
    }
    assert_eq!(world.requests(), 1);
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.requests(), 2, "a person may");
}
