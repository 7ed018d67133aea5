//! Races with a program without the lease: no token is lost and no login is poisoned.

use std::process::Output;
use std::thread;
use std::time::Duration;

use scripted_authority::{Account, Endpoint, Moment, Outcome, Reuse, TokenState};

use super::rival::{self, Locks, Rival, longest_refusal};
use super::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, over_both_stores};

over_both_stores!(
    a_commit_by_another_program_within_four_seconds_of_a_refusal_is_adopted,
    all_processes_have_the_token_after_a_race_with_another_program,
    a_logout_between_request_and_commit_stands_and_the_new_token_is_revoked,
    a_login_of_another_account_between_request_and_commit_is_never_overwritten,
    a_login_of_the_same_account_between_request_and_commit_wins_and_the_new_token_is_revoked,
    a_refresh_by_another_program_between_request_and_commit_changes_nothing,
    other_changes_between_request_and_commit_are_kept,
    an_old_copy_that_was_restored_is_not_spent,
    many_refreshes_never_keep_another_program_from_its_lock,
);

#[cfg(feature = "failpoints")]
over_both_stores!(a_login_and_a_migration_revoke_an_orphan_rescue);

/// Codex waits five seconds; the limit here is two, plus time for a slow machine.
const LONGEST_HOLD: Duration = Duration::from_secs(3);

#[track_caller]
fn assert_success(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a refresh and waits until it was refused.
fn start_refused(world: &World<'_>) -> std::process::Child {
    let child = world.codex(["refresh"]).start();
    let is_ours = |entry: &scripted_authority::Entry| entry.outcome == Outcome::Refused;
    world.authority.wait_for_entry(TEST_TIMEOUT, is_ours).unwrap();
    child
}

/// Asserts that the tokens of `rival` were adopted without another request.
#[track_caller]
fn assert_adopted(world: &World<'_>, rival: &Rival, output: &Output) {
    assert_success(output);
    assert_eq!(rival.token("refresh_token"), world.stored_token("refresh_token"));
    assert!(world.state().get("poison").is_none(), "never poisoned");
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), rival.token("access_token"));
    assert_eq!(world.requests(), 2);
}

/// The delays are the subject of the test.
fn a_commit_by_another_program_within_four_seconds_of_a_refusal_is_adopted(machine: &mut Machine) {
    for seconds in [0, 1, 2, 4] {
        let world = World::fresh(machine);
        let rival = Rival::refreshing(&world);
        let child = start_refused(&world);
        thread::sleep(Duration::from_secs(seconds));
        rival.commit(world.machine);
        assert_adopted(&world, &rival, &child.wait_with_output().unwrap());
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

/// It takes its locks before the wait for a successor ends, and writes after that.
#[test]
fn a_commit_that_another_program_has_begun_is_waited_for() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let rival = Rival::refreshing(&world);
    let child = start_refused(&world);
    thread::sleep(Duration::from_secs(4));
    let locks = Locks::take(&world.machine.home);
    thread::sleep(Duration::from_millis(2_500));
    rival.commit_under(&locks, world.machine);
    drop(locks);
    assert_adopted(&world, &rival, &child.wait_with_output().unwrap());
}

#[test]
fn a_token_lost_by_another_program_poisons_the_login() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    drop(Rival::refreshing(&world));
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("already used, by a program that did not save the new one"), "{ended}");
    world.codex(["refresh"]).run().refused(3);
    assert_eq!(world.requests(), 2, "a dead credential is tried once");
}

fn all_processes_have_the_token_after_a_race_with_another_program(machine: &mut Machine) {
    for round in 0..5 {
        let world = World::expired(machine);
        let read = world.machine.stored_text().unwrap();
        let children: Vec<_> = (0..3).map(|_| world.codex(["token"]).start()).collect();
        // Different delays let either win.
        thread::sleep(Duration::from_millis(20 * round));
        let rival = Rival::spending(&world, read);
        if rival.has_tokens() {
            rival.commit(world.machine);
        }
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert_success(&output);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).trim_end(),
                world.stored_token("access_token")
            );
        }
        assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
        // Usable, so not poisoned.
        world.codex(["status"]).run().expect(0);
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

