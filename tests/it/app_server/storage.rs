//! Changes of the login by other processes are notified to the client.

use scripted_authority::Account;
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::World;
use crate::support::{Machine, TestHome, over_both_stores};

over_both_stores![a_change_by_another_process_is_notified_once];

fn a_change_by_another_process_is_notified_once(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
    world.codex(["logout"]).run().expect(0);
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": null, "planType": null, "reason": null})
    );
    assert_eq!(client.call("account/read", json!({}))["account"], Value::Null);
    world.codex(["login", "--with-api-key"]).input("sk-other").run().expect(0);
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "apikey", "planType": null, "reason": null})
    );
    assert_eq!(client.token().as_deref(), Some("sk-other"));
    world.codex(["refresh"]).run();
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
}

#[test]
fn a_refresh_and_another_login_by_another_process_are_notified() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    client.token();
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "chatgpt", "planType": "plus", "reason": null})
    );
    assert_eq!(client.token(), Some(world.stored_token("access_token")));
    let other = world.authority.grant(Account::numbered(2));
    world.machine.store_text(other.auth_json());
    client.notification("account/updated");
    assert_eq!(client.token(), Some(other.tokens.access_token));
}

#[test]
fn a_refresh_that_the_client_requested_is_not_notified() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let token = client.new_token();
    assert_eq!(token, world.stored_token("access_token"));
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
}

#[test]
fn notifications_that_the_client_opted_out_of_are_not_sent() {
    let home = TestHome::new();
    let capabilities = json!({"optOutNotificationMethods": ["account/updated"]});
    let mut client = Client::initialized_with(home.codex(["app-server"]).into_command(), &capabilities);
    client.call("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"}));
    assert_eq!(client.notification("account/login/completed")["success"], true);
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
}

/// The pipe and then the queue fill up with responses; the login is still watched.
#[test]
fn a_client_that_stops_reading_does_not_stop_the_watcher() {
    let home = TestHome::new();
    let mut client = Client::in_home(&home);
    client.stop_reading();
    // More than a pipe and every queue can hold.
    for _ in 0..20_000 {
        client.send_request("getAuthStatus", json!({}));
    }
    home.codex(["login", "--with-api-key"]).input("sk-other").run().expect(0);
    client.resume_reading();
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "apikey", "planType": null, "reason": null})
    );
    assert_eq!(client.token().as_deref(), Some("sk-other"));
}
