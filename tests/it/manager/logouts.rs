//! Interrupted and failing logouts: a valid token stays in a store or rescue, and a revoked one is never served.

use std::fs;
use std::time::{Duration, Instant};

use scripted_authority::{Account, Endpoint, Grant, Moment, Step, TokenState, fingerprint};
use serde_json::{Value, json};

use super::world::{TEST_TIMEOUT, World};
use crate::support::{Flock, Machine, item, names, over_both_stores, session};

over_both_stores!(
    a_managed_login_without_a_refresh_token_is_revoked_by_its_access_token,
    the_login_of_another_machine_is_not_revoked,
    an_unreadable_document_is_revoked_by_the_tokens_in_it_and_removed,
    a_document_without_a_token_in_it_stays_until_it_is_forced,
    a_forced_logout_does_not_wait_for_other_programs,
    a_lock_that_cannot_be_opened_keeps_the_login_unrevoked,
);

/// The number of revocation requests.
pub fn revocations(world: &World<'_>) -> u64 {
    world.authority.counters().of(Endpoint::Revoke)
}

pub fn is_live(world: &World<'_>, grant: &Grant) -> bool {
    world.authority.state_of(&grant.tokens.refresh_token) == TokenState::Live
}

/// The grant's document with another refresh token.
fn with_refresh_token(grant: &Grant, token: &str) -> String {
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["tokens"]["refresh_token"] = json!(token);
    document.to_string()
}

fn a_managed_login_without_a_refresh_token_is_revoked_by_its_access_token(machine: &mut Machine) {
    let world = World::empty(machine);
    world.machine.store_text(with_refresh_token(&world.grant, ""));
    world.codex(["logout"]).run().expect(0);
    let journal = world.authority.journal();
    let asked: Vec<_> = journal.iter().filter(|entry| entry.endpoint == Endpoint::Revoke).collect();
    assert_eq!(asked.len(), 1, "{journal:#?}");
    assert_eq!(asked[0].fingerprint, Some(fingerprint(&world.grant.tokens.access_token)));
    assert_eq!(world.machine.stored_text(), None);
}

fn the_login_of_another_machine_is_not_revoked(machine: &mut Machine) {
    let world = World::empty(machine);
    for placeholder in ["placeholder", "PLACEHOLDER"] {
        world.machine.store_text(with_refresh_token(&world.grant, placeholder));
        world.codex(["logout"]).run().expect(0);
        assert_eq!((world.machine.stored_text(), revocations(&world)), (None, 0));
    }
    // The export holds no document and no token of its own.
    world.machine.store_text(with_refresh_token(&world.grant, "placeholder") + "}");
    world.codex(["logout", "--force"]).run().expect(0);
    assert!(is_live(&world, &world.grant));
}

