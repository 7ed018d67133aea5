//! Serving a fresh token allocates nothing after the first one of a thread.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use codex_auth::manager::{AuthManager, Token};

use super::world::World;
use crate::support::Machine;

/// Returns the token of the first poll.
fn at_once(manager: &AuthManager) -> Token {
    match pin!(manager.token()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(token) => token.unwrap(),
        Poll::Pending => panic!("a fresh token is not ready at the first poll"),
    }
}

#[test]
fn a_fresh_token_is_served_without_waiting_or_allocating() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let home = &world.machine.home;
    let manager = AuthManager::builder(home.home(), home.environment()).open().unwrap();
    let counted = measure(|| drop(String::from("the counter counts").into_boxed_str()));
    assert_ne!(counted.count_total, 0);
    // The first call of a thread allocates its place in the list of readers.
    assert!(at_once(&manager).secret().expose().len() > 8);
    let counted = measure(|| {
        for _ in 0..100 {
            assert!(at_once(&manager).secret().expose().len() > 8);
        }
    });
    assert_eq!((counted.count_total, counted.bytes_total), (0, 0));
    std::fs::remove_file(home.document()).unwrap();
    assert_eq!(at_once(&manager).secret().expose(), world.grant.tokens.access_token);
    assert_eq!(world.requests(), 0);
}
