//! Logins that a client starts: one at a time, stored as by `codex login`, and announced.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use codex_auth::Lease;
use codex_auth::store::holder;
use scripted_authority::{Decision, DeviceFlow, Endpoint, Moment, TokenState};
use serde_json::{Value, json};

use super::client::Client;
use crate::login::world::{TEST_TIMEOUT, World};
use crate::support::{Flock, Machine, eventually, here, in_private_network, over_both_stores};

over_both_stores![an_api_key_is_stored_and_announced, a_device_login_shows_its_code_and_is_announced];

fn start(client: &mut Client, way: &str) -> Value {
    client.call("account/login/start", json!({"type": way}))
}

/// Upstream: API-key login succeeds and notifies.
fn an_api_key_is_stored_and_announced(machine: &mut Machine) {
    let world = World::new(machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let key = json!({"type": "apiKey", "apiKey": " sk-1\n"});
    assert_eq!(client.call("account/login/start", key), json!({"type": "apiKey"}));
    let completed = client.notification("account/login/completed");
    assert_eq!((&completed["success"], &completed["loginId"]), (&true.into(), &Value::Null));
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "apikey", "planType": null, "reason": null})
    );
    assert_eq!(world.document()["OPENAI_API_KEY"], "sk-1");
    assert_eq!(client.token().as_deref(), Some("sk-1"));
    // Codex accepts any text too.
    for (key, stored) in [("", ""), ("  ", ""), ("two words", "two words")] {
        client.call("account/login/start", json!({"type": "apiKey", "apiKey": key}));
        assert_eq!(world.document()["OPENAI_API_KEY"], stored);
        assert_eq!(client.token().unwrap_or_default(), stored);
    }
}

/// Upstream: device code succeeds.
fn a_device_login_shows_its_code_and_is_announced(machine: &mut Machine) {
    let world = World::new(machine);
    let old = world.log_in(1);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let started = start(&mut client, "chatgptDeviceCode");
    assert!(started["verificationUrl"].as_str().unwrap().starts_with(world.authority.url()), "{started}");
    assert!(world.authority.decide_device(started["userCode"].as_str().unwrap(), Decision::Approved));
    let completed = client.notification("account/login/completed");
    assert_eq!((&completed["loginId"], &completed["error"]), (&started["loginId"], &Value::Null));
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "chatgpt", "planType": "plus", "reason": null})
    );
    assert_eq!(client.token(), Some(world.stored_token("access_token")));
    // The login that it replaced was revoked.
    eventually("the old token to end", || world.state_of(&old.tokens.refresh_token) != TokenState::Live);
}

/// Upstream: device code fails without account update; device code disabled.
#[test]
fn a_failed_device_login_changes_nothing() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let old = world.log_in(1);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let started = start(&mut client, "chatgptDeviceCode");
    assert!(world.authority.decide_device(started["userCode"].as_str().unwrap(), Decision::Denied));
    let completed = client.notification("account/login/completed");
    assert_eq!((&completed["success"], &completed["loginId"]), (&false.into(), &started["loginId"]));
    assert!(completed["error"].is_string());
    assert_eq!(client.token(), Some(old.tokens.access_token));
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
    let disabled = scripted_authority::Step::body(404, "text/plain", "");
    world.authority.script(Endpoint::DeviceCode, disabled);
    client.error("account/login/start", json!({"type": "chatgptDeviceCode"}), -32600);
}

/// Upstream: device code cancelled.
#[test]
fn a_cancelled_login_is_announced_once() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let id = start(&mut client, "chatgptDeviceCode")["loginId"].take();
    assert_eq!(client.call("account/login/cancel", json!({"loginId": id})), json!({"status": "canceled"}));
    let completed = client.notification("account/login/completed");
    assert_eq!(
        (&completed["success"], &completed["loginId"], &completed["error"]),
        (&false.into(), &id, &"Login was not completed".into())
    );
    assert_eq!(client.call("account/login/cancel", json!({"loginId": id})), json!({"status": "notFound"}));
    assert_eq!(client.notifications_so_far("account/login/completed"), Vec::<Value>::new());
}