/// Damaged versions of a document.
fn spoiled(document: &str) -> Vec<(&'static str, Vec<u8>)> {
    let open = document.trim_end().strip_suffix('}').unwrap();
    let mark = |text: &str| [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat();
    vec![
        ("a byte order mark", mark(document)),
        ("garbage behind it", format!("{document}}}").into_bytes()),
        ("cut off", open.as_bytes().to_vec()),
        ("a key twice", format!("{open},\"auth_mode\":\"chatgpt\"}}").into_bytes()),
        ("not UTF-8", [open.as_bytes(), b",\"theirs\":\"\xff\"}"].concat()),
    ]
}

fn an_unreadable_document_is_revoked_by_the_tokens_in_it_and_removed(machine: &mut Machine) {
    let world = World::empty(machine);
    for number in 0..5 {
        let grant = world.authority.grant(Account::numbered(number + 1));
        let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
        // Not used: the provenance of a damaged document is not trusted.
        document["tokens"]["oauth_provenance"] = json!({"issuer": "http://127.0.0.1:1", "client_id": "x"});
        let (what, bytes) = spoiled(&document.to_string()).swap_remove(number as usize);
        world.machine.store_text(bytes);
        let ended = world.codex(["logout"]).run();
        assert_eq!((ended.code, world.machine.stored_text()), (Some(0), None), "{what}\n{ended}");
        assert!(!is_live(&world, &grant), "{what}\n{ended}");
    }
}

fn a_document_without_a_token_in_it_stays_until_it_is_forced(machine: &mut Machine) {
    let world = World::empty(machine);
    world.machine.store_text("{\"auth_mode\": \"chatgpt\", \"tok");
    let before = world.machine.stored_text();
    let ended = world.codex(["logout"]).run().refused(5);
    let message = format!("error: the copy in {} was not removed: ", world.machine.location());
    assert!(ended.err.starts_with(&message), "{ended}");
    assert!(ended.err.ends_with("revoking its tokens: codex logout --force\n"), "{ended}");
    assert_eq!(world.machine.stored_text(), before);
    let ended = world.codex(["logout", "--force"]).run().expect(0);
    assert!(ended.err.contains("may stay valid"), "{ended}");
    assert_eq!(world.machine.stored_text(), None);
}

fn a_forced_logout_does_not_wait_for_other_programs(machine: &mut Machine) {
    let world = World::empty(machine);
    for lock in ["codex-auth/refresh.lock", "auth.lock", "auth.json.lock"] {
        let grant = world.authority.grant(Account::numbered(1));
        world.log_in(&grant);
        fs::create_dir_all(world.machine.home.file("codex-auth")).unwrap();
        let held = Flock::hold(&world.machine.home.file(lock));
        let started = Instant::now();
        let ended = world.codex(["logout", "--force"]).run();
        let took = started.elapsed();
        assert_eq!((ended.code, world.machine.stored_text()), (Some(0), None), "{lock}\n{ended}");
        assert!(took < Duration::from_secs(12), "{lock} took {took:?}");
        assert!(!is_live(&world, &grant), "{lock}\n{ended}");
        println!("{lock}: {took:.1?}");
        drop(held);
    }
}

fn a_lock_that_cannot_be_opened_keeps_the_login_unrevoked(machine: &mut Machine) {
    let world = World::fresh(machine);
    for lock in ["auth.lock", "auth.json.lock"] {
        let path = world.machine.home.file(lock);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let before = world.machine.stored_text();
        let ended = world.codex(["logout"]).run();
        assert_eq!((ended.code, revocations(&world)), (Some(5), 0), "{lock}\n{ended}");
        assert_eq!(world.machine.stored_text(), before, "{lock}");
        world.codex(["status"]).run().expect(0);
        world.codex(["token"]).run().expect(0);
        fs::remove_dir(&path).unwrap();
    }
}

/// A login in the keychain, and another one in the file, which is returned.
fn sign_in_twice(world: &World<'_>) -> Grant {
    let other = world.authority.grant(Account::numbered(2));
    world.sign_in(&world.grant);
    world.machine.home.write("auth.json", other.auth_json());
    other
}

#[test]
fn two_copies_with_different_tokens_are_both_revoked() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        let other = sign_in_twice(&world);
        world.codex(["logout"]).run().expect(0);
        assert_eq!((world.machine.stored_text(), world.machine.home.document().exists()), (None, false));
        assert!(!is_live(&world, &world.grant) && !is_live(&world, &other));
    });
}

#[test]
fn a_copy_in_a_locked_keychain_is_reported_and_no_copy_is_no_failure() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        world.sign_in(&world.grant);
        world.machine.home.write("config.toml", "cli_auth_credentials_store = \"file\"\n");
        let other = world.authority.grant(Account::numbered(2));
        for has_copy in [true, false] {
            if !has_copy {
                world.machine.session.as_mut().unwrap().stop_service();
                world.machine.session.as_mut().unwrap().start_unlocked();
                item(&world.machine.home).delete_credential().unwrap();
                fs::remove_file(world.machine.home.file("codex-auth/state.json")).unwrap();
            }
            world.machine.home.write("auth.json", other.auth_json());
            world.machine.session.as_mut().unwrap().lock_again();
            let ended = world.codex(["logout"]).run();
            println!("{ended}");
            assert!(!world.machine.home.document().exists(), "{ended}");
            if has_copy {
                let ended = ended.expect(5);
                let message = format!("the copy in {} was not removed", world.machine.location());
                assert!(ended.err.contains(&message) && ended.err.contains("codex logout\n"), "{ended}");
            } else {
                ended.expect(0);
            }
        }
        assert_eq!(world.machine.session.as_mut().unwrap().dialogues(), [""; 0]);
    });
}

