//! Races with a program that takes no lease of ours: whoever wins, no token is lost and nobody is poisoned.

use std::process::Output;
use std::thread;
use std::time::Duration;

use scripted_authority::{Account, Endpoint, Moment, Outcome, Reuse, TokenState};

use super::rival::{self, Locks, Rival, longest_refusal};
use super::world::{PATIENCE, World};
use crate::support::{Machine, over_both_stores};

over_both_stores!(
    what_a_rival_commits_up_to_four_seconds_after_our_refusal_is_adopted,
    whoever_wins_a_race_with_a_rival_everybody_has_the_token,
    a_logout_between_request_and_commit_is_final_and_the_successor_is_taken_back,
    a_login_of_another_account_between_request_and_commit_is_never_overwritten,
    a_login_of_the_same_account_between_request_and_commit_wins_and_ours_is_taken_back,
    a_refresh_by_a_rival_between_request_and_commit_changes_nothing,
    what_else_was_changed_between_request_and_commit_is_kept,
    an_old_copy_that_is_put_back_is_not_spent,
    a_storm_of_refreshes_never_keeps_a_rival_from_its_lock,
);

#[cfg(feature = "failpoints")]
over_both_stores!(a_login_and_a_migration_take_back_what_belongs_to_nobody);

/// Codex gives up after five seconds; we promise two, and a busy machine may take a moment to wake anybody up.
const LONGEST_HOLD: Duration = Duration::from_secs(3);

#[track_caller]
fn went_well(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a refresh that will be refused, and waits until it has been.
fn refused(world: &World<'_>) -> std::process::Child {
    let child = world.codex(["refresh"]).start();
    let is_ours = |entry: &scripted_authority::Entry| entry.outcome == Outcome::Refused;
    world.authority.wait_for_entry(PATIENCE, is_ours).unwrap();
    child
}

/// Ours was taken over from `rival`, without a further request.
#[track_caller]
fn is_adopted(world: &World<'_>, rival: &Rival, output: &Output) {
    went_well(output);
    assert_eq!(rival.given("refresh_token"), world.kept("refresh_token"));
    assert!(world.state().get("poison").is_none(), "never poisoned");
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), rival.given("access_token"));
    assert_eq!(world.requests(), 2);
}

/// The delays are what the law is about.
fn what_a_rival_commits_up_to_four_seconds_after_our_refusal_is_adopted(machine: &mut Machine) {
    for seconds in [0, 1, 2, 4] {
        let world = World::fresh(machine);
        let rival = Rival::refreshing(&world);
        let child = refused(&world);
        thread::sleep(Duration::from_secs(seconds));
        rival.commit(world.machine);
        is_adopted(&world, &rival, &child.wait_with_output().unwrap());
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

/// It takes its locks before our patience with it ends, and writes after that.
#[test]
fn a_rival_that_is_in_the_middle_of_its_commit_when_our_patience_ends_is_waited_for() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let rival = Rival::refreshing(&world);
    let child = refused(&world);
    thread::sleep(Duration::from_secs(4));
    let locks = Locks::take(&world.machine.home);
    thread::sleep(Duration::from_millis(2_500));
    rival.commit_under(&locks, world.machine);
    drop(locks);
    is_adopted(&world, &rival, &child.wait_with_output().unwrap());
}

#[test]
fn a_rival_that_dies_with_the_token_it_won_leaves_a_login_that_says_so() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    drop(Rival::refreshing(&world));
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("used by a program that did not save its successor"), "{ended}");
    world.codex(["refresh"]).run().refused(3);
    assert_eq!(world.requests(), 2, "a dead credential is tried once");
}

fn whoever_wins_a_race_with_a_rival_everybody_has_the_token(machine: &mut Machine) {
    for round in 0..5 {
        let world = World::expired(machine);
        let read = world.machine.kept().unwrap();
        let children: Vec<_> = (0..3).map(|_| world.codex(["token"]).start()).collect();
        // Now one wins and now the other.
        thread::sleep(Duration::from_millis(20 * round));
        let rival = Rival::spending(&world, read);
        if rival.has_won() {
            rival.commit(world.machine);
        }
        for child in children {
            let output = child.wait_with_output().unwrap();
            went_well(&output);
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), world.kept("access_token"));
        }
        assert_eq!(Some(world.kept("refresh_token")), world.live());
        // Usable, and so not poisoned.
        world.codex(["status"]).run().expect(0);
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

fn a_logout_between_request_and_commit_is_final_and_the_successor_is_taken_back(machine: &mut Machine) {
    let world = World::fresh(machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| rival::log_out(world.machine));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.machine.kept(), None, "it is not written back");
    assert_eq!((world.authority.counters().of(Endpoint::Revoke), world.live()), (1, None));
    assert!(!world.has_rescue());
}

