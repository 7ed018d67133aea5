//! The order of looks and refreshes in one process: what was found later is served, however long the earlier one takes.

use codex_auth::manager::{AuthManager, LoginChange, RefreshReason, ReloadOutcome};
use codex_auth::{AuthDocument, Environment, store};
use scripted_authority::{Account, fingerprint};

use super::world::{World, block_on};
use crate::support::{Actor, Machine, Pause, hear, here, part, tell};

/// A host that stands still in its first call, and makes the second meanwhile.
fn host(test: &str, first: &str, world: &World<'_>, pause: &Pause) -> Actor {
    let urls = [
        format!("CODEX_REFRESH_TOKEN_URL_OVERRIDE={}", world.authority.token_url()),
        format!("CODEX_REVOKE_TOKEN_URL_OVERRIDE={}", world.authority.revoke_url()),
    ];
    let failpoint = pause.variable();
    Actor::start_through(&["env", &urls[0], &urls[1], &failpoint], test, first, &world.machine.home)
}

/// What the host does: `first`, and on a cue the other call. It tells its token after each.
fn play(first: &str) {
    let environment = Environment::of_process().unwrap();
    let home = store::locate(&environment).unwrap();
    let manager = AuthManager::builder(home, environment).open().unwrap();
    block_on(async {
        let first = first.to_owned();
        let slow = tokio::spawn(call(manager.clone(), first.clone()));
        tokio::task::block_in_place(hear);
        let other = if first == "refresh" { "look" } else { "refresh" };
        call(manager.clone(), other.to_owned()).await;
        tell(&token_of(&manager));
        slow.await.unwrap();
        tell(&token_of(&manager));
    });
}

async fn call(manager: AuthManager, what: String) {
    match what.as_str() {
        "refresh" => drop(manager.refresh(RefreshReason::Forced).await.unwrap()),
        _ => drop(manager.reload().await.unwrap()),
    }
}

fn token_of(manager: &AuthManager) -> String {
    let snapshot = manager.current();
    let token = snapshot.document().and_then(AuthDocument::bearer);
    token.map_or_else(|| "none".to_owned(), |token| token.fingerprint().to_string())
}

#[test]
fn a_refresh_that_is_slow_to_report_does_not_undo_the_logout_that_a_later_look_found() {
    if let Some(first) = part() {
        return play(&first);
    }
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let pause = Pause::at("publishing");
    let mut host = host(here!(), "refresh", &world, &pause);
    let standing = pause.arrived();
    world.codex(["logout", "--local"]).run().expect(0);
    host.say("look");
    assert_eq!(host.next_word(), "none");
    drop(standing);
    assert_eq!(host.next_word(), "none", "the refresh was committed before the logout");
    host.finish();
}

#[test]
fn a_look_that_began_before_a_refresh_does_not_undo_it() {
    if let Some(first) = part() {
        return play(&first);
    }
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    // By its own clock the successor is the older token, so that its date says nothing.
    world.authority.adjust(|policy| policy.clock_offset = -600);
    let pause = Pause::at("looked");
    let mut host = host(here!(), "look", &world, &pause);
    let standing = pause.arrived();
    host.say("refresh");
    let token = host.next_word();
    assert_eq!(token, fingerprint(&world.kept("access_token")));
    drop(standing);
    assert_eq!(host.next_word(), token);
    host.finish();
}

#[test]
fn a_refresh_of_this_process_is_reported_as_one_and_by_this_process() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    // A login of ours is recorded, so that another record is there before and after.
    world.sign_in(&world.authority.grant(Account::numbered(1)));
    let manager = world.builder().open().unwrap();
    for _ in 0..2 {
        let before = manager.current();
        let after = block_on(manager.refresh(RefreshReason::Forced)).unwrap();
        assert_eq!(LoginChange::between(&before, &after), Some(LoginChange::Refreshed));
        assert_eq!(after.author().map(|author| author.pid), Some(std::process::id()));
        assert_eq!(block_on(manager.reload()).unwrap(), ReloadOutcome::Same);
        assert_eq!(LoginChange::between(&after, &manager.current()), None);
        assert_eq!(manager.current().author(), after.author());
    }
}

#[test]
fn what_a_transaction_adopts_is_reported_as_what_it_was() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.sign_in(&world.grant);
    let manager = world.builder().open().unwrap();
    let before = manager.current();
    world.codex(["refresh"]).run().expect(0);
    let after = block_on(manager.refresh(RefreshReason::Forced)).unwrap();
    assert_eq!(LoginChange::between(&before, &after), Some(LoginChange::Refreshed));
    assert!(after.author().is_some_and(|author| author.pid != std::process::id()), "{:?}", after.author());
    world.sign_in(&world.authority.grant(Account::numbered(1)));
    let again = block_on(manager.refresh(RefreshReason::Forced)).unwrap();
    assert_eq!(LoginChange::between(&after, &again), Some(LoginChange::Login));
    assert_eq!(world.requests(), 1);
}
