//! A keeper that starts while the keychain is locked.

use codex_auth::keeper::{Client, RefreshPolicy};

use super::exports::{await_export, export, folder};
use super::process::Process;
use crate::manager::world::World;
use crate::support::{Machine, here, session};

#[test]
fn a_keeper_waits_until_the_keychain_is_unlocked() {
    session::inside(here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::stale(&mut machine);
        world.machine.session.as_mut().unwrap().lock_again();
        let keeper = Process::of(&world);
        let client = Client::at(world.machine.home.file("codex-auth/keeper/sock"));
        let reason = client.status().unwrap().reason.unwrap();
        assert!(reason.contains("locked"), "{reason}");
        assert!(client.token(None, RefreshPolicy::CachedOnly).is_err());

        let session = world.machine.session.as_mut().unwrap();
        session.stop_service();
        session.start_unlocked();
        keeper.until(" refreshed ");
        let token = client.token(None, RefreshPolicy::CachedOnly).unwrap();
        assert_eq!(token.token.expose(), world.stored_token("access_token"));
        assert_eq!(world.requests(), 1);
        assert!(world.machine.session.as_mut().unwrap().dialogues().is_empty(), "no prompt was shown");
    });
}

/// Commands and containers get a file, and the login stays in the keychain.
#[test]
fn a_login_in_a_keychain_is_handed_in_to_runs_and_exports() {
    session::inside(here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let ended = world.codex(["run", "--", "/bin/sh", "-c", "cat $CODEX_HOME/auth.json"]).run().expect(0);
        let tokens = ["access_token", "refresh_token", "id_token"];
        let shown = tokens.map(|name| ended.out.contains(&world.stored_token(name)));
        assert_eq!(shown, [true, false, false], "{ended}");
        let folder = folder(&world, "export");
        let _keeper = Process::of(&world);
        export(&world, &folder, &[]);
        for _ in 0..2 {
            await_export(&world, &folder);
            world.codex(["refresh"]).run().expect(0);
        }
        await_export(&world, &folder);
        assert!(!world.machine.home.document().exists());
        // A locked keychain is no logout.
        world.machine.session.as_mut().unwrap().lock_again();
        let listed = world.codex(["sync", "export", "list"]).run().expect(0);
        assert!(listed.out.contains("served   no: ") && listed.out.contains("locked"), "{listed}");
        let refused = world.codex(["run", "--", "/bin/true"]).run().refused(5);
        assert!(refused.err.contains("locked"), "{refused}");
        assert!(folder.join("auth.json").exists());
    });
}
