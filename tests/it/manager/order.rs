//! The order of reads and refreshes in one process: a later read is served, however long an earlier one takes.

use codex_auth::manager::{AuthManager, LoginChange, RefreshReason, ReloadOutcome};
use codex_auth::{AuthDocument, Environment, store};
use scripted_authority::{Account, fingerprint};

use super::world::{World, block_on};
use crate::support::{HelperProcess, Machine, Pause, here, read_word, report, role};

/// Starts a host that pauses in its first call and makes the second one meanwhile.
fn host(test: &str, first: &str, world: &World<'_>, pause: &Pause) -> HelperProcess {
    let urls = [
        format!("CODEX_REFRESH_TOKEN_URL_OVERRIDE={}", world.authority.token_url()),
        format!("CODEX_REVOKE_TOKEN_URL_OVERRIDE={}", world.authority.revoke_url()),
    ];
    let failpoint = pause.variable();
    HelperProcess::start_through(&["env", &urls[0], &urls[1], &failpoint], test, first, &world.machine.home)
}

/// The host: makes the call `first`, and the other one on a cue, and prints its token after each.
fn play(first: &str) {
    let environment = Environment::of_process().unwrap();
    let home = store::locate(&environment).unwrap();
    let manager = AuthManager::builder(home, environment).open().unwrap();
    block_on(async {
        let first = first.to_owned();
        let slow = tokio::spawn(call(manager.clone(), first.clone()));
        tokio::task::block_in_place(read_word);
        let other = if first == "refresh" { "reload" } else { "refresh" };
        call(manager.clone(), other.to_owned()).await;
        report(&token_of(&manager));
        slow.await.unwrap();
        report(&token_of(&manager));
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
fn a_slow_refresh_does_not_undo_a_logout_that_was_read_later() {
    if let Some(first) = role() {
        return play(&first);
    }
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let pause = Pause::at("publishing");
    let mut host = host(here!(), "refresh", &world, &pause);
    let standing = pause.wait();
    world.codex(["logout", "--local"]).run().expect(0);
    host.send("reload");
    assert_eq!(host.next_word(), "none");
    drop(standing);
    assert_eq!(host.next_word(), "none", "the refresh was committed before the logout");
    host.finish();
}

#[test]
fn a_read_that_began_before_a_refresh_does_not_undo_it() {
    if let Some(first) = role() {
        return play(&first);
    }
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    // The new token has an earlier issue date, so the date does not decide.
    world.authority.adjust(|policy| policy.clock_offset = -600);
    let pause = Pause::at("store read");
    let mut host = host(here!(), "reload", &world, &pause);
    let standing = pause.wait();
    host.send("refresh");
    let token = host.next_word();
    assert_eq!(token, fingerprint(&world.stored_token("access_token")));
    drop(standing);
    assert_eq!(host.next_word(), token);
    host.finish();
}

#[test]
fn a_refresh_is_reported_with_this_process_as_author() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    // A login with recorded state, so that the state differs before and after.
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
fn an_adopted_login_is_reported_as_a_login() {
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
