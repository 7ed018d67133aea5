//! The order of answers: as the requests came, but no answer waits for one that waits for another process.

use std::time::{Duration, Instant};

use codex_auth::Lease;
use scripted_authority::{Account, DeviceFlow, Endpoint, Pacing};
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::{PATIENCE, World};
use crate::support::Machine;

/// Far less than the minute for which the lease is waited for.
const SOON: Duration = Duration::from_secs(15);

/// That the account can be read, three times, while the lease is held.
#[track_caller]
fn account_is_read_soon(client: &mut Client, account: &Value) {
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.call("account/read", json!({}))["account"], *account);
        client.call("getAuthStatus", json!({"includeToken": true}));
    }
    let took = begun.elapsed();
    println!("six answers after {took:.1?}");
    assert!(took < SOON, "{took:?}");
}

#[test]
fn the_account_is_read_while_a_login_a_logout_or_a_refresh_waits_for_another_process() {
    for (method, params) in [
        ("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"})),
        ("account/logout", Value::Null),
        ("getAuthStatus", json!({"includeToken": true, "refreshToken": true})),
    ] {
        println!("{method}");
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let mut client = Client::by(world.codex(["app-server"]));
        client.token();
        let account = client.call("account/read", json!({}))["account"].take();
        let lease = Lease::acquire(&world.machine.home.home(), PATIENCE, |_| {}).unwrap();
        let waits = client.ask(method, params);
        account_is_read_soon(&mut client, &account);
        drop(lease);
        let answer = client.answer(waits);
        assert!(answer.get("error").is_none(), "{answer}");
    }
}

#[test]
fn the_account_is_read_while_a_login_that_a_person_completed_waits_for_another_process() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.visit_as(Account::numbered(1));
    world.authority.adjust(|policy| (policy.device, policy.pacing) = (DeviceFlow::Approves, Pacing::Ignored));
    let server = world.codex(["app-server"]).env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url());
    let mut client = Client::by(server);
    let account = client.call("account/read", json!({}))["account"].take();
    let before = world.kept("access_token");
    let lease = Lease::acquire(&world.machine.home.home(), PATIENCE, |_| {}).unwrap();
    let begun = client.call("account/login/start", json!({"type": "chatgptDeviceCode"}));
    // The person is done at once, and then the login waits for the lease.
    let granted = |entry: &scripted_authority::Entry| entry.endpoint == Endpoint::Exchange;
    world.authority.wait_for_entry(PATIENCE, granted).unwrap();
    account_is_read_soon(&mut client, &account);
    assert_eq!(world.kept("access_token"), before);
    drop(lease);
    let completed = client.told("account/login/completed");
    assert_eq!((&completed["success"], &completed["loginId"]), (&true.into(), &begun["loginId"]));
    client.told("account/updated");
    assert_ne!(world.kept("access_token"), before);
}

/// A client need not wait for an answer before it asks what depends on it.
#[test]
fn what_is_asked_after_a_change_is_answered_as_of_after_it() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::by(world.codex(["app-server"]));
    for round in 0..20 {
        let key = format!("sk-{round}");
        let login = client.ask("account/login/start", json!({"type": "apiKey", "apiKey": key}));
        let read = client.ask("getAuthStatus", json!({"includeToken": true}));
        let logout = client.ask("account/logout", Value::Null);
        let after = client.ask("getAuthStatus", json!({"includeToken": true}));
        assert!(client.answer(login).get("error").is_none());
        assert_eq!(client.answer(read)["result"]["authToken"], *key);
        assert!(client.answer(logout).get("error").is_none());
        assert_eq!(client.answer(after)["result"]["authToken"], Value::Null);
    }
}