/// Upstream: external tokens cancel an active login; `login_server_cancels_previous`.
#[test]
fn a_new_login_cancels_the_one_before() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let first = start(&mut client, "chatgptDeviceCode")["loginId"].take();
    let second = start(&mut client, "chatgptDeviceCode")["loginId"].take();
    assert_eq!(client.notification("account/login/completed")["loginId"], first);
    client.call("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"}));
    assert_eq!(client.notification("account/login/completed")["loginId"], second);
    assert_eq!(client.notification("account/login/completed")["loginId"], Value::Null);
    let third = start(&mut client, "chatgptDeviceCode")["loginId"].take();
    client.call("account/logout", Value::Null);
    assert_eq!(client.notification("account/login/completed")["loginId"], third);
}

/// Upstream: browser login; workspace query param / list; `end_to_end_login_flow`.
#[test]
fn a_browser_login_is_stored_and_announced() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        world.machine.home.write("config.toml", "forced_chatgpt_workspace_id = [\"acct-1\", \"ws-2\"]\n");
        let mut client = Client::from_run(world.codex(["app-server"]));
        let started = start(&mut client, "chatgpt");
        let url = started["authUrl"].as_str().unwrap();
        assert!(url.contains("allowed_workspace_id=acct-1%2Cws-2"), "{url}");
        let back = visit(url);
        assert_eq!(visit(&back), "/success");
        let completed = client.notification("account/login/completed");
        assert_eq!((&completed["loginId"], &completed["error"]), (&started["loginId"], &Value::Null));
        assert_eq!(
            client.notification("account/updated"),
            json!({"authMode": "chatgpt", "planType": "plus", "reason": null})
        );
        assert_eq!(client.token(), Some(world.stored_token("access_token")));
    });
}

/// Upstream: browser login cancelled.
#[test]
fn a_browser_login_that_is_cancelled_frees_its_port() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut client = Client::from_run(world.codex(["app-server"]));
        for _ in 0..3 {
            let started = start(&mut client, "chatgpt");
            assert!(started["authUrl"].as_str().unwrap().contains("127.0.0.1%3A1455"), "{started}");
            client.call("account/login/cancel", json!({"loginId": started["loginId"]}));
            let error = client.notification("account/login/completed")["error"].take();
            assert_eq!(error, "Login server error: Login was not completed");
        }
        let started = start(&mut client, "chatgpt");
        assert_eq!(client.end(), Some(0), "{started}");
        assert!(TcpStream::connect("127.0.0.1:1455").is_err(), "the end of the conversation cancels a login");
    });
}

#[test]
fn a_device_login_that_is_cancelled_during_the_exchange_is_revoked() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let mut client = Client::from_run(world.codex(["app-server"]));
    for (grants, moment) in [(1, Moment::Before), (2, Moment::After)] {
        let hold = world.authority.hold(Endpoint::Exchange, moment);
        let id = start(&mut client, "chatgptDeviceCode")["loginId"].take();
        hold.arrived(TEST_TIMEOUT).unwrap();
        cancel(&mut client, &id);
        hold.release();
        eventually("the tokens to be revoked", || {
            world.requests(Endpoint::Revoke) == grants && world.live_grants() == 0
        });
    }
    assert!(world.machine.stored_text().is_none());
}

#[test]
fn a_browser_login_that_is_cancelled_during_the_exchange_is_revoked() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::new(&mut machine);
        let mut client = Client::from_run(world.codex(["app-server"]));
        let hold = world.authority.hold(Endpoint::Exchange, Moment::After);
        let started = start(&mut client, "chatgpt");
        let back = visit(started["authUrl"].as_str().unwrap());
        // The connection will be closed.
        let browser = std::thread::spawn(move || std::panic::catch_unwind(|| visit(&back)));
        hold.arrived(TEST_TIMEOUT).unwrap();
        cancel(&mut client, &started["loginId"]);
        hold.release();
        eventually("the tokens to be revoked", || {
            world.requests(Endpoint::Revoke) == 1 && world.live_grants() == 0
        });
        assert!(world.machine.stored_text().is_none());
        let _ = browser.join();
    });
}

#[test]
fn the_end_of_the_conversation_waits_for_revocations() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let exchange = world.authority.hold(Endpoint::Exchange, Moment::After);
    let revocation = world.authority.hold(Endpoint::Revoke, Moment::Before);
    start(&mut client, "chatgptDeviceCode");
    exchange.arrived(TEST_TIMEOUT).unwrap();
    client.close_input();
    assert_eq!(client.notification("account/login/completed")["success"], false);
    std::thread::scope(|scope| {
        let server = scope.spawn(move || client.end());
        exchange.release();
        revocation.arrived(TEST_TIMEOUT).unwrap();
        assert!(!server.is_finished());
        revocation.release();
        assert_eq!(server.join().unwrap(), Some(0));
    });
    assert_eq!((world.live_grants(), world.requests(Endpoint::Revoke)), (0, 1));
}

