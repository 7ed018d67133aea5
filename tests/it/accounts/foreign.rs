//! What another program does to the link of the active account is put right by the next command.

use std::fs;
use std::process::{Child, Stdio};

use scripted_authority::{Account, DeviceFlow, Ending, Endpoint, Step, TokenState};
use serde_json::json;

use super::logins::replace_link_by_login;
use super::world::World;
use crate::support::{Flock, eventually};

/// What the logout of the real Codex does.
fn log_out_as_codex(world: &World) {
    world.authority.end(world.grants[0].id, Ending::WholeGrant);
    fs::remove_file(world.home.document()).unwrap();
}

const LOGGED_OUT: &str = "another program has logged out of the account work";

#[test]
fn every_command_completes_a_logout_by_another_program_and_says_so_once() {
    for words in [
        &["status"][..],
        &["token"],
        &["token", "--account", "private"],
        &["refresh"],
        &["logout"],
        &["doctor"],
        &["sync", "status"],
        &["account", "list"],
        &["account", "which"],
        &["account", "pin", "private"],
    ] {
        let world = World::with(&["work", "private"]);
        let work = world.document("work");
        log_out_as_codex(&world);
        let ended = world.run(words.iter().copied()).run();
        assert_eq!(ended.err.matches(LOGGED_OUT).count(), 1, "{words:?}\n{ended}");
        assert!(!work.exists(), "{words:?}");
        let ended = world.run(words.iter().copied()).run();
        assert!(!ended.err.contains("another program"), "{words:?}\n{ended}");
        let listed = world.list();
        assert_eq!((&listed[0]["name"], &listed[0]["logged_in"]), (&json!("work"), &json!(false)));
        world.assert_live(&world.document("private"), &world.grants[1]);
    }
}

#[test]
fn a_link_that_was_only_removed_ends_no_login() {
    let world = World::with(&["work", "private"]);
    fs::remove_file(world.home.document()).unwrap();
    let ended = world.run(["token"]).run().expect(1);
    assert!(ended.err.contains("whose login is still valid"), "{ended}");
    assert!(!world.run(["token"]).run().refused(1).err.contains("still valid"));
    world.assert_whole();
    world.run(["account", "use", "work"]).run().expect(0);
    world.run(["refresh"]).run().expect(0);
    world.assert_whole();
}

#[test]
fn without_the_authority_a_removed_link_ends_no_login_yet() {
    let world = World::with(&["work", "private"]);
    let work = world.document("work");
    log_out_as_codex(&world);
    world.authority.script_always(Endpoint::Refresh, Step::status(503, "busy"));
    let list = || {
        let ended = world.run(["account", "list"]).run().expect(0);
        assert!(ended.err.contains("whether it has logged out is not known"), "{ended}");
        world.requests()
    };
    // The back-off of the first command holds for the others.
    let requests = list();
    assert_eq!(list(), requests);
    assert!(work.exists());
}

#[test]
fn a_login_that_replaced_the_link_moves_into_its_account_by_any_command() {
    for words in [&["token"][..], &["account", "list"], &["status"]] {
        let mut world = World::with(&["work", "private"]);
        let again = world.authority.grant(Account::numbered(1));
        world.authority.end(world.grants[0].id, Ending::WholeGrant);
        replace_link_by_login(&world, &again);
        let ended = world.run(words.iter().copied()).run().expect(0);
        assert!(ended.err.contains("that login is in the account work, which is active now"), "{ended}");
        assert!(world.home.document().is_symlink());
        assert!(!world.run(words.iter().copied()).run().expect(0).err.contains("another program"));
        world.grants[0] = again;
        world.assert_whole();
        assert_eq!((world.active(), world.list().len()), (json!("work"), 2));
    }
}

#[test]
fn a_login_of_another_user_becomes_an_account_and_the_former_login_ends_if_it_was_revoked() {
    for is_revoked in [true, false] {
        let world = World::with(&["work", "private"]);
        let third = world.authority.grant(Account::numbered(3));
        if is_revoked {
            world.authority.end(world.grants[0].id, Ending::WholeGrant);
        }
        replace_link_by_login(&world, &third);
        let ended = world.run(["token"]).run().expect(0);
        assert!(ended.err.contains("that login is the new account person3, which is active now"), "{ended}");
        assert_eq!(ended.err.contains("the login of the account work has ended"), is_revoked, "{ended}");
        world.assert_live(&world.document("person3"), &third);
        world.assert_live(&world.document("private"), &world.grants[1]);
        assert_eq!(world.document("work").exists(), !is_revoked);
        assert_eq!(world.active(), "person3");
        assert_eq!(world.authority.state_of(&third.tokens.refresh_token), TokenState::Live);
    }
}

#[test]
fn a_login_after_a_logout_by_another_program_is_of_the_account_of_its_user() {
    for (number, name) in [(1, "work"), (2, "private"), (3, "person3")] {
        let world = World::with(&["work", "private"]);
        log_out_as_codex(&world);
        world.run(["account", "list"]).run().expect(0);
        let login = world.authority.grant(Account::numbered(number));
        world.home.write("auth.json", login.auth_json());
        world.run(["token"]).run().expect(0);
        assert_eq!(world.active(), name);
        world.assert_live(&world.document(name), &login);
    }
}

#[test]
fn a_login_after_a_logout_here_is_of_the_account_of_its_user() {
    for (number, name) in [(1, "work"), (3, "person3")] {
        let world = World::with(&["work", "private"]);
        world.run(["logout"]).run().expect(0);
        let login = world.authority.grant(Account::numbered(number));
        replace_link_by_login(&world, &login);
        world.run(["token"]).run().expect(0);
        assert_eq!(world.active(), name);
        world.assert_live(&world.document(name), &login);
    }
}

