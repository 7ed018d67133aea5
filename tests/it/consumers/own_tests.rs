//! A host that replaces store, clock and authority in its own tests; it needs the feature `testing`.

use std::fs;
use std::time::Duration;

use codex_auth::authority::{Deadlines, MemoryAuthority};
use codex_auth::config::StoreSelection;
use codex_auth::manager::{AuthManager, Error, RefreshReason};
use codex_auth::{Clock, Environment, ErrorKind, Home, Timestamp, blocking};
use codex_auth_platform::keychain::Memory;

use crate::support::TestHome;

fn manager(home: &TestHome, authority: &MemoryAuthority) -> AuthManager {
    let environment = Environment::for_home(home.path());
    AuthManager::builder(Home::at(home.path()).unwrap(), environment)
        .authority(authority.client())
        .keychain(Memory::new().client())
        .store(StoreSelection::File)
        .open()
        .unwrap()
}

#[test]
fn an_authority_in_memory_refreshes_and_refuses_without_a_network() {
    let home = TestHome::new();
    let authority = MemoryAuthority::new(Duration::from_secs(3600));
    fs::write(home.document(), authority.log_in().unwrap().to_pretty()).unwrap();
    let manager = manager(&home, &authority);
    let before = blocking::token(&manager).unwrap();
    blocking::refresh(&manager, RefreshReason::Forced).unwrap();
    let after = blocking::token(&manager).unwrap();
    assert_ne!(before.secret(), after.secret());
    assert_eq!(authority.refreshes(), 1);
    authority.revoke_all();
    let refused = blocking::refresh(&manager, RefreshReason::Forced).unwrap_err();
    assert!(matches!(refused, Error::Poisoned(_)), "{refused:?}");
    assert_eq!((refused.kind(), authority.refreshes()), (ErrorKind::LogInAgain, 1));
}

#[test]
fn a_clock_and_deadlines_can_be_replaced() {
    let home = TestHome::new();
    let authority = MemoryAuthority::new(Duration::from_secs(3600));
    fs::write(home.document(), authority.log_in().unwrap().to_pretty()).unwrap();
    let hours_ahead = Clock::from_fn(|| Timestamp::now() + Duration::from_secs(2 * 3600));
    let environment = Environment::for_home(home.path());
    let builder = AuthManager::builder(Home::at(home.path()).unwrap(), environment)
        .clock(hours_ahead)
        .deadlines(Deadlines { refresh: Duration::from_secs(1), ..Deadlines::default() })
        .authority(authority.client());
    blocking::token(&builder.open().unwrap()).unwrap();
    assert_eq!(authority.refreshes(), 1, "the token had expired by that clock");
}

#[test]
fn the_store_of_the_builder_wins_over_the_configuration() {
    let home = TestHome::new();
    let authority = MemoryAuthority::new(Duration::from_secs(3600));
    fs::write(home.document(), authority.log_in().unwrap().to_pretty()).unwrap();
    home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
    let manager = manager(&home, &authority);
    assert!(manager.current().location().is_some_and(|place| place.kind() == codex_auth::StoreKind::File));
}
