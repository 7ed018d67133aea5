//! The lease between processes: one at a time, named while it is waited for, and free when its holder is dead.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use codex_auth::store::{Error, LockError};
use codex_auth::{AuthDocument, Environment, Lease, StoreKind, store};

use super::SOON;
use super::worlds::api_key;
use crate::support::{Actor, Run, TestHome, await_cue, here, names, part, tell};

fn login(home: &TestHome, key: &str) -> Run {
    home.codex(["login", "--store", "file", "--with-api-key"]).input(key)
}

/// A login that soon gives up.
fn impatient(home: &TestHome) -> Run {
    login(home, "sk-impatient").env("CODEX_AUTH_LOCK_TIMEOUT", "300ms")
}

/// The part of a process that takes the lease of its home, says so, and keeps it until it is told to stop.
fn hold_the_lease() {
    let home = store::locate(&Environment::of_process().unwrap()).unwrap();
    let lease = Lease::acquire(&home, SOON, |waiting| {
        let holder = waiting.holder().map_or(0, |holder| holder.pid);
        tell(&format!("waiting for {holder}."));
    });
    // A part that fails ends here, and the test that waits for its words ends with it.
    let lease = lease.unwrap();
    tell("held.");
    await_cue();
    drop(lease);
}

#[test]
fn a_second_process_waits_until_the_first_has_finished() {
    if part().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    let first = Actor::until(here!(), "hold", &home, "held.");
    let waiting = format!("waiting for {}.", first.pid());
    let mut second = Actor::until(here!(), "hold", &home, &waiting);
    first.finish();
    second.await_word("held.");
    second.finish();
}

#[test]
fn who_gives_up_says_who_is_in_the_way_and_exits_with_six() {
    if part().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    login(&home, "sk-old").run().expect(0);
    let holder = Actor::until(here!(), "hold", &home, "held.");
    let named = format!("codex-auth (pid {})", holder.pid());
    for ended in [
        impatient(&home).run().expect(6),
        home.codex(["logout", "--local"]).env("CODEX_AUTH_LOCK_TIMEOUT", "300ms").run().expect(6),
    ] {
        assert!(ended.err.contains(&named) && ended.err.contains("hint: "), "{ended}");
        assert!(ended.err.contains("refresh.lock"), "{ended}");
    }
    // Who only reads needs no lease.
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-old\n");
    home.codex(["status"]).run().expect(0);
    holder.finish();
    impatient(&home).run().expect(0);
}

#[test]
fn a_handle_of_the_same_process_waits_too() {
    let home = TestHome::new();
    let lease = Lease::acquire(&home.home(), SOON, |_| {}).unwrap();
    let second = Lease::acquire(&home.home(), Duration::ZERO, |_| {});
    let Err(Error::Lock(LockError::Held { holder: Some(holder), .. })) = second else { panic!("{second:?}") };
    assert_eq!((holder.pid, holder.program.as_str()), (std::process::id(), "codex-auth"));
    drop(lease);
    assert!(Lease::acquire(&home.home(), Duration::ZERO, |_| {}).is_ok());
}

#[test]
fn a_holder_that_was_killed_is_in_nobodys_way() {
    if part().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    // Dropping an actor kills it as `kill -9` does.
    drop(Actor::until(here!(), "hold", &home, "held."));
    impatient(&home).run().expect(0);
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-impatient\n");
}

#[test]
fn a_waiter_gets_the_lease_of_a_holder_that_is_killed() {
    if part().is_some() {
        return hold_the_lease();
    }
    let home = TestHome::new();
    let first = Actor::until(here!(), "hold", &home, "held.");
    let mut second = Actor::until(here!(), "hold", &home, &format!("waiting for {}.", first.pid()));
    drop(first);
    second.await_word("held.");
    let named = format!("codex-auth (pid {})", second.pid());
    let ended = impatient(&home).run().expect(6);
    assert!(ended.err.contains(&named), "the note is the dead one's: {ended}");
    second.finish();
}

#[test]
fn two_places_that_share_a_document_share_the_lease_and_the_record() {
    if part().is_some() {
        return hold_the_lease();
    }
    let (owner, guest) = (TestHome::new(), TestHome::new());
    symlink(owner.document(), guest.document()).unwrap();
    login(&guest, "sk-1").run().expect(0);
    assert_eq!(owner.codex(["token"]).run().expect(0).out, "sk-1\n");
    assert_eq!(names(&owner.file("codex-auth")), ["refresh.lock", "state.json"]);
    assert_eq!(names(&guest.file("codex-auth")), ["refresh.lock"]);
    for (holding, other) in [(&owner, &guest), (&guest, &owner)] {
        let holder = Actor::until(here!(), "hold", holding, "held.");
        let ended = impatient(other).run().expect(6);
        assert!(ended.err.contains(&format!("(pid {})", holder.pid())), "{ended}");
        holder.finish();
        impatient(other).run().expect(0);
    }
}

#[test]
fn places_of_their_own_do_not_wait_for_each_other() {
    if part().is_some() {
        return hold_the_lease();
    }
    let (home, other) = (TestHome::new(), TestHome::new());
    let holder = Actor::until(here!(), "hold", &home, "held.");
    impatient(&other).run().expect(0);
    holder.finish();
}

#[test]
fn of_eight_logins_at_once_all_succeed_and_no_reader_sees_anything_but_a_whole_document() {
    const LOGINS: usize = 8;
    let home = TestHome::new();
    // Of different lengths, so that a torn one could not pass.
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
    assert_eq!(names(&home.file("codex-auth")), ["refresh.lock", "state.json"]);
    let found = home.stores().find().unwrap().stored.unwrap();
    assert_eq!(found.location.kind(), StoreKind::File);
    assert!(AuthDocument::parse(&fs::read(home.document()).unwrap()).is_ok());
}
