//! The order of responses: that of the requests, except that no response waits for one that waits for another process.

use std::time::{Duration, Instant};

use codex_auth::Lease;
use scripted_authority::{Account, DeviceFlow, Endpoint, Pacing};
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::Machine;

/// Far less than the lock timeout of a minute.
const SOON: Duration = Duration::from_secs(15);

/// Checks that the account can be read three times while the lease is held.
#[track_caller]
fn account_is_read_soon(client: &mut Client, account: &Value) {
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.call("account/read", json!({}))["account"], *account);
        client.call("getAuthStatus", json!({"includeToken": true}));
    }
    let took = started.elapsed();
    println!("six responses after {took:.1?}");
    assert!(took < SOON, "{took:?}");
}

#[test]
fn the_account_can_be_read_while_another_request_waits_for_a_lock() {
    for (method, params) in [
        ("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"})),
        ("account/logout", Value::Null),
        ("getAuthStatus", json!({"includeToken": true, "refreshToken": true})),
    ] {
        println!("{method}");
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let mut client = Client::from_run(world.codex(["app-server"]));
        client.token();
        let account = client.call("account/read", json!({}))["account"].take();
        let lease = Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| {}).unwrap();
        let waits = client.send_request(method, params);
        account_is_read_soon(&mut client, &account);
        drop(lease);
        let response = client.response(waits);
        assert!(response.get("error").is_none(), "{response}");
    }
}

#[test]
fn the_account_can_be_read_while_a_completed_login_waits_for_a_lock() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.visit_as(Account::numbered(1));
    world.authority.adjust(|policy| (policy.device, policy.pacing) = (DeviceFlow::Approves, Pacing::Ignored));
    let server = world.codex(["app-server"]).env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url());
    let mut client = Client::from_run(server);
    let account = client.call("account/read", json!({}))["account"].take();
    let before = world.stored_token("access_token");
    let lease = Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| {}).unwrap();
    let started = client.call("account/login/start", json!({"type": "chatgptDeviceCode"}));
    // The person approves the login at once, and then it waits for the lease.
    let approved = |entry: &scripted_authority::Entry| entry.endpoint == Endpoint::DevicePoll;
    world.authority.wait_for_entry(TEST_TIMEOUT, approved).unwrap();
    account_is_read_soon(&mut client, &account);
    assert_eq!(world.stored_token("access_token"), before);
    drop(lease);
    let completed = client.notification("account/login/completed");
    assert_eq!((&completed["success"], &completed["loginId"]), (&true.into(), &started["loginId"]));
    client.notification("account/updated");
    assert_ne!(world.stored_token("access_token"), before);
}

/// A client need not wait for a response before it sends a request that depends on it.
#[test]
fn requests_sent_after_a_change_see_its_effect() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    for round in 0..20 {
        let key = format!("sk-{round}");
        let login = client.send_request("account/login/start", json!({"type": "apiKey", "apiKey": key}));
        let read = client.send_request("getAuthStatus", json!({"includeToken": true}));
        let logout = client.send_request("account/logout", Value::Null);
        let after = client.send_request("getAuthStatus", json!({"includeToken": true}));
        assert!(client.response(login).get("error").is_none());
        assert_eq!(client.response(read)["result"]["authToken"], *key);
        assert!(client.response(logout).get("error").is_none());
        assert_eq!(client.response(after)["result"]["authToken"], Value::Null);
    }
}
