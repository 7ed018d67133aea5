//! Killed logouts: the next command completes the logout, and the token is no longer served.

use std::fs;
use std::time::{Duration, Instant};

use codex_auth::{Lease, manager};
use scripted_authority::{Account, Endpoint, Grant, Step, TokenState};
use serde_json::{Value, json};

use super::logouts::{is_live, revocations};
use super::rival::Rival;
use super::world::{TEST_TIMEOUT, World};
use crate::app_server::client::Client;
use crate::keeper::process::Process;
use crate::support::{Flock, Machine, Pause, children, eventually, is_alive, over_both_stores, session};

over_both_stores!(
    a_killed_logout_is_completed_by_the_next_command,
    the_token_of_an_interrupted_logout_is_not_served,
    a_running_logout_is_not_called_interrupted,
    a_forced_logout_revokes_the_rescue_of_a_killed_refresh,
    a_local_logout_after_a_killed_refresh_sends_no_request,
    a_killed_logout_removes_what_another_program_refreshed_meanwhile,
    a_login_after_a_killed_logout_leaves_no_valid_old_token,
    a_logout_keeps_the_login_of_another_account_stored_meanwhile,
    a_logout_is_cancelled_if_its_caller_exits_before_the_revocation,
);

fn kill(signal: &str, pid: u32) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn a_killed_logout_is_completed_by_the_next_command(machine: &mut Machine) {
    for step in ["logging out", "held", "removed", "revoked"] {
        for next in ["refresh", "logout", "migrate", "login"] {
            let world = World::empty(machine);
            world.sign_in(&world.grant);
            let ended = world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run();
            if ended.code == Some(0) {
                // The file store revokes first and has no such step.
                assert!(
                    matches!(step, "held" | "removed") && world.machine.session.is_none(),
                    "{step}\n{ended}"
                );
                continue;
            }
            assert_eq!(ended.code, Some(4), "{step}\n{ended}");
            let token = world.codex(["token"]).run();
            assert_ne!(token.code, Some(0), "{step}: {token}");
            let run = match next {
                "migrate" => world.codex(["migrate", "--to", world.machine.store()]),
                "login" => world.codex(["login", "--with-api-key"]).input("sk-new"),
                command => world.codex([command]),
            };
            let mut ended = run.run();
            if next == "migrate" && ended.code == Some(1) {
                // Without a stored login `migrate` takes no lease.
                if world.has_rescue() {
                    ended = world.codex(["refresh"]).run();
                }
            }
            assert!(!is_live(&world, &world.grant), "{step}, {next}\n{ended}");
            assert!(!world.has_rescue(), "{step}, {next}\n{ended}");
            if next == "login" {
                assert_eq!(world.codex(["token"]).run().expect(0).out, "sk-new\n");
            } else {
                assert_eq!(world.machine.stored_text(), None, "{step}, {next}\n{ended}");
                world.codex(["status"]).run().expect(1);
            }
            world.codex(["logout"]).run().expect(0);
            assert_eq!(world.machine.stored_text(), None);
        }
    }
}

/// The grant's document with the login id that Codex 0.169 writes.
fn with_login_id(grant: &Grant) -> String {
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["tokens"]["login_owner_id"] = json!("login-1");
    document.to_string()
}

fn a_killed_logout_removes_what_another_program_refreshed_meanwhile(machine: &mut Machine) {
    // The last step at which another program finds the login in its store.
    let step = if machine.session.is_some() { "held" } else { "revoked" };
    for next in ["refresh", "logout"] {
        let world = World::empty(machine);
        world.machine.store_text(with_login_id(&world.grant));
        let rival = Rival::refreshing(&world);
        let pause = Pause::at(step);
        let mut logout = pause.apply_to(world.codex(["logout"])).start();
        let standing = pause.wait();
        rival.commit(world.machine);
        kill("-KILL", children(logout.id())[0]);
        logout.wait().unwrap();
        drop(standing);
        let token = world.codex(["token"]).run();
        assert!(token.code != Some(0) && token.out.is_empty(), "{next}: {token}");
        let ended = world.codex([next]).run();
        assert_eq!(world.machine.stored_text(), None, "{next}: {ended}");
        assert_ne!(
            world.authority.state_of(rival.token("refresh_token")),
            TokenState::Live,
            "{next}: {ended}"
        );
        assert!(!world.has_rescue(), "{next}: {ended}");
    }
}

