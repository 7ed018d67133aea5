//! Logging out: revoked first, and kept if that fails.

use scripted_authority::{Endpoint, Step};
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::World;
use crate::support::{Machine, TestHome, over_both_stores};

over_both_stores![a_logout_revokes_removes_and_tells, a_logout_that_cannot_revoke_keeps_the_login];

/// Upstream: account: logout removes and notifies.
fn a_logout_revokes_removes_and_tells(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::by(world.codex(["app-server"]));
    assert_eq!(client.call("account/logout", Value::Null), json!({}));
    assert_eq!(client.told("account/updated"), json!({"authMode": null, "planType": null}));
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1);
    assert_eq!((world.machine.kept(), world.live()), (None, None));
    assert_eq!(client.call("getAuthStatus", json!({"includeToken": true}))["authMethod"], Value::Null);
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
}

fn a_logout_that_cannot_revoke_keeps_the_login(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.script_always(Endpoint::Revoke, Step::status(503, "busy"));
    let mut client = Client::by(world.codex(["app-server"]));
    let message = client.refused("account/logout", Value::Null, -32603);
    assert!(message.starts_with("failed to log out, and the login is kept: "), "{message}");
    assert_eq!(client.token(), Some(world.kept("access_token")));
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
    world.authority.clear_script();
    client.call("account/logout", Value::Null);
    assert_eq!(world.machine.kept(), None);
}

#[test]
fn logging_out_twice_is_fine() {
    let mut client = Client::of(&TestHome::new());
    for _ in 0..2 {
        client.call("account/logout", json!({}));
        assert_eq!(client.told("account/updated"), json!({"authMode": null, "planType": null}));
    }
}
