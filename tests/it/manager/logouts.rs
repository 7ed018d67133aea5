//! Logouts that are interrupted, refused or disturbed: a live token stays in a store or in a rescue, and a dead one is never
//! handed out.

use std::fs;
use std::time::{Duration, Instant};

use scripted_authority::{Account, Endpoint, Grant, Moment, Step, TokenState, fingerprint};
use serde_json::{Value, json};

use super::world::{PATIENCE, World};
use crate::support::{Flock, Machine, item, names, over_both_stores, session};

over_both_stores!(
    a_managed_login_without_a_refresh_token_is_revoked_by_its_access_token,
    the_login_of_another_machine_is_not_revoked,
    an_unreadable_document_is_revoked_by_the_tokens_in_it_and_removed,
    a_document_without_a_token_in_it_stays_until_it_is_forced,
    a_forced_logout_does_not_wait_for_other_programs,
    a_lock_that_cannot_be_opened_keeps_the_login_and_nothing_is_revoked,
);

#[cfg(feature = "failpoints")]
over_both_stores!(
    a_killed_logout_is_completed_by_the_next_command,
    a_login_that_is_being_ended_is_not_given_out,
    a_forced_logout_revokes_what_a_killed_refresh_left,
    a_local_logout_of_what_a_killed_refresh_left_asks_nobody,
);

// Linux: only there a run is stopped half way.
#[cfg(all(target_os = "linux", feature = "failpoints"))]
over_both_stores!(a_killed_logout_ends_what_another_program_made_of_the_login_meanwhile);

/// How many revocations were asked for.
pub fn revocations(world: &World<'_>) -> u64 {
    world.authority.counters().of(Endpoint::Revoke)
}

pub fn is_live(world: &World<'_>, grant: &Grant) -> bool {
    world.authority.state_of(&grant.tokens.refresh_token) == TokenState::Live
}

#[cfg(all(target_os = "linux", feature = "failpoints"))]
fn kill(signal: &str, pid: u32) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// The grant's document with another refresh token in it.
fn with_refresh_token(grant: &Grant, token: &str) -> String {
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["tokens"]["refresh_token"] = json!(token);
    document.to_string()
}

fn a_managed_login_without_a_refresh_token_is_revoked_by_its_access_token(machine: &mut Machine) {
    let world = World::empty(machine);
    world.machine.keep(with_refresh_token(&world.grant, ""));
    world.codex(["logout"]).run().expect(0);
    let journal = world.authority.journal();
    let asked: Vec<_> = journal.iter().filter(|entry| entry.endpoint == Endpoint::Revoke).collect();
    assert_eq!(asked.len(), 1, "{journal:#?}");
    assert_eq!(asked[0].fingerprint, Some(fingerprint(&world.grant.tokens.access_token)));
    assert_eq!(world.machine.kept(), None);
}

fn the_login_of_another_machine_is_not_revoked(machine: &mut Machine) {
    let world = World::empty(machine);
    for placeholder in ["placeholder", "PLACEHOLDER"] {
        world.machine.keep(with_refresh_token(&world.grant, placeholder));
        world.codex(["logout"]).run().expect(0);
        assert_eq!((world.machine.kept(), revocations(&world)), (None, 0));
    }
    // It is no document, and no token of its own either.
    world.machine.keep(with_refresh_token(&world.grant, "placeholder") + "}");
    world.codex(["logout", "--force"]).run().expect(0);
    assert!(is_live(&world, &world.grant));
}

