//! Concurrent refreshes in one process, each with its own reason.

use std::pin::pin;
use std::task::Poll;

use codex_auth::manager::{AuthManager, Error, RefreshReason, Snapshot};
use codex_auth::{AuthDocument, Lease, Secret};
use scripted_authority::{Endpoint, Moment, Step};

use super::world::{TEST_TIMEOUT, World, block_on};
use crate::support::Machine;

fn token(snapshot: &Snapshot) -> &str {
    snapshot.document().and_then(AuthDocument::bearer).map(Secret::expose).unwrap()
}

/// Requests `second` while the refresh for `first` is running, and returns both results.
async fn both(
    manager: &AuthManager,
    [first, second]: [RefreshReason; 2],
    under_way: impl FnOnce(),
    go_on: impl FnOnce(),
) -> [Result<String, Error>; 2] {
    let mut one = pin!(manager.refresh(first));
    let mut other = pin!(manager.refresh(second));
    // The first poll starts each.
    assert!(std::future::poll_fn(|context| Poll::Ready(one.as_mut().poll(context))).await.is_pending());
    tokio::task::block_in_place(under_way);
    assert!(std::future::poll_fn(|context| Poll::Ready(other.as_mut().poll(context))).await.is_pending());
    go_on();
    let (one, other) = tokio::join!(one, other);
    [one, other].map(|outcome| outcome.map(|snapshot| token(&snapshot).to_owned()))
}

#[test]
fn a_forced_refresh_does_not_share_the_failure_of_an_automatic_one() {
    for automatic in [RefreshReason::Keeper, RefreshReason::MinTtl(7_200)] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let manager = world.builder().open().unwrap();
        let step = world
            .authority
            .script(Endpoint::Refresh, Step::status(503, "unavailable").and_held(Moment::Before));
        let [keeper, forced] = block_on(both(
            &manager,
            [automatic, RefreshReason::Forced],
            || drop(world.authority.wait_for_step(step, TEST_TIMEOUT).unwrap()),
            || world.authority.release(step),
        ));
        assert!(keeper.is_err(), "{automatic:?}");
        assert_eq!(forced.unwrap(), world.stored_token("access_token"));
        assert_eq!(world.requests(), 2, "{automatic:?}");
        world.assert_no_token_reused_or_lost();
    }
}

/// Requests both while another process holds the lease.
fn behind_the_lease(world: &World<'_>, reasons: [RefreshReason; 2]) -> [Result<String, Error>; 2] {
    let manager = world.builder().open().unwrap();
    let lease = Lease::acquire(&world.machine.home.home(), TEST_TIMEOUT, |_| {}).unwrap();
    block_on(both(&manager, reasons, || {}, || drop(lease)))
}

#[test]
fn a_token_that_satisfies_one_caller_is_refreshed_for_the_other() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let [short, long] = behind_the_lease(&world, [RefreshReason::MinTtl(10), RefreshReason::MinTtl(600)]);
    assert_eq!(short.unwrap(), world.grant.tokens.access_token);
    assert_eq!(long.unwrap(), world.stored_token("access_token"));
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_refused_token_is_not_returned_to_its_caller() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let held = Secret::from(world.grant.tokens.access_token.as_str()).fingerprint();
    let other = Secret::from("another token").fingerprint();
    let [old, refused] =
        behind_the_lease(&world, [RefreshReason::Unauthorized(other), RefreshReason::Unauthorized(held)]);
    assert_eq!(old.unwrap(), world.grant.tokens.access_token);
    assert_eq!(refused.unwrap(), world.stored_token("access_token"));
    assert_eq!(world.requests(), 1);
}

#[test]
fn one_request_serves_callers_of_every_reason() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let manager = world.builder().open().unwrap();
    let held = Secret::from(world.grant.tokens.access_token.as_str()).fingerprint();
    let reasons = [
        RefreshReason::Stale,
        RefreshReason::Forced,
        RefreshReason::Keeper,
        RefreshReason::MinTtl(60),
        RefreshReason::MinTtl(600),
        RefreshReason::Unauthorized(held),
    ];
    let hold = world.authority.hold(Endpoint::Refresh, Moment::Before);
    let tokens = block_on(async {
        let mut callers: Vec<_> =
            (0..48).map(|number| Box::pin(manager.refresh(reasons[number % reasons.len()]))).collect();
        for caller in &mut callers {
            let first = std::future::poll_fn(|context| Poll::Ready(caller.as_mut().poll(context))).await;
            assert!(first.is_pending());
        }
        tokio::task::block_in_place(|| hold.arrived(TEST_TIMEOUT)).unwrap();
        hold.release();
        let mut tokens = Vec::new();
        for caller in callers {
            tokens.push(token(&caller.await.unwrap()).to_owned());
        }
        tokens
    });
    assert_eq!(world.requests(), 1);
    let stored = world.stored_token("access_token");
    assert!(tokens.iter().all(|token| *token == stored));
}