/// The item of a login with fields of other programs.
fn with_foreign_fields(grant: &Grant) -> String {
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["theirs"] =
        json!({"b": [1, 2.5, -3, 12_345_678_901_234_567_890_u64], "a": "ä\n\u{1f600}", "n": null});
    document["tokens"]["theirs"] = json!("x");
    document.to_string()
}

#[test]
fn an_item_whose_login_cannot_be_revoked_is_restored_byte_for_byte() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        world.sign_in(&world.grant);
        world.machine.store_text(with_foreign_fields(&world.grant));
        world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
        let before = world.machine.stored_text();
        let ended = world.codex(["logout"]).run().refused(4);
        assert_eq!(world.machine.stored_text(), before, "{ended}");
        assert!(!world.has_rescue());
        world.codex(["token"]).run().expect(0);
    });
}

#[test]
fn a_newer_login_is_not_replaced_by_one_that_cannot_be_revoked() {
    session::inside(crate::support::here!(), a_newer_login_stays);
}

#[test]
fn two_copies_of_one_login_both_stay_if_they_cannot_be_revoked() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        let other = sign_in_twice(&world);
        world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
        let before = world.machine.stored_text();
        world.codex(["logout"]).run().refused(4);
        assert_eq!((world.machine.stored_text(), world.has_rescue()), (before.clone(), false));
        assert_eq!(world.machine.home.read("auth.json"), other.auth_json());
        // The same if another process completes the logout.
        world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", "removed=kill").run();
        if world.machine.stored_text().is_none() {
            let _ = world.codex(["refresh"]).run();
            assert_eq!((world.machine.stored_text(), world.has_rescue()), (before, false));
        }
        assert!(is_live(&world, &world.grant) && is_live(&world, &other));
    });
}

/// Another program logs in after the item was removed and before the revocation: its login stays, and the old one is
/// revoked later.
fn a_newer_login_stays() {
    let mut machine = Machine::with_keychain();
    let world = World::empty(&mut machine);
    world.sign_in(&world.grant);
    let newer = world.authority.grant(Account::numbered(2));
    world.authority.script(Endpoint::Revoke, Step::status(500, "oops").and_held(Moment::Before));
    world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
    let logout = world.codex(["logout"]).start();
    world.authority.wait_for_requests(Endpoint::Revoke, 1, TEST_TIMEOUT).unwrap();
    assert_eq!(world.machine.stored_text(), None);
    world.machine.store_text(newer.auth_json());
    world.authority.release_all();
    let output = logout.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(world.machine.stored_text(), Some(newer.auth_json()));
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), newer.tokens.access_token);
    assert!(is_live(&world, &world.grant));
    world.authority.clear_script();
    world.codex(["refresh"]).run().expect(0);
    assert!(!is_live(&world, &world.grant), "a token without an owner is revoked");
    let left = names(&world.machine.home.file("codex-auth"));
    assert!(left.iter().all(|name| !name.starts_with("rescue")), "{left:?}");
    world.codex(["token"]).run().expect(0);
    world.codex(["logout"]).run().expect(0);
}

/// The newest token of the login is in no store of this machine.
#[test]
fn a_logout_of_an_old_copy_says_that_nothing_was_revoked() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let old = fs::read(world.machine.home.document()).unwrap();
    world.codex(["refresh"]).run().expect(0);
    fs::write(world.machine.home.document(), old).unwrap();
    let ended = world.codex(["logout"]).run().expect(0);
    assert!(ended.err.contains("warning: nothing was revoked: the refresh token was used before"), "{ended}");
    assert!(!world.machine.home.document().exists());
}