/// Ways in which a document is spoiled.
fn spoiled(document: &str) -> Vec<(&'static str, Vec<u8>)> {
    let open = document.trim_end().strip_suffix('}').unwrap();
    let mark = |text: &str| [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat();
    vec![
        ("a byte order mark", mark(document)),
        ("garbage behind it", format!("{document}}}").into_bytes()),
        ("cut off", open.as_bytes().to_vec()),
        ("a key twice", format!("{open},\"auth_mode\":\"chatgpt\"}}").into_bytes()),
        ("a number that is too large", format!("{open},\"theirs\":1e999}}").into_bytes()),
        ("not UTF-8", [open.as_bytes(), b",\"theirs\":\"\xff\"}"].concat()),
    ]
}

fn an_unreadable_document_is_revoked_by_the_tokens_in_it_and_removed(machine: &mut Machine) {
    let world = World::empty(machine);
    for number in 0..6 {
        let grant = world.authority.grant(Account::numbered(number + 1));
        let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
        // Never asked: nobody says that this is a document of ours.
        document["tokens"]["oauth_provenance"] = json!({"issuer": "http://127.0.0.1:1", "client_id": "x"});
        let (what, bytes) = spoiled(&document.to_string()).swap_remove(number as usize);
        world.machine.keep(bytes);
        let ended = world.codex(["logout"]).run();
        assert_eq!((ended.code, world.machine.kept()), (Some(0), None), "{what}\n{ended}");
        assert!(!is_live(&world, &grant), "{what}\n{ended}");
    }
}

fn a_document_without_a_token_in_it_stays_until_it_is_forced(machine: &mut Machine) {
    let world = World::empty(machine);
    world.machine.keep("{\"auth_mode\": \"chatgpt\", \"tok");
    let before = world.machine.kept();
    let ended = world.codex(["logout"]).run().refused(5);
    let told = format!("error: the copy in {} was not removed: ", world.machine.location());
    assert!(ended.err.starts_with(&told), "{ended}");
    assert!(ended.err.ends_with("revoking its tokens: codex logout --force\n"), "{ended}");
    assert_eq!(world.machine.kept(), before);
    let ended = world.codex(["logout", "--force"]).run().expect(0);
    assert!(ended.err.contains("may live on"), "{ended}");
    assert_eq!(world.machine.kept(), None);
}

fn a_forced_logout_does_not_wait_for_other_programs(machine: &mut Machine) {
    let world = World::empty(machine);
    for lock in ["codex-auth/refresh.lock", "auth.lock", "auth.json.lock"] {
        let grant = world.authority.grant(Account::numbered(1));
        world.log_in(&grant);
        fs::create_dir_all(world.machine.home.file("codex-auth")).unwrap();
        let held = Flock::hold(&world.machine.home.file(lock));
        let begun = Instant::now();
        let ended = world.codex(["logout", "--force"]).run();
        let took = begun.elapsed();
        assert_eq!((ended.code, world.machine.kept()), (Some(0), None), "{lock}\n{ended}");
        assert!(took < Duration::from_secs(12), "{lock} took {took:?}");
        assert!(!is_live(&world, &grant), "{lock}\n{ended}");
        println!("{lock}: {took:.1?}");
        drop(held);
    }
}

fn a_lock_that_cannot_be_opened_keeps_the_login_and_nothing_is_revoked(machine: &mut Machine) {
    let world = World::fresh(machine);
    for lock in ["auth.lock", "auth.json.lock"] {
        let path = world.machine.home.file(lock);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let before = world.machine.kept();
        let ended = world.codex(["logout"]).run();
        assert_eq!((ended.code, revocations(&world)), (Some(5), 0), "{lock}\n{ended}");
        assert_eq!(world.machine.kept(), before, "{lock}");
        world.codex(["status"]).run().expect(0);
        world.codex(["token"]).run().expect(0);
        fs::remove_dir(&path).unwrap();
    }
}

#[cfg(feature = "failpoints")]
fn a_killed_logout_is_completed_by_the_next_command(machine: &mut Machine) {
    for step in ["logging out", "held", "removed", "revoked"] {
        for next in ["refresh", "logout", "migrate", "login"] {
            let world = World::empty(machine);
            world.sign_in(&world.grant);
            let ended = world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run();
            if ended.code == Some(0) {
                // Where the login is revoked before it is removed there is no such step.
                assert!(
                    matches!(step, "held" | "removed") && world.machine.session.is_none(),
                    "{step}\n{ended}"
                );
                continue;
            }
            assert_eq!(ended.code, Some(4), "{step}\n{ended}");
            let given = world.codex(["token"]).run();
            assert_ne!(given.code, Some(0), "{step}: {given}");
            let run = match next {
                "migrate" => world.codex(["migrate", "--to", world.machine.store()]),
                "login" => world.codex(["login", "--with-api-key"]).input("sk-new"),
                command => world.codex([command]),
            };
            let mut ended = run.run();
            if next == "migrate" && ended.code == Some(1) {
                // Where no login is stored there is nothing to move, and no lease is acquired.
                if world.has_rescue() {
                    ended = world.codex(["refresh"]).run();
                }
            }
            assert!(!is_live(&world, &world.grant), "{step}, {next}\n{ended}");
            assert!(!world.has_rescue(), "{step}, {next}\n{ended}");
            if next == "login" {
                assert_eq!(world.codex(["token"]).run().expect(0).out, "sk-new\n");
            } else {
                assert_eq!(world.machine.kept(), None, "{step}, {next}\n{ended}");
                world.codex(["status"]).run().expect(1);
            }
            world.codex(["logout"]).run().expect(0);
            assert_eq!(world.machine.kept(), None);
        }
    }
}

/// The grant's document with the id that every login of Codex 0.169 makes.
fn with_login_id(grant: &Grant) -> String {
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["tokens"]["login_owner_id"] = json!("login-1");
    document.to_string()
}

#[cfg(all(target_os = "linux", feature = "failpoints"))]
fn a_killed_logout_ends_what_another_program_made_of_the_login_meanwhile(machine: &mut Machine) {
    use super::rival::Rival;
    use crate::support::{Pause, children};
    // The last moment at which another program finds the login in its store.
    let step = if machine.session.is_some() { "held" } else { "revoked" };
    for next in ["refresh", "logout"] {
        let world = World::empty(machine);
        world.machine.keep(with_login_id(&world.grant));
        let rival = Rival::refreshing(&world);
        let pause = Pause::at(step);
        let mut logout = pause.govern(world.codex(["logout"])).start();
        let standing = pause.arrived();
        rival.commit(world.machine);
        kill("-KILL", children(logout.id())[0]);
        logout.wait().unwrap();
        drop(standing);
        let given = world.codex(["token"]).run();
        assert!(given.code != Some(0) && given.out.is_empty(), "{next}: {given}");
        let ended = world.codex([next]).run();
        assert_eq!(world.machine.kept(), None, "{next}: {ended}");
        assert_ne!(
            world.authority.state_of(rival.given("refresh_token")),
            TokenState::Live,
            "{next}: {ended}"
        );
        assert!(!world.has_rescue(), "{next}: {ended}");
    }
}

#[cfg(feature = "failpoints")]
fn a_login_that_is_being_ended_is_not_given_out(machine: &mut Machine) {
    use crate::app_server::client::Client;
    use crate::keeper::process::Process;

    let world = World::empty(machine);
    world.sign_in(&world.grant);
    let keeper = Process::of(&world);
    let mut editor = Client::start(world.codex(["app-server"]).into_command());
    editor.introduce(&json!({}));
    let status = |editor: &mut Client| editor.call("getAuthStatus", json!({"includeToken": true}));
    assert!(status(&mut editor)["authToken"].is_string());
    world.codex(["token"]).run().expect(0);

    world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", "logging out=kill").run().expect(4);
    let socket = world.machine.home.file("codex-auth/keeper/sock");
    let by_socket = || world.codex(["token"]).without("CODEX_HOME").env("CODEX_AUTH_SOCKET", &socket);
    for run in [world.codex(["token"]), by_socket(), world.codex(["token"])] {
        let begun = Instant::now();
        let ended = run.run();
        println!("{:.1?} {ended}", begun.elapsed());
        assert!(ended.code != Some(0) && ended.out.is_empty(), "{ended}");
        assert!(!status(&mut editor)["authToken"].is_string());
    }
    drop(keeper);
}

#[cfg(feature = "failpoints")]
fn a_forced_logout_revokes_what_a_killed_refresh_left(machine: &mut Machine) {
    let world = World::stale(machine);
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let live = world.live().unwrap();
    let held = Flock::hold(&world.machine.home.file("auth.lock"));
    let begun = Instant::now();
    let ended = world.codex(["logout", "--force"]).run().expect(0);
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}\n{ended}", begun.elapsed());
    assert_ne!(world.authority.state_of(&live), TokenState::Live, "{ended}");
    assert_eq!((world.machine.kept(), world.has_rescue()), (None, false));
    drop(held);
}

