//! A credential that is dead or cannot be refreshed: asked for once, visible still, and healed by a login anywhere.

use scripted_authority::{Account, Ending, Endpoint, Moment, Step};
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::{PATIENCE, World};
use crate::support::{Machine, eventually, over_both_stores};

over_both_stores![a_dead_credential_is_tried_once_however_often_a_client_asks];

/// Upstream: getAuthStatus omits token after permanent failure; account/read omitted after permanent failure.
fn a_dead_credential_is_tried_once_however_often_a_client_asks(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    let mut client = Client::by(world.codex(["app-server"]));
    for _ in 0..1_000 {
        let status = client.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
        assert_eq!(status, json!({"authMethod": "chatgpt", "authToken": null, "requiresOpenaiAuth": true}));
    }
    assert_eq!(world.requests(), 1);
    assert_eq!(client.call("account/read", json!({"refreshToken": true}))["account"], Value::Null);
    // A login by another process heals it, and is announced.
    let again = world.authority.grant(Account::numbered(1));
    world.log_in(&again);
    eventually("the new token", || client.token().as_deref() == Some(again.tokens.access_token.as_str()));
    assert_eq!(client.told("account/updated"), json!({"authMode": "chatgpt", "planType": "plus"}));
    assert_eq!(client.call("account/read", json!({}))["account"]["type"], "chatgpt");
    assert_eq!(world.requests(), 1);
}

/// Upstream: getAuthStatus omits token after proactive failure (there with two calls).
#[test]
fn a_stale_token_that_cannot_be_refreshed_for_good_is_tried_once() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    world.authority.end(world.grant.id, Ending::RefreshExpired);
    let mut client = Client::by(world.codex(["app-server"]));
    for _ in 0..20 {
        assert_eq!(client.token(), None);
    }
    assert_eq!(world.requests(), 1);
    let mut other = Client::by(world.codex(["app-server"]));
    assert_eq!((other.new_token(), world.requests()), (Value::Null, 1));
}

/// Upstream: getAuthStatus returns token after recovery.
#[test]
fn a_failure_that_passes_leaves_the_token_and_is_followed_by_a_new_one() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::status(503, "busy"));
    let mut client = Client::by(world.codex(["app-server"]));
    assert_eq!(client.new_token(), world.grant.tokens.access_token);
    assert_eq!(client.new_token(), world.kept("access_token"));
    assert_ne!(world.kept("access_token"), world.grant.tokens.access_token);
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_stale_token_is_served_while_it_lives_and_its_authority_is_left_alone() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    world.authority.script_always(Endpoint::Refresh, Step::status(503, "busy"));
    let mut client = Client::by(world.codex(["app-server"]));
    for _ in 0..50 {
        assert_eq!(client.token().as_deref(), Some(world.grant.tokens.access_token.as_str()));
    }
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_server_that_is_killed_while_it_refreshes_loses_nothing() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let mut client = Client::by(world.codex(["app-server"]));
    client.ask("getAuthStatus", json!({"refreshToken": true}));
    hold.arrived(PATIENCE).unwrap();
    // Dropping it kills it.
    drop(client);
    hold.release();
    eventually("the child to commit", || Some(world.kept("refresh_token")) == world.live());
    assert_eq!(Client::by(world.codex(["app-server"])).token(), Some(world.kept("access_token")));
    assert_eq!(world.requests(), 1);
}