fn a_logout_between_request_and_commit_stands_and_the_new_token_is_revoked(machine: &mut Machine) {
    let world = World::fresh(machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| rival::log_out(world.machine));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.machine.stored_text(), None, "it is not written back");
    assert_eq!((world.authority.counters().of(Endpoint::Revoke), world.live_refresh_token()), (1, None));
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
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("another account"), "{said}");
    assert_eq!(world.machine.stored_text(), Some(document));
    assert_eq!((world.authority.counters().of(Endpoint::Revoke), world.live_refresh_token()), (1, None));
    assert_eq!(world.authority.state_of(&other.tokens.refresh_token), TokenState::Live);
    assert!(!world.has_rescue());
}

fn a_login_of_the_same_account_between_request_and_commit_wins_and_the_new_token_is_revoked(
    machine: &mut Machine,
) {
    let world = World::fresh(machine);
    rival::log_in(world.machine, &world.grant, "before");
    let again = world.authority.grant(Account::numbered(1));
    let mut document = String::new();
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        document = rival::log_in(world.machine, &again, "after");
    });
    assert_success(&output);
    assert_eq!(world.machine.stored_text(), Some(document));
    assert_eq!(world.live_refresh_token(), None, "no process holds it");
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), again.tokens.access_token);
    assert_eq!(world.authority.state_of(&again.tokens.refresh_token), TokenState::Live);
    assert!(!world.has_rescue());
}

/// A lease holder was killed with tokens in the rescue, and another program has logged in as another account.
#[cfg(feature = "failpoints")]
fn a_login_and_a_migration_revoke_an_orphan_rescue(machine: &mut Machine) {
    let store = machine.store();
    for arguments in [&["migrate", "--to", store][..], &["login", "--with-api-key"]] {
        let world = World::fresh(machine);
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        let other = world.authority.grant(Account::numbered(2));
        rival::log_in(world.machine, &other, "another");
        assert!(world.has_rescue() && world.live_refresh_token().is_some());
        world.codex(arguments.iter().copied()).input("sk-1").run().expect(0);
        assert_eq!(
            (world.authority.counters().of(Endpoint::Revoke), world.live_refresh_token()),
            (1, None),
            "{arguments:?}"
        );
        assert!(!world.has_rescue());
        assert_eq!(world.authority.state_of(&other.tokens.refresh_token), TokenState::Live);
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

/// The other program is refused and commits nothing.
fn a_refresh_by_another_program_between_request_and_commit_changes_nothing(machine: &mut Machine) {
    let world = World::fresh(machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        assert!(!Rival::refreshing(world).has_tokens());
    });
    assert_success(&output);
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (2, 1));
}

fn other_changes_between_request_and_commit_are_kept(machine: &mut Machine) {
    let world = World::fresh(machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        let mut document = world.document();
        document["future"] = serde_json::json!("kept");
        world.machine.store_text(document.to_string());
    });
    assert_success(&output);
    assert_eq!(world.document()["future"], "kept");
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}

/// If reuse revokes the family, spending an old copy would revoke the login.
fn an_old_copy_that_was_restored_is_not_spent(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    let old = world.machine.stored_text().unwrap();
    world.codex(["refresh"]).run().expect(0);
    world.machine.store_text(old);
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("old copy"), "{ended}");
    assert_eq!(world.requests(), 1);
}

fn many_refreshes_never_keep_another_program_from_its_lock(machine: &mut Machine) {
    let world = World::fresh(machine);
    let (longest, ()) = longest_refusal(&world.machine.home, || {
        for _ in 0..3 {
            let children: Vec<_> = (0..8).map(|_| world.codex(["refresh"]).start()).collect();
            children.into_iter().for_each(|child| assert_success(&child.wait_with_output().unwrap()));
        }
    });
    assert!(longest < LONGEST_HOLD, "{longest:?}");
    world.assert_no_token_reused_or_lost();
}

/// An unresponsive keychain is the longest delay within a commit.
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
#[test]
fn an_unresponsive_keychain_never_keeps_another_program_from_its_lock() {
    use crate::support::{Pause, here, session};

    session::inside(here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let session = world.machine.session.as_ref().unwrap();
        let (longest, output) = longest_refusal(&world.machine.home, || {
            let pause = Pause::at("rescued");
            let child = pause.apply_to(world.codex(["refresh"])).start();
            let standing = pause.wait();
            session.freeze();
            drop(standing);
            child.wait_with_output().unwrap()
        });
        session.thaw();
        assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(longest > Duration::from_secs(1), "it was in its commit: {longest:?}");
        assert!(longest < LONGEST_HOLD, "{longest:?}");
        world.codex(["refresh"]).run().expect(0);
        world.assert_no_token_reused_or_lost();
    });
}
