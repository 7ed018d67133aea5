//! Commands that are interrupted while they wait for a lock: they end at once and change nothing later.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use codex_auth::Lease;

use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Flock, Machine, Run, children, eventually, is_alive, over_both_stores};

/// 200 ms, and the time that a busy machine takes to run a process.
const AT_ONCE: Duration = Duration::from_millis(700);

over_both_stores!(
    a_wait_for_the_lease_ends_at_once_and_nothing_is_changed_later,
    a_wait_for_a_commit_lock_ends_at_once_and_nothing_is_changed_later,
);

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

/// By its exit code, or by the signal, which a shell reports as the same code.
fn is_interrupted(status: ExitStatus) -> bool {
    status.code() == Some(130) || status.signal() == Some(2)
}

/// Interrupts `run` while it waits, and checks that it and its children exit before the lock is free.
fn ends_at_once(run: Run, what: &str) {
    let mut child = run.start();
    // The test cannot see that a process waits for a lock; one that does not wait yet has to end too.
    std::thread::sleep(Duration::from_millis(500));
    let children = children(child.id());
    let begun = Instant::now();
    interrupt(&child);
    let status = child.wait().unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{what}: {:?}\n{err}", begun.elapsed());
    assert!(is_interrupted(status), "{what}: {status:?}\n{err}");
    eventually("the child to give up", || children.iter().all(|child| !is_alive(*child)));
    assert!(begun.elapsed() < 3 * AT_ONCE, "{what}: {:?}", begun.elapsed());
}

fn a_wait_for_the_lease_ends_at_once_and_nothing_is_changed_later(machine: &mut Machine) {
    let world = World::expired(machine);
    let (home, other) = (world.machine.home.home(), world.machine.other_store());
    let before = world.machine.stored_text();
    let has_keychain = world.machine.session.is_some();
    for arguments in [
        &["login", "--with-api-key"][..],
        &["logout"],
        &["logout", "--local"],
        &["refresh"],
        &["token"],
        &["migrate", "--to", other],
    ] {
        if arguments[0] == "migrate" && !has_keychain {
            continue;
        }
        let lease = Lease::acquire(&home, TEST_TIMEOUT, |_| {}).unwrap();
        let run = world.codex(arguments.iter().copied()).input("sk-new\n");
        ends_at_once(run, &arguments.join(" "));
        drop(lease);
        assert_eq!((world.machine.stored_text(), world.requests()), (before.clone(), 0), "{arguments:?}");
    }
}

fn a_wait_for_a_commit_lock_ends_at_once_and_nothing_is_changed_later(machine: &mut Machine) {
    let world = World::fresh(machine);
    let before = world.machine.stored_text();
    for arguments in [&["login", "--with-api-key"][..], &["logout", "--local"]] {
        let held = Flock::hold(&world.machine.home.file("auth.lock"));
        let run = world.codex(arguments.iter().copied()).input("sk-new\n");
        ends_at_once(run, &arguments.join(" "));
        drop(held);
        assert_eq!(world.machine.stored_text(), before, "{arguments:?}");
        drop(Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| {}).unwrap());
        world.codex(["status"]).run().expect(0);
    }
}

/// The token was sent, so the child process completes the refresh after the command has ended.
#[test]
fn a_refresh_that_was_sent_is_completed_after_an_interruption() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let hold = world.authority.hold(scripted_authority::Endpoint::Refresh, scripted_authority::Moment::After);
    let mut child = world.codex(["refresh"]).start();
    hold.arrived(TEST_TIMEOUT).unwrap();
    interrupt(&child);
    assert!(is_interrupted(child.wait().unwrap()));
    hold.release();
    eventually("the new token to be stored", || {
        Some(world.stored_token("refresh_token")) == world.live_refresh_token()
    });
    drop(Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| {}).unwrap());
    world.assert_no_token_reused_or_lost();
}

#[test]
fn all_waits_for_locks_of_a_command_together_are_within_the_limit() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let home = world.machine.home.home();
    for arguments in [&["login", "--with-api-key"][..], &["logout", "--local"]] {
        let lease = Lease::acquire(&home, TEST_TIMEOUT, |_| {}).unwrap();
        let _commit = Flock::hold(&world.machine.home.file("auth.lock"));
        let begun = Instant::now();
        let run = world.codex(arguments.iter().copied()).input("sk-new\n");
        let child = run.env("CODEX_AUTH_LOCK_TIMEOUT", "3s").start();
        std::thread::sleep(Duration::from_secs(2));
        drop(lease);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(6), "{arguments:?}: {ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{arguments:?}: {:?}", begun.elapsed());
    }
}