#[cfg(feature = "failpoints")]
fn a_local_logout_of_what_a_killed_refresh_left_asks_nobody(machine: &mut Machine) {
    let world = World::stale(machine);
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let ended = world.codex(["logout", "--local"]).run().expect(0);
    assert!(ended.err.contains("the tokens were not revoked (--local)"), "{ended}");
    assert_eq!((world.machine.kept(), world.has_rescue(), revocations(&world)), (None, false, 0));
}

// Linux: /proc.
#[cfg(all(target_os = "linux", feature = "failpoints"))]
#[test]
fn an_interrupted_logout_does_not_happen_later() {
    use crate::support::{children, eventually, has_open, is_alive};
    for (signal, at_the_lock) in [("-INT", true), ("-KILL", true), ("-INT", false), ("-KILL", false)] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        fs::create_dir_all(world.machine.home.file("codex-auth")).unwrap();
        let lock = world.machine.home.file("codex-auth/refresh.lock");
        let held = Flock::hold(&lock);
        let mut logout = world.codex(["logout"]).start();
        let mut below = Vec::new();
        eventually("the child", || {
            below = children(logout.id());
            !below.is_empty()
        });
        if at_the_lock {
            eventually("the child to wait for the lock", || {
                below.iter().any(|child| has_open(*child, &lock))
            });
        }
        kill(signal, logout.id());
        logout.wait().unwrap();
        eventually("the child to end", || below.iter().all(|child| !is_alive(*child)));
        drop(held);
        assert!(is_live(&world, &world.grant), "{signal}");
        world.codex(["token"]).run().expect(0);
    }
}

