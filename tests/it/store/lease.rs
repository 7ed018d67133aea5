//! The lease between processes: one holder at a time, named to waiters, and free when the holder dies.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use codex_auth::store::{Error, LockError};
use codex_auth::{AuthDocument, Environment, Lease, StoreKind, store};

use super::SOON;
use super::worlds::api_key;
use crate::support::{HelperProcess, Run, TestHome, here, names, report, role, wait_for_input};

fn login(home: &TestHome, key: &str) -> Run {
    home.codex(["login", "--store", "file", "--with-api-key"]).input(key)
}

/// A login that waits 300 ms for a lock.
fn login_with_short_timeout(home: &TestHome) -> Run {
    login(home, "sk-impatient").env("CODEX_AUTH_LOCK_TIMEOUT", "300ms")
}

/// The helper process: acquires the lease of its home, reports it, and holds it until it gets input.
fn hold_the_lease() {
    let home = store::locate(&Environment::of_process().unwrap()).unwrap();
    let lease = Lease::acquire(&home, SOON, |waiting| {
        let holder = waiting.holder().map_or(0, |holder| holder.pid);
        report(&format!("waiting for {holder}."));
    });
    // A helper that fails ends here, and the test that waits for its report fails.
    let lease = lease.unwrap();
    report("held.");
    wait_for_input();
    drop(lease);
}

#[test]
fn a_second_process_waits_until_the_first_has_finished() {
    if role().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    let first = HelperProcess::until(here!(), "hold", &home, "held.");
    let waiting = format!("waiting for {}.", first.pid());
    let mut second = HelperProcess::until(here!(), "hold", &home, &waiting);
    first.finish();
    second.await_word("held.");
    second.finish();
}

#[test]
fn a_lock_timeout_names_the_holder_and_exits_with_6() {
    if role().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    login(&home, "sk-old").run().expect(0);
    let holder = HelperProcess::until(here!(), "hold", &home, "held.");
    let named = format!("codex-auth (pid {})", holder.pid());
    for ended in [
        login_with_short_timeout(&home).run().expect(6),
        home.codex(["logout", "--local"]).env("CODEX_AUTH_LOCK_TIMEOUT", "300ms").run().expect(6),
    ] {
        assert!(ended.err.contains(&named) && ended.err.contains("hint: "), "{ended}");
        assert!(ended.err.contains("refresh.lock"), "{ended}");
    }
    // Reading needs no lease.
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-old\n");
    home.codex(["status"]).run().expect(0);
    holder.finish();
    login_with_short_timeout(&home).run().expect(0);
}

#[test]
fn a_second_lease_in_the_same_process_waits_too() {
    let home = TestHome::new();
    let lease = Lease::acquire(&home.home(), SOON, |_| {}).unwrap();
    let second = Lease::acquire(&home.home(), Duration::ZERO, |_| {});
    let Err(Error::Lock(LockError::Held { holder: Some(holder), .. })) = second else { panic!("{second:?}") };
    assert_eq!((holder.pid, holder.program.as_str()), (std::process::id(), "codex-auth"));
    drop(lease);
    assert!(Lease::acquire(&home.home(), Duration::ZERO, |_| {}).is_ok());
}

#[test]
fn the_lease_of_a_killed_process_is_free() {
    if role().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    // Dropping a helper process kills it with SIGKILL.
    drop(HelperProcess::until(here!(), "hold", &home, "held."));
    login_with_short_timeout(&home).run().expect(0);
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-impatient\n");
}

#[test]
fn a_waiter_acquires_the_lease_when_its_holder_is_killed() {
    if role().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    let first = HelperProcess::until(here!(), "hold", &home, "held.");
    let mut second = HelperProcess::until(here!(), "hold", &home, &format!("waiting for {}.", first.pid()));
    drop(first);
    second.await_word("held.");
    let named = format!("codex-auth (pid {})", second.pid());
    let ended = login_with_short_timeout(&home).run().expect(6);
    assert!(ended.err.contains(&named), "the note names the killed process: {ended}");
    second.finish();
}

#[test]
fn two_homes_that_share_a_document_share_the_lease_and_the_state() {
    if role().is_some() {
        return hold_the_lease();
    }
    let (owner, guest) = (TestHome::new(), TestHome::new());
    symlink(owner.document(), guest.document()).unwrap();
    login(&guest, "sk-1").run().expect(0);
    assert_eq!(owner.codex(["token"]).run().expect(0).out, "sk-1\n");
    assert_eq!(names(&owner.file("codex-auth")), ["history", "refresh.lock", "state.json"]);
    assert_eq!(names(&guest.file("codex-auth")), ["link", "refresh.lock"]);
    for (holding, other) in [(&owner, &guest), (&guest, &owner)] {
        let holder = HelperProcess::until(here!(), "hold", holding, "held.");
        let ended = login_with_short_timeout(other).run().expect(6);
        assert!(ended.err.contains(&format!("(pid {})", holder.pid())), "{ended}");
        holder.finish();
        login_with_short_timeout(other).run().expect(0);
    }
}

#[test]
fn separate_homes_do_not_wait_for_each_other() {
    if role().is_some() {
        return hold_the_lease();
    }
    let (home, other) = (TestHome::new(), TestHome::new());
    let holder = HelperProcess::until(here!(), "hold", &home, "held.");
    login_with_short_timeout(&other).run().expect(0);
    holder.finish();
}

#[test]
fn eight_concurrent_logins_succeed_and_readers_see_only_whole_documents() {
    const LOGINS: usize = 8;
    let home = TestHome::new();
    // Of different lengths, so that a torn write would be noticed.
    let keys: Vec<_> = (0..LOGINS).map(|number| format!("sk-{}", "k".repeat(500 * number + 1))).collect();
    let wholes: Vec<_> =
        keys.iter().chain([&"sk-first".to_owned()]).map(|key| api_key(key).to_pretty()).collect();
    login(&home, "sk-first").run().expect(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::SeqCst) || reads == 0 {
                let read = fs::read(home.document()).unwrap();
                assert!(wholes.iter().any(|whole| ***whole == read), "{} bytes", read.len());
                reads += 1;
            }
        });
        let logins: Vec<_> = keys.iter().map(|key| login(&home, key).start()).collect();
        let ended: Vec<_> = logins.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        for output in ended {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    });
    assert!(wholes[..LOGINS].iter().any(|whole| ***whole == fs::read(home.document()).unwrap()));
    assert_eq!(home.names(), ["auth.json", "auth.json.lock", "auth.lock", "codex-auth"]);
    assert_eq!(names(&home.file("codex-auth")), ["history", "refresh.lock", "state.json"]);
    let found = home.stores().find().unwrap().stored.unwrap();
    assert_eq!(found.location.kind(), StoreKind::File);
    assert!(AuthDocument::parse(&fs::read(home.document()).unwrap()).is_ok());
}
