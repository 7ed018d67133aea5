//! The keeper's status of a login whose token has expired while it could not be refreshed.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use codex_auth_platform::lock::{FileLock, LockFileMode, Wait};
use scripted_authority::{Endpoint, Step};
use serde_json::{Value, json};

use super::obstacles::{Change, EVERYWHERE, OF_A_FILE};
use super::scene::{Scene, Token, granted};
use crate::keeper::process::{AT_WORK, Process};
use crate::support::session::inside;
use crate::support::{Machine, eventually, here, item};

/// The obstacles that do not end a keeper.
const LIVABLE: [&str; 6] = [
    "a read-only mount",
    "a full disk",
    "auth.lock is a folder",
    "auth.json.lock is a folder",
    "a spent token",
    "a document that is a mount point",
];

/// The token expires while the keeper cannot refresh it: the keeper, `status` and `token` give the same reason.
#[track_caller]
fn is_what_the_keeper_says(name: &str, put: Change, machine: Machine) {
    let mut scene = Scene::of(machine, Token::Fresh);
    // This path reaches the home even under a mount.
    let folder = File::open(scene.mounted.path()).unwrap();
    let document = PathBuf::from(format!("/proc/self/fd/{}/auth.json", folder.as_raw_fd()));
    let keeper = Process::start(scene.codex(&["sync", "run"]));
    keeper.until(AT_WORK);
    let usable = scene.codex(&["sync", "status", "--json"]).run().expect(0).json();
    assert_eq!((&usable["usable"], &usable["reason"]), (&json!(true), &Value::Null), "{name}: {usable:#}");

    scene.grant = granted(&scene.authority, Token::Expired);
    put(&mut scene);
    match scene.machine.session {
        Some(_) => item(&scene.mounted.home).set_secret(scene.grant.auth_json().as_bytes()).unwrap(),
        None => fs::write(document, scene.grant.auth_json()).unwrap(),
    }
    let mut last = Value::Null;
    eventually("the keeper to see the login", || {
        last = scene.codex(&["sync", "status", "--json"]).run().json();
        last["usable"] == false
    });
    let status = scene.codex(&["status", "--json"]).run();
    let report = status.json();
    assert_eq!((&report["usable"], &report["reason"]), (&json!(false), &last["reason"]), "{name}: {last:#}");
    let token = scene.codex(&["token"]).run();
    assert_eq!(token.code, status.code, "{name}: {token}");
    let prose = scene.codex(&["sync", "status"]).run().expect(0);
    let reason = last["reason"].as_str().unwrap();
    assert!(prose.out.contains(&format!(" no: {reason}\n")), "{name}: {prose}");
}

#[test]
fn a_keeper_of_a_file_reports_every_obstacle() {
    let obstacles = EVERYWHERE.iter().chain(OF_A_FILE).filter(|obstacle| LIVABLE.contains(&obstacle.name));
    let mut count = 0;
    for obstacle in obstacles {
        is_what_the_keeper_says(obstacle.name, obstacle.put, Machine::with_file());
        count += 1;
    }
    assert_eq!(count, LIVABLE.len());
}

#[test]
fn a_keeper_of_a_keychain_item_reports_every_obstacle() {
    inside(here!(), || {
        for obstacle in EVERYWHERE.iter().filter(|obstacle| LIVABLE.contains(&obstacle.name)) {
            is_what_the_keeper_says(obstacle.name, obstacle.put, Machine::with_keychain());
        }
    });
}

/// The keeper has read the login, and reports when it cannot read it any more.
#[test]
fn a_keychain_that_is_locked_under_a_keeper_is_not_usable() {
    inside(here!(), || {
        let mut scene = Scene::of(Machine::with_keychain(), Token::Fresh);
        let keeper = Process::start(scene.codex(&["sync", "run"]));
        keeper.until(AT_WORK);
        let busy = Step::status(503, "busy").with_header("Retry-After", "600");
        scene.authority.script(Endpoint::Refresh, busy);
        let expired = granted(&scene.authority, Token::Expired);
        item(&scene.mounted.home).set_secret(expired.auth_json().as_bytes()).unwrap();
        let reason = || scene.codex(&["sync", "status", "--json"]).run().json()["reason"].clone();
        let says = |words: &str| reason().as_str().is_some_and(|reason| reason.contains(words));
        eventually("the authority to be left alone", || says("not retrying for another"));
        scene.machine.session.as_mut().unwrap().lock_again();
        let reason = scene.codex(&["sync", "status", "--json"]).run().json()["reason"].clone();
        assert!(reason.as_str().is_some_and(|reason| reason.contains("is locked")), "{reason}");
        scene.codex(&["token"]).run().refused(5);
    });
}

/// Another process holds the lease: the login is usable later, and the question takes no lock.
#[test]
fn a_login_that_another_process_holds_is_usable_once_that_has_finished() {
    let scene = Scene::of(Machine::with_file(), Token::Expired);
    let own = std::process::id();
    scene.write("codex-auth/refresh.lock", format!("{own} a-refresh\n"));
    let status = |arguments: &[&str]| scene.codex(arguments).run().expect(0);
    assert_eq!(status(&["status", "--json"]).json()["busy"], Value::Null, "a note alone is no holder");

    let held =
        FileLock::acquire(&scene.file("codex-auth/refresh.lock"), LockFileMode::Private, Wait::No).unwrap();
    held.write_note("a-refresh");
    let report = status(&["status", "--json"]).json();
    let holder = format!("a-refresh (pid {own})");
    assert_eq!((&report["usable"], &report["busy"]), (&json!(true), &json!(holder)), "{report:#}");
    let prose = status(&["status"]);
    assert!(prose.out.ends_with(&format!("  usable     yes, when {holder} has finished\n")), "{prose}");

    let trace = scene.mounted.home.beside("trace").join("flock");
    let path = trace.display().to_string();
    let traced = scene.mounted.enter(scene.mounted.home.codex(["status"]).through([
        "strace",
        "-f",
        "-e",
        "trace=flock",
        "-o",
        &path,
    ]));
    traced.run().expect(0);
    let calls = fs::read_to_string(&trace).unwrap();
    let flock: Vec<_> = calls.lines().filter(|line| line.contains("flock(")).collect();
    assert!(!flock.is_empty() && flock.iter().all(|call| call.contains("LOCK_UN")), "{calls}");

    let token = scene.codex(&["token"]).start();
    drop(held);
    assert_eq!(token.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(scene.requests(), 1);
}
