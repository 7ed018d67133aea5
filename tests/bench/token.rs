//! The time of getting a fresh token from memory: the call and its parts.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark may panic and print, and has no public interface"
)]

mod support;

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use codex_auth::Clock;
use codex_auth::manager::{AuthManager, SnapshotStatus, Token};
use divan::Bencher;

use self::support::World;

fn main() {
    divan::main();
}

fn manager(world: &World) -> AuthManager {
    AuthManager::builder(world.home(), world.environment()).open().unwrap()
}

/// The token of a manager that has it in memory.
fn token(manager: &AuthManager) -> Token {
    match pin!(manager.token()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(token) => token.unwrap(),
        Poll::Pending => panic!("a fresh token was not returned at once"),
    }
}

#[divan::bench(threads = [1, 2], sample_size = 10_000)]
fn fresh_token(bencher: Bencher<'_, '_>) {
    let world = World::fresh();
    let manager = manager(&world);
    // Dropped within the time, as by a caller that sends one request.
    bencher.bench(|| drop(black_box(token(black_box(&manager)))));
}

#[divan::bench(threads = [1, 2], sample_size = 10_000)]
fn current_snapshot(bencher: Bencher<'_, '_>) {
    let world = World::fresh();
    let manager = manager(&world);
    bencher.bench(|| drop(black_box(black_box(&manager).current())));
}

#[divan::bench(sample_size = 10_000)]
fn clock() -> codex_auth::Timestamp {
    black_box(&Clock::system()).now()
}

#[divan::bench(sample_size = 10_000)]
fn status(bencher: Bencher<'_, '_>) {
    let world = World::fresh();
    let (snapshot, now) = (manager(&world).current(), Clock::system().now());
    bencher.bench(|| -> SnapshotStatus { black_box(&snapshot).status(black_box(now)) });
}
