//! A keeper that starts while the keychain is locked.

use codex_auth::keeper::{Client, RefreshPolicy};

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
