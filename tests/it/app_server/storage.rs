//! What other processes do to the login is told to the client without its asking.

use scripted_authority::Account;
use serde_json::{Value, json};

use super::client::Client;
use crate::manager::world::World;
use crate::support::{Machine, TestHome, over_both_stores};

over_both_stores![a_change_by_another_process_is_told_once];

fn a_change_by_another_process_is_told_once(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::by(world.codex(["app-server"]));
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
    world.codex(["logout"]).run().expect(0);
    assert_eq!(client.told("account/updated"), json!({"authMode": null, "planType": null}));
    assert_eq!(client.call("account/read", json!({}))["account"], Value::Null);
    world.codex(["login", "--with-api-key"]).input("sk-other").run().expect(0);
    assert_eq!(client.told("account/updated"), json!({"authMode": "apikey", "planType": null}));
    assert_eq!(client.token().as_deref(), Some("sk-other"));
    world.codex(["refresh"]).run();
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
}

#[test]
fn a_refresh_and_another_account_by_another_process_are_told() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::by(world.codex(["app-server"]));
    client.token();
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(client.told("account/updated"), json!({"authMode": "chatgpt", "planType": "plus"}));
    assert_eq!(client.token(), Some(world.kept("access_token")));
    let other = world.authority.grant(Account::numbered(2));
    world.machine.keep(other.auth_json());
    client.told("account/updated");
    assert_eq!(client.token(), Some(other.tokens.access_token));
}

#[test]
fn what_a_client_has_asked_for_itself_is_not_told_as_news() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::by(world.codex(["app-server"]));
    let token = client.new_token();
    assert_eq!(token, world.kept("access_token"));
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
}

#[test]
fn a_client_that_does_not_want_to_hear_of_it_does_not() {
    let home = TestHome::new();
    let capabilities = json!({"optOutNotificationMethods": ["account/updated"]});
    let mut client = Client::introduced_with(home.codex(["app-server"]).into_command(), &capabilities);
    client.call("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"}));
    assert_eq!(client.told("account/login/completed")["success"], true);
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
}

/// The pipe holds what nobody reads, and then the answers wait; the login is followed all the same.
#[test]
fn a_client_that_stops_reading_does_not_stop_the_watcher() {
    let home = TestHome::new();
    let mut client = Client::of(&home);
    client.stop_reading();
    // More than a pipe and every queue on the way hold.
    for _ in 0..20_000 {
        client.ask("getAuthStatus", json!({}));
    }
    home.codex(["login", "--with-api-key"]).input("sk-other").run().expect(0);
    client.read_again();
    assert_eq!(client.told("account/updated"), json!({"authMode": "apikey", "planType": null}));
    assert_eq!(client.token().as_deref(), Some("sk-other"));
}