#[test]
fn a_login_cancelled_while_it_waits_for_the_lease_is_not_stored() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let lease = Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| ()).unwrap();
    let id = start(&mut client, "chatgptDeviceCode")["loginId"].take();
    world.authority.wait_for_requests(Endpoint::DevicePoll, 1, TEST_TIMEOUT).unwrap();
    cancel(&mut client, &id);
    assert_eq!(client.end(), Some(0));
    drop(lease);
    assert_eq!(world.requests(Endpoint::Exchange), 0);
    assert!(world.machine.stored_text().is_none());
}

#[test]
fn a_login_cancelled_while_it_waits_for_auth_lock_is_not_stored() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let lock = Flock::hold(&world.machine.home.file("auth.lock"));
    let id = start(&mut client, "chatgptDeviceCode")["loginId"].take();
    eventually("the lease", || holder(&world.machine.home.home()).is_some());
    cancel(&mut client, &id);
    eventually("the tokens to be revoked", || world.live_grants() == 0);
    drop(lock);
    assert_eq!(client.end(), Some(0));
    assert!(world.machine.stored_text().is_none());
}

#[test]
fn a_login_whose_commit_has_begun_cannot_be_cancelled() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let mut client = Client::from_run(world.codex(["app-server"]));
    // The second of Codex's commit locks: the program holds the first once the commit has begun, and waits for this
    // one.
    let commit = Flock::hold(&world.machine.home.file("auth.json.lock"));
    let id = start(&mut client, "chatgptDeviceCode")["loginId"].take();
    let first = world.machine.home.file("auth.lock");
    eventually("the commit to begin", || first.exists() && !Flock::is_free(&first));
    assert_eq!(client.call("account/login/cancel", json!({"loginId": id})), json!({"status": "notFound"}));
    drop(commit);
    let completed = client.notification("account/login/completed");
    assert_eq!((&completed["loginId"], &completed["error"]), (&id, &Value::Null));
    assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live);
    assert_eq!((world.live_grants(), world.requests(Endpoint::Revoke)), (1, 0));
}

#[test]
fn a_login_checks_the_store_first_and_completes_a_refresh_that_was_killed() {
    let mut machine = Machine::with_file();
    let world = World::new(&mut machine);
    let old = world.log_in(1);
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let rescued = world.authority.live_refresh_token(old.id).unwrap();
    assert_ne!(rescued, old.tokens.refresh_token);
    world.authority.adjust(|policy| policy.device = DeviceFlow::Approves);
    let mut client = Client::from_run(world.codex(["app-server"]));

    let (lock, moved) =
        (world.machine.home.file("codex-auth/refresh.lock"), world.machine.home.file("moved"));
    fs::rename(&lock, &moved).unwrap();
    fs::create_dir(&lock).unwrap();
    client.error("account/login/start", json!({"type": "chatgptDeviceCode"}), -32603);
    assert_eq!(world.requests(Endpoint::DeviceCode), 0, "the store is checked before the user is asked");
    fs::remove_dir(&lock).unwrap();
    fs::rename(&moved, &lock).unwrap();

    let started = start(&mut client, "chatgptDeviceCode");
    let completed = client.notification("account/login/completed");
    assert_eq!((&completed["loginId"], &completed["error"]), (&started["loginId"], &Value::Null));
    eventually("the rescued token to end", || world.state_of(&rescued) != TokenState::Live);
    assert_eq!((world.live_grants(), client.end()), (1, Some(0)));
    assert_eq!(world.state_of(&world.stored_token("refresh_token")), TokenState::Live);
    assert!(!world.machine.home.file("codex-auth/rescue").exists());
}

fn cancel(client: &mut Client, id: &Value) {
    let cancelled = client.call("account/login/cancel", json!({"loginId": id}));
    assert_eq!(cancelled, json!({"status": "canceled"}));
    let completed = client.notification("account/login/completed");
    assert_eq!((&completed["success"], &completed["loginId"]), (&false.into(), id));
}

/// Requests a URL as a browser does, and returns the target of a redirect.
fn visit(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let location = response.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    location.unwrap_or_default()
}