fn a_login_after_a_killed_logout_leaves_no_valid_old_token(machine: &mut Machine) {
    for step in ["logging out", "held", "removed", "revoked"] {
        for refused in [false, true] {
            let world = World::empty(machine);
            world.sign_in(&world.grant);
            let killed = world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run();
            if killed.code == Some(0) {
                continue;
            }
            if refused {
                world.authority.script_always(Endpoint::Revoke, Step::status(500, "oops"));
            }
            let new = world.authority.grant(Account::numbered(1));
            // As every login command does.
            let lease = Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| {}).unwrap();
            let finished = manager::finish_rescue(&lease, &world.environment());
            drop(lease);
            if refused && finished.is_ok() {
                // It is stored again, and the next login revokes it.
                assert!(matches!(step, "removed" | "revoked"), "{step}");
                world.authority.clear_script();
                world.codex(["logout"]).run().expect(0);
                continue;
            }
            assert_eq!(finished.is_err(), refused, "{step}: {finished:?}");
            world.sign_in(&new);
            world.authority.clear_script();
            world.codex(["refresh"]).run().expect(0);
            assert!(!is_live(&world, &world.grant), "{step}, {refused}");
            world.codex(["token"]).run().expect(0);
            world.codex(["logout"]).run().expect(0);
            assert!(!world.has_rescue(), "{step}, {refused}");
        }
    }
}

fn a_logout_keeps_the_login_of_another_account_stored_meanwhile(machine: &mut Machine) {
    let step = if machine.session.is_some() { "held" } else { "revoked" };
    let world = World::empty(machine);
    world.sign_in(&world.grant);
    let other = world.authority.grant(Account::numbered(2));
    let pause = Pause::at(step);
    let logout = pause.apply_to(world.codex(["logout"])).start();
    let standing = pause.wait();
    world.machine.store_text(other.auth_json());
    drop(standing);
    let ended = logout.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(4) && err.contains("another login was stored"), "{ended:?}");
    assert_eq!(world.machine.stored_text(), Some(other.auth_json()));
    assert!(is_live(&world, &other));
    world.codex(["token"]).run().expect(0);
    world.codex(["logout"]).run().expect(0);
    assert_eq!((world.machine.stored_text(), is_live(&world, &other)), (None, false));
}

fn a_logout_is_cancelled_if_its_caller_exits_before_the_revocation(machine: &mut Machine) {
    let world = World::empty(machine);
    world.sign_in(&world.grant);
    let pause = Pause::at("logging out");
    let mut logout = pause.apply_to(world.codex(["logout"])).start();
    let standing = pause.wait();
    let child = children(logout.id())[0];
    kill("-INT", logout.id());
    logout.wait().unwrap();
    // The child detects it on a thread, which cannot be observed.
    std::thread::sleep(Duration::from_millis(300));
    drop(standing);
    eventually("the child to end", || !is_alive(child));
    assert!(is_live(&world, &world.grant));
    assert_eq!(revocations(&world), 0);
    world.codex(["token"]).run().expect(0);
}

fn a_running_logout_is_not_called_interrupted(machine: &mut Machine) {
    let world = World::empty(machine);
    world.sign_in(&world.grant);
    let pause = Pause::at("logging out");
    let mut logout = pause.apply_to(world.codex(["logout"])).start();
    let paused = pause.wait();
    let holder = children(logout.id())[0];
    for arguments in [&["status"][..], &["token"]] {
        let ended = world.codex(arguments.iter().copied()).run().expect(1);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(
            said.contains("a logout of this login is running: ") && said.contains(&format!("(pid {holder})")),
            "{ended}"
        );
    }
    kill("-KILL", holder);
    logout.wait().unwrap();
    drop(paused);
    let ended = world.codex(["status"]).run().expect(1);
    assert!(
        ended.out.contains("a logout of this login was interrupted; complete it with: codex logout"),
        "{ended}"
    );
    world.codex(["logout"]).run().expect(0);
}

