//! Credentials that cannot be refreshed: tried once, still reported, and replaced by any later login.

use scripted_authority::{Account, Ending, Endpoint, Moment, Step};
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, eventually, over_both_stores};

over_both_stores![a_poisoned_credential_is_tried_once_for_any_number_of_requests];

/// Upstream: getAuthStatus omits token after permanent failure; account/read omitted after permanent failure.
fn a_poisoned_credential_is_tried_once_for_any_number_of_requests(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    let mut client = Client::from_run(world.codex(["app-server"]));
    for _ in 0..1_000 {
        let status = client.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
        assert_eq!(status, json!({"authMethod": "chatgpt", "authToken": null, "requiresOpenaiAuth": true}));
    }
    assert_eq!(world.requests(), 1);
    assert_eq!(client.call("account/read", json!({"refreshToken": true}))["account"], Value::Null);
    // A login by another process replaces it, and is notified.
    let again = world.authority.grant(Account::numbered(1));
    world.log_in(&again);
    eventually("the new token", || client.token().as_deref() == Some(again.tokens.access_token.as_str()));
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "chatgpt", "planType": "plus", "reason": null})
    );
    assert_eq!(client.call("account/read", json!({}))["account"]["type"], "chatgpt");
    assert_eq!(world.requests(), 1);
}

/// Upstream: getAuthStatus omits token after proactive failure (there with two calls).
#[test]
fn a_permanent_refresh_failure_of_a_stale_token_is_not_repeated() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    world.authority.end(world.grant.id, Ending::RefreshExpired);
    let mut client = Client::from_run(world.codex(["app-server"]));
    for _ in 0..20 {
        assert_eq!(client.token(), None);
    }
    assert_eq!(world.requests(), 1);
    let mut other = Client::from_run(world.codex(["app-server"]));
    assert_eq!((other.new_token(), world.requests()), (Value::Null, 1));
}

/// Upstream: getAuthStatus returns token after recovery.
#[test]
fn a_transient_failure_keeps_the_token_and_the_next_refresh_succeeds() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::status(503, "busy"));
    let mut client = Client::from_run(world.codex(["app-server"]));
    assert_eq!(client.new_token(), world.grant.tokens.access_token);
    assert_eq!(client.new_token(), world.stored_token("access_token"));
    assert_ne!(world.stored_token("access_token"), world.grant.tokens.access_token);
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_stale_token_is_served_without_further_requests_while_it_is_valid() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    world.authority.script_always(Endpoint::Refresh, Step::status(503, "busy"));
    let mut client = Client::from_run(world.codex(["app-server"]));
    for _ in 0..50 {
        assert_eq!(client.token().as_deref(), Some(world.grant.tokens.access_token.as_str()));
    }
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_server_killed_during_a_refresh_loses_no_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let mut client = Client::from_run(world.codex(["app-server"]));
    client.send_request("getAuthStatus", json!({"refreshToken": true}));
    hold.arrived(TEST_TIMEOUT).unwrap();
    // Dropping kills it.
    drop(client);
    hold.release();
    eventually("the child to commit", || {
        Some(world.stored_token("refresh_token")) == world.live_refresh_token()
    });
    assert_eq!(
        Client::from_run(world.codex(["app-server"])).token(),
        Some(world.stored_token("access_token"))
    );
    assert_eq!(world.requests(), 1);
}
