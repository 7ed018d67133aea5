//! The commit locks: their order, the limits of holding and waiting, and how their files are created.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use codex_auth::Lease;
use codex_auth::store::{CommitLocks, Error, WriteIntent};

use super::SOON;
use crate::support::{Flock, HelperProcess, Run, TestHome, eventually, here, names, role};

const BOTH_LOCKS: [&str; 2] = ["auth.lock", "auth.json.lock"];
/// The time that a slow machine may add to a limit.
const MARGIN: Duration = Duration::from_secs(4);

fn login(home: &TestHome, key: &str) -> Run {
    home.codex(["login", "--store", "file", "--with-api-key"]).input(key)
}

fn file_of(key: &str) -> String {
    format!("{{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"{key}\"\n}}")
}

#[test]
fn our_commits_and_commits_of_codex_exclude_each_other() {
    const ROUNDS: usize = 20;
    if role().is_some() {
        let environment = codex_auth::Environment::of_process().unwrap();
        let home = codex_auth::store::locate(&environment).unwrap();
        for _ in 0..ROUNDS {
            let lease = Lease::acquire(&home, SOON, |_| {}).unwrap();
            let commit = CommitLocks::acquire(&lease, WriteIntent::Save).unwrap();
            let inside =
                fs::File::create_new(home.path().join("inside")).expect("no other process is inside");
            inside.sync_all().unwrap();
            fs::remove_file(home.path().join("inside")).unwrap();
            drop(commit);
        }
        return;
    }
    let home = TestHome::new();
    let ours: Vec<_> = (0..2).map(|_| HelperProcess::start(here!(), "write", &home)).collect();
    let enter = "set -eC; : > inside; sync inside; rm inside";
    let theirs = format!(
        "for _ in $(seq {ROUNDS}); do flock auth.lock flock auth.json.lock sh -c '{enter}' || exit 1; done"
    );
    let theirs = Command::new("sh").args(["-c", &theirs]).current_dir(home.path()).output().unwrap();
    ours.into_iter().for_each(HelperProcess::finish);
    assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
}

#[test]
fn the_second_lock_is_waited_for_two_seconds_and_the_old_login_stays() {
    for command in [&["login", "--store", "file", "--with-api-key"][..], &["logout", "--local"]] {
        let home = TestHome::new();
        login(&home, "sk-old").run().expect(0);
        let held = Flock::hold(&home.file("auth.json.lock"));
        let begun = Instant::now();
        let ended = home.codex(command.iter().copied()).input("sk-new").run().expect(6);
        let waited = begun.elapsed();
        let limit = Duration::from_secs(2);
        assert!((limit..limit + MARGIN).contains(&waited), "{waited:?}");
        assert!(ended.err.contains(&home.file("auth.json.lock").display().to_string()), "{ended}");
        assert!(ended.err.contains("hint: "), "{ended}");
        assert_eq!(home.read("auth.json"), file_of("sk-old"));
        drop(held);
        home.codex(command.iter().copied()).input("sk-new").run().expect(0);
    }
}

#[test]
fn the_first_lock_is_free_again_while_codex_keeps_the_second() {
    let home = TestHome::new();
    login(&home, "sk-old").run().expect(0);
    let held = Flock::hold(&home.file("auth.json.lock"));
    login(&home, "sk-new").run().expect(6);
    for free in [home.file("auth.lock"), home.file("codex-auth/refresh.lock")] {
        assert!(Flock::is_free(&free));
    }
    drop(held);
}

#[test]
fn a_login_waits_for_the_first_lock_and_is_then_stored() {
    let home = TestHome::new();
    login(&home, "sk-old").run().expect(0);
    let held = Flock::hold(&home.file("auth.lock"));
    let mut child = login(&home, "sk-new").start();
    // The process writes its pid into the lock file of the lease before it acquires the commit locks.
    let signature = format!("{} ", child.id());
    eventually("the lease", || home.read("codex-auth/refresh.lock").starts_with(&signature));
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(home.read("auth.json"), file_of("sk-old"));
    drop(held);
    assert!(child.wait().unwrap().success());
    assert_eq!(home.read("auth.json"), file_of("sk-new"));
}

