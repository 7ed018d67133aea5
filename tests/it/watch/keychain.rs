//! Changes of a login in a Secret Service, and of the Secret Service itself.

use std::time::Instant;

use codex_auth::manager::{AccountPolicy, AuthManager};
use codex_auth::watch::FALLBACK_POLL_INTERVAL;
use scripted_authority::{Account, fingerprint};

use super::host::token_name;
use super::watcher::{WatchMode, Watcher};
use crate::manager::world::World;
use crate::support::{Machine, eventually, here, session};

#[test]
fn a_host_without_subscriptions_is_kept_up_to_date() {
    session::inside(here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let home = &world.machine.home;
        let manager = AuthManager::builder(home.home(), home.environment());
        let manager = manager.policy(AccountPolicy::Follow).open().unwrap();
        let watching = manager.watch();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(watching.reads().wait_for(|reads| *reads > 0)).unwrap();
        // In place, which gnome-keyring does not signal. A poll that was due in any case may notice the first change.
        for account in [2, 3] {
            let begun = Instant::now();
            let other = world.authority.grant(Account::numbered(account));
            world.machine.store_text(other.auth_json());
            let token = fingerprint(&other.tokens.access_token);
            eventually("the other account's token", || token_name(&manager.current()) == token);
            assert!(
                begun.elapsed() < FALLBACK_POLL_INTERVAL,
                "the keychain is polled, not only read by the fallback poll"
            );
        }
    });
}

#[test]
fn a_locked_keychain_is_unreadable_until_it_is_unlocked() {
    session::inside(here!(), || {
        let mut machine = Machine::with_keychain();
        let world = World::fresh(&mut machine);
        let (watcher, first) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
        assert_eq!((&first["store"], &first["usable"]), (&"keychain".into(), &true.into()));
        let session = world.machine.session.as_mut().unwrap();
        session.lock_again();
        let output = watcher.expect_event("unreadable");
        assert_eq!((&output["logged_in"], &output["usable"]), (&true.into(), &false.into()), "{output}");
        session.stop_service();
        session.start_unlocked();
        assert_eq!(watcher.expect_event("readable")["usable"], true);
        assert!(session.dialogues().is_empty(), "no prompt was shown");
        world.codex(["logout", "--local"]).run().expect(0);
        watcher.expect_event("logout");
    });
}
