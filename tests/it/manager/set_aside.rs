//! A rescue that cannot be opened does not block another login: it is set aside, reported, and completed later.

use std::path::PathBuf;

use scripted_authority::{Account, TokenState};
use serde_json::Value;

use super::world::World;
use crate::support::{Machine, Run, names, session};

/// The rescues that were set aside.
fn set_aside(world: &World<'_>) -> Vec<PathBuf> {
    let folder = world.machine.home.file("codex-auth");
    let mut found = names(&folder);
    found.retain(|name| name.starts_with("rescue."));
    found.into_iter().map(|name| folder.join(name)).collect()
}

fn without_keychain(run: Run) -> Run {
    run.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
}

/// Logs in to the file store without a keychain.
fn log_in_to_the_file(world: &World<'_>, account: u32) -> scripted_authority::Grant {
    let grant = world.authority.grant(Account::numbered(account));
    let login = without_keychain(world.codex(["login", "--store", "file", "--with-api-key"])).input("sk-new");
    login.run().expect(0);
    world.machine.home.write("auth.json", grant.auth_json());
    grant
}

#[test]
fn a_file_login_works_while_the_keychain_of_a_sealed_rescue_is_unavailable() {
    session::inside(crate::support::here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::empty(&mut machine);
        world.sign_in(&world.grant);
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        let successor = world.live_refresh_token().unwrap();
        let grant = log_in_to_the_file(&world, 2);
        let ended = without_keychain(world.codex(["refresh"])).run().expect(0);
        println!("{ended}");
        assert!(!world.has_rescue() && set_aside(&world).len() == 1, "{ended}");
        let doctor = without_keychain(world.codex(["doctor"])).run();
        assert!(doctor.to_string().contains("codex-auth/rescue."), "{doctor}");
        without_keychain(world.codex(["token"])).run().expect(0);
        // The previous login is still in the keychain.
        let ended = without_keychain(world.codex(["logout"])).run().expect(5);
        assert!(
            ended.err.contains("the copy in item") && ended.err.contains("codex-auth/rescue."),
            "{ended}"
        );
        assert_ne!(world.authority.state_of(&grant.tokens.refresh_token), TokenState::Live, "{ended}");
        assert_eq!((world.machine.home.document().exists(), set_aside(&world).len()), (false, 1), "{ended}");
        assert_eq!(world.authority.state_of(&successor), TokenState::Live);

        // The keychain is back, with the refreshed login.
        let ended = world.codex(["refresh"]).run();
        assert_eq!(set_aside(&world), Vec::<PathBuf>::new(), "{ended}");
        let stored: Value = serde_json::from_str(&world.machine.stored_text().unwrap()).unwrap();
        assert_eq!(
            stored["tokens"]["refresh_token"].as_str().map(str::to_owned),
            world.live_refresh_token(),
            "{ended}"
        );
        world.codex(["logout"]).run().expect(0);
        assert_eq!(world.live_refresh_token(), None);
    });
}

#[test]
fn an_interrupted_logout_is_completed_when_its_keychain_is_back() {
    session::inside(crate::support::here!(), || an_interrupted_logout_is_set_aside(false));
}

#[test]
fn an_interrupted_logout_that_cannot_be_revoked_stays_set_aside() {
    session::inside(crate::support::here!(), || an_interrupted_logout_is_set_aside(true));
}

/// A logout is killed between removal and revocation, and the keychain is unavailable at the next login.
fn an_interrupted_logout_is_set_aside(refused: bool) {
    let mut machine = Machine::with_keychain();
    let world = World::empty(&mut machine);
    world.sign_in(&world.grant);
    world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", "removed=kill").run().expect(4);
    let grant = log_in_to_the_file(&world, 2);
    without_keychain(world.codex(["refresh"])).run().expect(0);
    assert_eq!(set_aside(&world).len(), 1);
    if refused {
        let step = scripted_authority::Step::status(500, "oops");
        world.authority.script_always(scripted_authority::Endpoint::Revoke, step);
        world.codex(["refresh"]).run().expect(0);
        // It neither replaces the new login nor is removed.
        assert_eq!((world.machine.stored_text(), set_aside(&world).len()), (None, 1));
        world.authority.clear_script();
    }
    world.codex(["refresh"]).run().expect(0);
    assert_eq!((world.machine.stored_text(), set_aside(&world).len()), (None, 0));
    let ended = world.authority.state_of(&world.grant.tokens.refresh_token);
    assert_ne!(ended, TokenState::Live);
    assert_eq!(world.state()["store"], "file", "the state of the new login is kept");
    let stored: Value = serde_json::from_str(&world.machine.home.read("auth.json")).unwrap();
    let live = world.authority.live_refresh_token(grant.id);
    assert_eq!(stored["tokens"]["refresh_token"].as_str().map(str::to_owned), live);
}

