//! A host that embeds the manager.

use std::time::Duration;

use codex_auth::manager::{Error, RefreshReason};
use codex_auth::{Timestamp, blocking};

use crate::manager::world::World;
use crate::support::Machine;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_token_that_lasts_long_enough_is_returned_and_another_is_refreshed_at_most_once_a_minute() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = world.builder().open().unwrap();
    let first = blocking::token_for(&manager, HOUR / 2).unwrap();
    assert_eq!((first.secret().expose(), world.requests()), (&*world.grant.tokens.access_token, 0));
    assert!(first.expires_at().unwrap() > Timestamp::now());
    // The authority's tokens are valid for an hour.
    for _ in 0..3 {
        let token = blocking::token_for(&manager, 2 * HOUR).unwrap();
        assert_eq!((token.secret().expose(), world.requests()), (&*world.stored_token("access_token"), 1));
    }
}

#[test]
fn the_blocking_calls_work_inside_and_outside_a_runtime() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = world.builder().open().unwrap();
    let outside = blocking::token(&manager).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inside = runtime.block_on(async { blocking::refresh(&manager, RefreshReason::Forced) }).unwrap();
    assert_ne!(inside.bearer_fingerprint(), Some(outside.secret().fingerprint()));
    blocking::wait_idle(&manager).unwrap();
}

#[test]
fn an_error_of_the_manager_is_found_in_the_error_of_the_crate() {
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let ask = || -> Result<(), codex_auth::Error> {
        blocking::token(&world.builder().open()?)?;
        Ok(())
    };
    let error = ask().unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Error::LoggedOut)), "{error:?}");
    assert!(error.downcast_ref::<codex_auth::store::Error>().is_none());
}