fn the_token_of_an_interrupted_logout_is_not_served(machine: &mut Machine) {
    let world = World::empty(machine);
    world.sign_in(&world.grant);
    let keeper = Process::of(&world);
    let mut editor = Client::start(world.codex(["app-server"]).into_command());
    editor.initialize(&json!({}));
    let status = |editor: &mut Client| editor.call("getAuthStatus", json!({"includeToken": true}));
    assert!(status(&mut editor)["authToken"].is_string());
    world.codex(["token"]).run().expect(0);

    world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", "logging out=kill").run().expect(4);
    let socket = world.machine.home.file("codex-auth/keeper/sock");
    let by_socket = || world.codex(["token"]).without("CODEX_HOME").env("CODEX_AUTH_SOCKET", &socket);
    for run in [world.codex(["token"]), by_socket(), world.codex(["token"])] {
        let started = Instant::now();
        let ended = run.run();
        println!("{:.1?} {ended}", started.elapsed());
        assert!(ended.code != Some(0) && ended.out.is_empty(), "{ended}");
        assert!(!status(&mut editor)["authToken"].is_string());
    }
    drop(keeper);
}

fn a_forced_logout_revokes_the_rescue_of_a_killed_refresh(machine: &mut Machine) {
    let world = World::stale(machine);
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let live = world.live_refresh_token().unwrap();
    let held = Flock::hold(&world.machine.home.file("auth.lock"));
    let started = Instant::now();
    let ended = world.codex(["logout", "--force"]).run().expect(0);
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}\n{ended}", started.elapsed());
    assert_ne!(world.authority.state_of(&live), TokenState::Live, "{ended}");
    assert_eq!((world.machine.stored_text(), world.has_rescue()), (None, false));
    drop(held);
}

fn a_local_logout_after_a_killed_refresh_sends_no_request(machine: &mut Machine) {
    let world = World::stale(machine);
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let ended = world.codex(["logout", "--local"]).run().expect(0);
    assert!(ended.err.contains("the tokens were not revoked (--local)"), "{ended}");
    assert_eq!((world.machine.stored_text(), world.has_rescue(), revocations(&world)), (None, false, 0));
}

#[test]
fn an_interrupted_logout_does_not_happen_later() {
    for signal in ["-INT", "-KILL"] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        fs::create_dir_all(world.machine.home.file("codex-auth")).unwrap();
        let held = Flock::hold(&world.machine.home.file("codex-auth/refresh.lock"));
        let mut logout = world.codex(["logout"]).start();
        let mut below = Vec::new();
        eventually("the child", || {
            below = children(logout.id());
            !below.is_empty()
        });
        kill(signal, logout.id());
        logout.wait().unwrap();
        eventually("the child to end", || below.iter().all(|child| !is_alive(*child)));
        drop(held);
        assert!(is_live(&world, &world.grant), "{signal}");
        world.codex(["token"]).run().expect(0);
    }
}

#[test]
fn a_killed_logout_removes_every_copy_of_the_login() {
    session::inside(crate::support::here!(), || {
        for step in ["logging out", "held", "removed", "revoked"] {
            let mut machine = Machine::with_keychain();
            let world = World::empty(&mut machine);
            world.machine.store_text(with_login_id(&world.grant));
            world.machine.home.write("auth.json", with_login_id(&world.grant));
            world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run().expect(4);
            let ended = world.codex(["refresh"]).run();
            assert_eq!(
                (world.machine.stored_text(), world.machine.home.document().exists()),
                (None, false),
                "{step}: {ended}"
            );
            assert!(!is_live(&world, &world.grant), "{step}: {ended}");
        }
    });
}