#[test]
fn a_rescue_is_committed_however_many_older_ones_cannot_be_used() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let successor = world.live_refresh_token().unwrap();
    let rescue = world.machine.home.file("codex-auth/rescue");
    std::fs::rename(rescue, world.machine.home.file("codex-auth/rescue.1800000000000000099")).unwrap();
    for number in 10..40 {
        world.machine.home.write(&format!("codex-auth/rescue.18000000000000000{number}"), "unusable");
    }
    let doctor = world.codex(["doctor"]).run();
    assert_eq!(doctor.to_string().matches("codex-auth/rescue.").count(), 31, "{doctor}");
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(set_aside(&world).len(), 30);
    assert_eq!((world.stored_token("refresh_token"), world.requests()), (successor, 1));
}

/// Each holder of the lease tries some of them, and a failed one waits behind the others.
#[test]
fn every_rescue_that_cannot_be_revoked_gets_its_turn() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    std::fs::create_dir_all(world.machine.home.file("codex-auth")).unwrap();
    let step = scripted_authority::Step::status(500, "oops");
    world.authority.script_always(scripted_authority::Endpoint::Revoke, step);
    let replaced: Vec<_> =
        (0..20).map(|number| world.authority.grant(Account::numbered(100 + number))).collect();
    for (number, grant) in replaced.iter().enumerate() {
        let document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
        let rescue = serde_json::json!({
            "purpose": "replaced",
            "parent": scripted_authority::fingerprint(&grant.tokens.refresh_token),
            "account_id": document["tokens"]["account_id"],
            "user_id": null, "issuer": null, "client_id": null, "id_token": null,
            "received_at": "2026-11-28T00:00:00Z",
            "access_token": grant.tokens.access_token,
            "refresh_token": grant.tokens.refresh_token,
            "document": document.to_string(),
        });
        let name = format!("codex-auth/rescue.18000000000000000{}", number + 10);
        world.machine.home.write(&name, rescue.to_string());
    }
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(set_aside(&world).len(), 20);
    world.authority.clear_script();
    let live = || {
        let state = |grant: &scripted_authority::Grant| world.authority.state_of(&grant.tokens.refresh_token);
        replaced.iter().filter(|grant| state(grant) == TokenState::Live).count()
    };
    world.codex(["refresh"]).run().expect(0);
    assert_eq!((live(), set_aside(&world).len()), (4, 4));
    world.codex(["refresh"]).run().expect(0);
    assert_eq!((live(), set_aside(&world).len()), (0, 0));
}

#[test]
fn an_invalid_rescue_is_set_aside_and_reported_and_never_deleted() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    std::fs::create_dir_all(world.machine.home.file("codex-auth")).unwrap();
    let commands: [&[&str]; 4] =
        [&["refresh"], &["migrate", "--to", "file"], &["logout"], &["logout", "--force"]];
    let contents: [&[u8]; 4] =
        [b"x", b"{\"purpose\":", b"codex-auth sealed 1\nxx", b"{\"purpose\":\"later\"}"];
    for (done, (command, content)) in commands.iter().zip(contents).enumerate() {
        if world.machine.stored_text().is_none() {
            world.log_in(&world.authority.grant(Account::numbered(1)));
        }
        world.machine.home.write("codex-auth/rescue", content);
        let ended = world.codex(command.iter().copied()).run().expect(0);
        assert!(ended.err.contains("codex-auth/rescue."), "{command:?}\n{ended}");
        let kept = set_aside(&world);
        assert_eq!(kept.len(), done + 1, "{command:?}\n{ended}");
        assert_eq!(std::fs::read(kept.last().unwrap()).unwrap(), content);
        assert!(!world.has_rescue());
    }
    let doctor = world.codex(["doctor"]).run();
    assert_eq!(doctor.to_string().matches("codex-auth/rescue.").count(), 4, "{doctor}");
}
