//! The slash commands, from the keys to the authority.

use scripted_authority::{DeviceFlow, Endpoint, Pacing, Step, TokenState};

use super::{USUAL, assert_no_secret, dashboard, enter, start};
use crate::accounts;
use crate::login::world::World;
use crate::support::{Machine, Screen, eventually};

#[test]
fn a_logout_asks_revokes_and_removes_with_the_words_of_the_command() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let grant = world.log_in(1);
    let screen = dashboard(&world);
    // The beginning is enough; Tab completes it.
    screen.types("/logo");
    screen.shows("Log out: revoke the tokens and remove the login");
    screen.press("Tab");
    screen.shows("> /logout");
    screen.press("Enter");
    screen.shows("Log out of person1@example.com (plus)? Its tokens are revoked");
    screen.press("n");
    screen.shows("not confirmed; nothing was changed");
    assert_eq!(world.authority.state_of(&grant.tokens.refresh_token), TokenState::Live);

    enter(&screen, "/logout");
    screen.shows("Log out of person1@example.com");
    screen.press("y");
    screen.shows("removed the login from the file store");
    screen.shows("logged out");
    screen.shows("hint");
    assert_eq!(world.authority.state_of(&grant.tokens.refresh_token), TokenState::Revoked);
    assert_eq!(world.machine.stored_text(), None);
    assert_no_secret(&world, &screen);
    enter(&screen, "/quit");
    screen.shows("exit code 0");
}

#[test]
fn a_logout_that_cannot_revoke_keeps_the_login_and_says_how_to_go_on() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    world.log_in(1);
    world.authority.script_always(Endpoint::Revoke, Step::status(503, "unavailable"));
    let screen = dashboard(&world);
    enter(&screen, "/logout");
    screen.press("y");
    screen.shows("error:");
    screen.shows("hint: the login is still stored, so that you can try again");
    screen.shows("hint: to remove it without revoking its tokens: /logout --force");
    assert!(world.machine.stored_text().is_some());
    enter(&screen, "/logout --force");
    screen.shows("also if its tokens cannot be revoked");
    screen.press("y");
    screen.shows("warning: the tokens were not revoked");
    assert_eq!(world.machine.stored_text(), None);
    assert_no_secret(&world, &screen);
}

#[test]
fn a_refresh_spends_the_token_once_and_shows_the_result() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let grant = world.log_in(1);
    let screen = dashboard(&world);
    enter(&screen, "/refresh");
    screen.shows("refreshed; the token expires in");
    assert_eq!(world.authority.state_of(&grant.tokens.refresh_token), TokenState::Spent);
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 1);
    screen.press("Escape");
    screen.shows_no("refreshed; the token expires in");
    assert_no_secret(&world, &screen);
}

#[test]
fn a_login_has_the_terminal_until_it_is_stored() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    world.authority.adjust(|policy| {
        (policy.device, policy.pacing) = (DeviceFlow::Waits, Pacing::Ignored);
    });
    let screen = dashboard(&world);
    screen.shows("logged out");
    enter(&screen, "/login --device-auth");
    screen.shows("then type this code");
    assert!(!screen.is_alternate());
    assert!(world.authority.decide_device(&last_code(&screen), scripted_authority::Decision::Approved));
    screen.shows("the login is stored");
    screen.shows("person1@example.com (plus)");
    assert!(screen.is_alternate());
    assert_no_secret(&world, &screen);
}

/// The code that was shown last.
fn last_code(screen: &Screen) -> String {
    let mut code = None;
    eventually("a code", || {
        code = screen.text().lines().map(str::trim).rfind(|line| is_code(line)).map(str::to_owned);
        code.is_some()
    });
    code.unwrap()
}

fn is_code(line: &str) -> bool {
    let letters = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    line.split_once('-').is_some_and(|(before, after)| letters(before) && letters(after))
}

#[test]
fn a_login_that_fails_can_be_read_before_the_dashboard_returns() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    world.authority.adjust(|policy| {
        (policy.device, policy.pacing) = (DeviceFlow::Denies, Pacing::Ignored);
    });
    let screen = dashboard(&world);
    enter(&screen, "/login --device-auth");
    screen.shows("error:");
    screen.shows("press a key to return to the dashboard");
    assert!(!screen.is_alternate());
    let refused = last_code(&screen);
    screen.press("Enter");
    screen.shows("the login failed (exit code");
    // One that the user ends needs no further key.
    world.authority.adjust(|policy| policy.device = DeviceFlow::Waits);
    enter(&screen, "/login --device-auth");
    // The terminal still has the text of the first login.
    eventually("another code", || last_code(&screen) != refused);
    screen.press("C-c");
    screen.shows("the login was interrupted; nothing was changed");
    assert!(screen.is_alternate());
}

#[test]
fn a_wrong_line_is_named_and_a_secret_in_it_is_not_repeated() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let screen = dashboard(&world);
    enter(&screen, "/login sk-proj-marked");
    screen.shows("error: unknown command (not shown, it may be a secret) for `/login`");
    screen.shows_no("sk-proj-marked");
    enter(&screen, "/nothing");
    screen.shows("error: unknown command 'nothing'");
    screen.shows("hint: the commands: /");
    enter(&screen, "/logot");
    screen.shows("hint: did you mean /logout?");
    // Several commands begin like this: Enter completes the first.
    screen.types("/l");
    screen.press("Enter");
    screen.shows("> /login");
    screen.press("C-u");
    screen.press("q");
    screen.shows("exit code 0");
}

#[test]
fn a_command_is_about_the_selected_account_only() {
    let world = accounts::world::World::with(&["work", "old"]);
    let screen = start(world.run(["top"]), USUAL);
    screen.shows("work *");
    screen.shows("old");
    screen.press("Down");
    screen.shows("── old, person2@example.com (plus)");
    enter(&screen, "/logout");
    screen.shows("Log out of old, person2@example.com (plus)?");
    screen.press("y");
    screen.shows("logged out");
    let state = |at: usize| world.authority.state_of(&world.grants[at].tokens.refresh_token);
    assert_eq!([state(0), state(1)], [TokenState::Live, TokenState::Revoked]);
    enter(&screen, "/refresh --account work");
    screen.shows("refreshed; the token expires in");
    eventually("the refresh of the other account", || state(0) == TokenState::Spent);
    enter(&screen, "/refresh");
    screen.shows("error: not logged in");
    screen.shows("hint: log in first: /login");
}

#[test]
fn why_explains_the_state_and_names_the_next_command() {
    let machine = &mut Machine::with_file();
    let world = World::new(machine);
    let grant = world.log_in(1);
    let screen = dashboard(&world);
    world.authority.end(grant.id, scripted_authority::Ending::WholeGrant);
    world.codex(["refresh"]).run().expect(3);
    enter(&screen, "/why");
    screen.shows("── /why ─");
    eventually("the end of the report", || {
        screen.press("PageDown");
        screen.text().contains("hint: log in again: /login")
    });
    assert_no_secret(&world, &screen);
}