fn a_login_of_another_account_between_request_and_commit_is_never_overwritten(machine: &mut Machine) {
    let world = World::fresh(machine);
    let other = world.authority.grant(Account::numbered(2));
    let mut document = String::new();
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        document = rival::log_in(world.machine, &other, "another");
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("another account"), "{said}");
    assert_eq!(world.machine.kept(), Some(document));
    assert_eq!((world.authority.counters().of(Endpoint::Revoke), world.live()), (1, None));
    assert_eq!(world.authority.state_of(&other.tokens.refresh_token), TokenState::Live);
    assert!(!world.has_rescue());
}

fn a_login_of_the_same_account_between_request_and_commit_wins_and_ours_is_taken_back(machine: &mut Machine) {
    let world = World::fresh(machine);
    rival::log_in(world.machine, &world.grant, "before");
    let again = world.authority.grant(Account::numbered(1));
    let mut document = String::new();
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        document = rival::log_in(world.machine, &again, "after");
    });
    went_well(&output);
    assert_eq!(world.machine.kept(), Some(document));
    assert_eq!(world.live(), None, "nobody holds it any more");
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), again.tokens.access_token);
    assert_eq!(world.authority.state_of(&again.tokens.refresh_token), TokenState::Live);
    assert!(!world.has_rescue());
}

/// The holder of the lease died with tokens in the rescue, and a rival has logged in as somebody else since.
#[cfg(feature = "failpoints")]
fn a_login_and_a_migration_take_back_what_belongs_to_nobody(machine: &mut Machine) {
    let store = machine.store();
    for arguments in [&["migrate", "--to", store][..], &["login", "--with-api-key"]] {
        let world = World::fresh(machine);
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        let other = world.authority.grant(Account::numbered(2));
        rival::log_in(world.machine, &other, "another");
        assert!(world.has_rescue() && world.live().is_some());
        world.codex(arguments.iter().copied()).input("sk-1").run().expect(0);
        assert_eq!(
            (world.authority.counters().of(Endpoint::Revoke), world.live()),
            (1, None),
            "{arguments:?}"
        );
        assert!(!world.has_rescue());
        assert_eq!(world.authority.state_of(&other.tokens.refresh_token), TokenState::Live);
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

/// It comes too late, is refused, and commits nothing.
fn a_refresh_by_a_rival_between_request_and_commit_changes_nothing(machine: &mut Machine) {
    let world = World::fresh(machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        assert!(!Rival::refreshing(world).has_won());
    });
    went_well(&output);
    assert_eq!(Some(world.kept("refresh_token")), world.live());
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (2, 1));
}

fn what_else_was_changed_between_request_and_commit_is_kept(machine: &mut Machine) {
    let world = World::fresh(machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        let mut document = world.document();
        document["future"] = serde_json::json!("kept");
        world.machine.keep(document.to_string());
    });
    went_well(&output);
    assert_eq!(world.document()["future"], "kept");
    assert_eq!(Some(world.kept("refresh_token")), world.live());
}

/// An old copy put back by hand is not spent: where reuse ends the family that would end everything.
fn an_old_copy_that_is_put_back_is_not_spent(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    let old = world.machine.kept().unwrap();
    world.codex(["refresh"]).run().expect(0);
    world.machine.keep(old);
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("old copy"), "{ended}");
    assert_eq!(world.requests(), 1);
}

fn a_storm_of_refreshes_never_keeps_a_rival_from_its_lock(machine: &mut Machine) {
    let world = World::fresh(machine);
    let (longest, ()) = longest_refusal(&world.machine.home, || {
        for _ in 0..3 {
            let children: Vec<_> = (0..8).map(|_| world.codex(["refresh"]).start()).collect();
            children.into_iter().for_each(|child| went_well(&child.wait_with_output().unwrap()));
        }
    });
    assert!(longest < LONGEST_HOLD, "{longest:?}");
    world.nothing_is_spent_twice_or_lost();
}

/// The worst that can happen within a commit is a keychain that says nothing.
// Linux: items of others.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
#[test]
fn a_silent_keychain_never_keeps_a_rival_from_its_lock() {
    use crate::support::{Pause, here, session};

    session::inside(here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let session = world.machine.session.as_ref().unwrap();
        let (longest, output) = longest_refusal(&world.machine.home, || {
            let pause = Pause::at("rescued");
            let child = pause.govern(world.codex(["refresh"])).start();
            let standing = pause.arrived();
            session.freeze();
            drop(standing);
            child.wait_with_output().unwrap()
        });
        session.thaw();
        assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(longest > Duration::from_secs(1), "it was in its commit: {longest:?}");
        assert!(longest < LONGEST_HOLD, "{longest:?}");
        world.codex(["refresh"]).run().expect(0);
        world.nothing_is_spent_twice_or_lost();
    });
}