#[test]
fn the_first_lock_is_waited_for_ten_seconds_at_most() {
    let home = TestHome::new();
    login(&home, "sk-old").run().expect(0);
    let _held = Flock::hold(&home.file("auth.lock"));
    let begun = Instant::now();
    let ended = login(&home, "sk-new").run().expect(6);
    let (waited, limit) = (begun.elapsed(), Duration::from_secs(10));
    assert!((limit..limit + MARGIN).contains(&waited), "{waited:?}");
    assert!(ended.err.contains(&home.file("auth.lock").display().to_string()), "{ended}");
    assert_eq!(home.read("auth.json"), file_of("sk-old"));
}

#[test]
fn a_commit_holds_both_locks_until_it_ends() {
    let home = TestHome::new();
    let lease = Lease::acquire(&home.home(), SOON, |_| {}).unwrap();
    let free = |lock: &str| Flock::is_free(&home.file(lock));
    let commit = CommitLocks::acquire(&lease, WriteIntent::Save).unwrap();
    assert!(commit.remaining().unwrap() <= Duration::from_secs(2));
    assert_eq!(BOTH_LOCKS.map(free), [false, false]);
    drop(commit);
    assert_eq!(BOTH_LOCKS.map(free), [true, true]);
}

#[test]
fn a_commit_has_no_time_left_after_its_limit() {
    let home = TestHome::new();
    let lease = Lease::acquire(&home.home(), SOON, |_| {}).unwrap();
    let commit = CommitLocks::acquire(&lease, WriteIntent::Save).unwrap();
    eventually("the end of the commit", || commit.remaining().is_err());
    assert!(matches!(commit.remaining(), Err(Error::CommitTooSlow)));
}

#[test]
fn the_second_lock_is_beside_the_target_of_a_link_and_the_first_in_the_home() {
    let home = TestHome::new();
    let elsewhere = home.beside("elsewhere");
    symlink("../elsewhere/login.json", home.document()).unwrap();
    login(&home, "sk-1").run().expect(0);
    assert_eq!(home.names(), ["auth.json", "auth.lock", "codex-auth"]);
    assert_eq!(names(&elsewhere), ["codex-auth", "login.json", "login.json.lock"]);
    assert!(home.document().is_symlink());

    let _held = Flock::hold(&elsewhere.join("login.json.lock"));
    let ended = login(&home, "sk-2").run().expect(6);
    assert!(ended.err.contains("login.json.lock"), "{ended}");
    assert_eq!(home.read("auth.json"), file_of("sk-1"));
}

#[test]
fn lock_files_are_private_under_any_umask() {
    for umask in ["000", "022", "077"] {
        let home = TestHome::new();
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        login(&home, "sk-1").through(["sh", "-c", &script]).run().expect(0);
        let mode = |name| fs::metadata(home.file(name)).unwrap().permissions().mode() & 0o7777;
        let modes = [
            "auth.lock",
            "auth.json.lock",
            "auth.json",
            "codex-auth",
            "codex-auth/refresh.lock",
            "codex-auth/state.json",
        ]
        .map(mode);
        assert_eq!(modes, [0o600, 0o600, 0o600, 0o700, 0o600, 0o600], "umask {umask}");
    }
}

#[test]
fn lock_files_stay_empty_and_are_never_replaced() {
    let home = TestHome::new();
    let files = || {
        ["auth.lock", "auth.json.lock", "codex-auth/refresh.lock"].map(|name| {
            let found = fs::metadata(home.file(name)).unwrap();
            (found.ino(), found.len())
        })
    };
    login(&home, "sk-1").run().expect(0);
    let before = files();
    assert!(before.iter().all(|(_, length)| *length == 0));
    login(&home, "sk-2").run().expect(0);
    home.codex(["logout", "--local"]).run().expect(0);
    assert_eq!(files(), before);
    assert_eq!(home.names(), ["auth.json.lock", "auth.lock", "codex-auth"]);
}

#[test]
fn a_lock_file_that_is_a_link_is_not_followed() {
    let home = TestHome::new();
    let elsewhere = home.beside("elsewhere");
    symlink(elsewhere.join("made"), home.file("auth.lock")).unwrap();
    login(&home, "sk-1").run().expect(5);
    assert!(names(&elsewhere).is_empty());
    assert!(!home.document().exists());
}
