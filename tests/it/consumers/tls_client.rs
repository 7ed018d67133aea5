//! A host with a TLS client of its own; nextest runs each test in its own process.

use codex_auth::blocking;
use codex_auth::manager::RefreshReason;

use crate::manager::world::World;
use crate::support::Machine;

#[test]
fn the_client_of_a_host_that_selects_a_provider_works_beside_ours() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = world.builder().open().unwrap();
    blocking::refresh(&manager, RefreshReason::Forced).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(reqwest::Client::new().get(world.authority.token_url()).send()).unwrap();
    assert!(answer.status().is_client_error(), "{answer:?}");
    blocking::refresh(&manager, RefreshReason::Forced).unwrap();
    assert_eq!(world.live_refresh_token(), Some(world.stored_token("refresh_token")));
}

/// If this fails, the section `Host applications` of the library's docs can be shorter.
#[test]
fn without_a_provider_the_client_of_a_host_panics_and_ours_works() {
    let host = std::panic::catch_unwind(reqwest::Client::new);
    assert!(host.is_err());
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    blocking::refresh(&world.builder().open().unwrap(), RefreshReason::Forced).unwrap();
}