#[test]
fn two_copies_with_different_tokens_are_both_revoked() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        let other = world.authority.grant(Account::numbered(2));
        world.sign_in(&world.grant);
        world.machine.home.write("auth.json", other.auth_json());
        world.codex(["logout"]).run().expect(0);
        assert_eq!((world.machine.kept(), world.machine.home.document().exists()), (None, false));
        assert!(!is_live(&world, &world.grant) && !is_live(&world, &other));
    });
}

#[cfg(feature = "failpoints")]
#[test]
fn a_killed_logout_ends_every_copy_of_the_login() {
    session::inside(crate::support::here!(), || {
        for step in ["logging out", "held", "removed", "revoked"] {
            let mut machine = Machine::with_keychain();
            let world = World::empty(&mut machine);
            world.machine.keep(with_login_id(&world.grant));
            world.machine.home.write("auth.json", with_login_id(&world.grant));
            world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run().expect(4);
            let ended = world.codex(["refresh"]).run();
            assert_eq!(
                (world.machine.kept(), world.machine.home.document().exists()),
                (None, false),
                "{step}: {ended}"
            );
            assert!(!is_live(&world, &world.grant), "{step}: {ended}");
        }
    });
}

#[test]
fn a_copy_in_a_locked_keychain_is_named_and_no_copy_there_is_no_failure() {
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
                let told = format!("the copy in {} was not removed", world.machine.location());
                assert!(ended.err.contains(&told) && ended.err.contains("codex logout\n"), "{ended}");
            } else {
                ended.expect(0);
            }
        }
        assert_eq!(world.machine.session.as_mut().unwrap().dialogues(), [""; 0]);
    });
}

/// The item of a login with fields that only other programs know.
fn with_theirs(grant: &Grant) -> String {
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["theirs"] =
        json!({"b": [1, 2.5, -3, 12_345_678_901_234_567_890_u64], "a": "ä\n\u{1f600}", "n": null});
    document["tokens"]["theirs"] = json!("x");
    document.to_string()
}

#[test]
fn an_item_whose_login_cannot_be_revoked_is_put_back_byte_for_byte() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        world.sign_in(&world.grant);
        world.machine.keep(with_theirs(&world.grant));
        world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
        let before = world.machine.kept();
        let ended = world.codex(["logout"]).run().refused(4);
        assert_eq!(world.machine.kept(), before, "{ended}");
        assert!(!world.has_rescue());
        world.codex(["token"]).run().expect(0);
    });
}

#[test]
fn a_newer_login_is_not_replaced_by_one_that_cannot_be_revoked() {
    session::inside(crate::support::here!(), a_newer_login_stays);
}

#[test]
fn a_second_copy_is_no_newer_login_and_both_stay_if_nothing_can_be_revoked() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        let other = world.authority.grant(Account::numbered(2));
        world.sign_in(&world.grant);
        world.machine.home.write("auth.json", other.auth_json());
        world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
        let before = world.machine.kept();
        world.codex(["logout"]).run().refused(4);
        assert_eq!((world.machine.kept(), world.has_rescue()), (before.clone(), false));
        assert_eq!(world.machine.home.read("auth.json"), other.auth_json());
        // The same where the logout is completed by another process.
        world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", "removed=kill").run();
        if world.machine.kept().is_none() {
            let _ = world.codex(["refresh"]).run();
            assert_eq!((world.machine.kept(), world.has_rescue()), (before, false));
        }
        assert!(is_live(&world, &world.grant) && is_live(&world, &other));
    });
}

/// The revocation is under way, the item is removed, and another program logs in: what it stored stays. The old login is
/// revoked when that can be done.
fn a_newer_login_stays() {
    let mut machine = Machine::with_keychain();
    let world = World::empty(&mut machine);
    world.sign_in(&world.grant);
    let newer = world.authority.grant(Account::numbered(2));
    world.authority.script(Endpoint::Revoke, Step::status(500, "oops").and_held(Moment::Before));
    world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
    let logout = world.codex(["logout"]).start();
    world.authority.wait_for_requests(Endpoint::Revoke, 1, PATIENCE).unwrap();
    assert_eq!(world.machine.kept(), None);
    world.machine.keep(newer.auth_json());
    world.authority.release_all();
    let output = logout.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(world.machine.kept(), Some(newer.auth_json()));
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), newer.tokens.access_token);
    assert!(is_live(&world, &world.grant));
    world.authority.clear_script();
    world.codex(["refresh"]).run().expect(0);
    assert!(!is_live(&world, &world.grant), "what nobody has is revoked");
    let left = names(&world.machine.home.file("codex-auth"));
    assert!(left.iter().all(|name| !name.starts_with("rescue")), "{left:?}");
    world.codex(["token"]).run().expect(0);
    world.codex(["logout"]).run().expect(0);
}