#[test]
fn a_login_that_another_program_wrote_through_the_link_is_told_once_and_never_merged() {
    const TOLD: &str = "another program has replaced the login of the account work by";
    for words in [["status", "--json"], ["account", "list"]] {
        for (document, now) in [
            (r#"{"OPENAI_API_KEY":"sk-codex"}"#.to_owned(), "an API key"),
            (String::new(), "the login of person3@example.com"),
        ] {
            let world = World::with(&["work", "private"]);
            let other = world.authority.grant(Account::numbered(3)).auth_json();
            fs::write(world.home.document(), if document.is_empty() { &other } else { &document }).unwrap();
            let ended = world.run(words).run().expect(0);
            assert!(ended.err.contains(&format!("{TOLD} {now}; to log in again as before: ")), "{ended}");
            assert!(!world.run(words).run().expect(0).err.contains(TOLD));
            assert_eq!(world.active(), "work");
            world.assert_live(&world.document("private"), &world.grants[1]);
            // As the message says.
            world.run(["logout", "--account", "work"]).run().expect(0);
            let login = world.run(["login", "--account", "work", "--with-api-key"]).input("sk-1");
            login.run().expect(0);
            assert!(!world.run(words).run().expect(0).err.contains(TOLD));
        }
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_token_that_waits_to_be_stored_is_revoked_if_another_program_replaces_its_login() {
    let world = World::with(&["work", "private"]);
    world.run(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let lost = world.authority.live_refresh_token(world.grants[0].id).unwrap();
    fs::write(world.home.document(), r#"{"OPENAI_API_KEY":"sk-codex"}"#).unwrap();
    world.run(["account", "use", "private"]).run().expect(0);
    assert_eq!(world.authority.state_of(&lost), TokenState::Revoked);
    world.assert_live(&world.document("private"), &world.grants[1]);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_command_goes_on_while_another_process_holds_the_lease() {
    use crate::support::Pause;

    let world = World::with(&["work", "private"]);
    let login = world.authority.grant(Account::numbered(3));
    let pause = Pause::at("move announced");
    let moving = pause.apply_to(world.run(["account", "unlink"])).start();
    let standing = pause.wait();
    // The process that holds the lease has not replaced the link yet.
    replace_link_by_login(&world, &login);
    let ended =
        world.run(["token", "--account", "private"]).env("CODEX_AUTH_LOCK_TIMEOUT", "1s").run().expect(0);
    drop(standing);
    moving.wait_with_output().unwrap();
    assert!(!ended.out.is_empty(), "{ended}");
    world.run(["token"]).run().expect(0);
    world.assert_live(&world.document("private"), &world.grants[1]);
}

#[test]
fn a_command_that_cannot_put_the_link_right_names_the_process_that_holds_the_lease_and_goes_on() {
    let world = World::with(&["work", "private"]);
    let private = world.token(&["token", "--account", "private"]);
    let login = world.authority.grant(Account::numbered(3));
    let lease = Flock::hold(&world.home.file("codex-auth/refresh.lock"));
    replace_link_by_login(&world, &login);
    let run = world.run(["token", "--account", "private"]).env("CODEX_AUTH_LOCK_TIMEOUT", "300ms");
    let ended = run.run().expect(0);
    assert_eq!(ended.out.trim(), private);
    assert!(ended.err.starts_with("note: another program has changed "), "{ended}");
    assert!(
        ended.err.contains("which cannot be put right now: ") && ended.err.contains("perl (pid "),
        "{ended}"
    );
    drop(lease);
    let ended = world.run(["token"]).run().expect(0);
    assert!(ended.err.contains("that login is the new account person3, which is active now"), "{ended}");
    world.assert_whole();
}

#[test]
fn a_login_here_after_a_logout_by_another_program_is_in_its_account_at_once() {
    let world = World::with(&["work", "private"]);
    world.authority.visit_as(Account::numbered(1));
    world.authority.adjust(|policy| policy.device = DeviceFlow::ApprovesAfter(1));
    log_out_as_codex(&world);
    world.run(["account", "list"]).run().expect(0);
    let login = world.run(["login", "--device-auth", "--store", "file"]);
    let ended = login.env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url()).run().expect(0);
    assert!(ended.err.contains("this login is in the account work, which is active now"), "{ended}");
    assert_eq!(world.active(), "work");
    assert!(world.home.document().is_symlink());
}

/// What a process that runs on notices: a logout, and then a login.
fn notices_both(words: &[&str], is_ready: impl Fn(&World, &Child) -> bool) {
    let mut world = World::with(&["work", "private"]);
    let mut child = world.run(words.iter().copied()).into_command();
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the process is ready", || is_ready(&world, &child));
    let work = world.document("work");
    log_out_as_codex(&world);
    eventually("the login is removed", || !work.exists());
    let again = world.authority.grant(Account::numbered(1));
    world.home.write("auth.json", again.auth_json());
    eventually("the login is moved", || work.exists() && world.home.document().is_symlink());
    child.kill().unwrap();
    child.wait().unwrap();
    world.grants[0] = again;
    assert_eq!(world.active(), "work");
    world.assert_whole();
}

#[test]
fn a_watch_notices_a_logout_and_a_login_by_another_program() {
    notices_both(&["watch"], |_, _| true);
}

#[test]
fn a_keeper_notices_a_logout_and_a_login_by_another_program() {
    notices_both(&["sync", "run"], |world, _| world.run(["sync", "status"]).run().code == Some(0));
}

#[test]
fn an_app_server_notices_a_logout_and_a_login_by_another_program() {
    notices_both(&["app-server"], |_, _| true);
}
