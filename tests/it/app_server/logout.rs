//! Logout: the tokens are revoked first, and the login is kept if that fails.

use scripted_authority::{Endpoint, Step};
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::World;
use crate::support::{Machine, TestHome, over_both_stores};

over_both_stores![a_logout_revokes_removes_and_notifies, a_logout_that_cannot_revoke_keeps_the_stored_login];

/// Upstream: account: logout removes and notifies.
fn a_logout_revokes_removes_and_notifies(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    assert_eq!(client.call("account/logout", Value::Null), json!({}));
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": null, "planType": null, "reason": null})
    );
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1);
    assert_eq!((world.machine.stored_text(), world.live_refresh_token()), (None, None));
    assert_eq!(client.call("getAuthStatus", json!({"includeToken": true}))["authMethod"], Value::Null);
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
}

fn a_logout_that_cannot_revoke_keeps_the_stored_login(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.script_always(Endpoint::Revoke, Step::status(503, "busy"));
    let mut client = Client::from_run(world.codex(["app-server"]));
    let message = client.error("account/logout", Value::Null, -32603);
    assert!(message.starts_with("failed to log out, and the login is kept: "), "{message}");
    assert_eq!(client.token(), Some(world.stored_token("access_token")));
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
    world.authority.clear_script();
    client.call("account/logout", Value::Null);
    assert_eq!(world.machine.stored_text(), None);
}

#[test]
fn logging_out_twice_is_fine() {
    let mut client = Client::in_home(&TestHome::new());
    for _ in 0..2 {
        client.call("account/logout", json!({}));
        assert_eq!(
            client.notification("account/updated"),
            json!({"authMode": null, "planType": null, "reason": null})
        );
    }
}
