//! What other programs do is seen on the screen.

use std::fs;

use scripted_authority::Account;

use super::{USUAL, assert_no_secret, dashboard, start};
use crate::accounts;
use crate::login::world::World;
use crate::support::{Machine, chatgpt, now};

#[test]
fn logins_refreshes_and_logouts_by_other_programs_appear() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let screen = dashboard(&world);
    screen.shows("logged out");
    // By a program that records nothing, as Codex does.
    let grant = world.authority.grant(Account::numbered(1));
    world.machine.store_text(grant.auth_json());
    screen.shows("login             person1@example.com · by another program");
    screen.shows("usable");
    // By another process of this program.
    world.codex(["refresh"]).run().expect(0);
    screen.shows("refreshed         ");
    fs::remove_file(world.machine.home.document()).unwrap();
    screen.shows("logout            by another program");
    screen.shows("logged out");
    assert_no_secret(&world, &screen);
}

#[test]
fn a_poisoned_login_says_why_and_what_to_do() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let grant = world.log_in(1);
    let screen = dashboard(&world);
    world.authority.end(grant.id, scripted_authority::Ending::WholeGrant);
    world.codex(["refresh"]).run().expect(3);
    screen.shows("state      poisoned: the refresh token was revoked");
    screen.shows("hint       log in again: /login");
    screen.shows("poisoned          ");
}

#[test]
fn accounts_appear_and_the_active_one_is_marked() {
    let world = accounts::world::World::with(&["work", "old"]);
    let screen = start(world.run(["top"]), USUAL);
    screen.shows("work *");
    world.run(["account", "use", "old"]).run().expect(0);
    screen.shows("old *");
    world.run(["account", "remove", "--local", "work"]).run().expect(0);
    screen.shows_no("person1@example.com");
}

#[test]
fn text_of_a_server_cannot_steer_the_terminal() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let document = chatgpt("acct-1", "rt-of-the-test", now(), now() + 3600);
    let mut document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let hostile = "eve\u{1b}]0;title\u{7}\u{1b}[2J\u{202e}@example.com";
    document["tokens"]["id_token"] = crate::support::jwt(&serde_json::json!({"email": hostile})).into();
    world.machine.store_text(document.to_string());
    let screen = dashboard(&world);
    screen.shows("eve]0;title[2J@example.com");
    assert!(screen.text().contains("codex top"));
}
