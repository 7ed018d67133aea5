//! What one refresh costs where nobody else wants one, step by step: above all, what the lock adds.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark makes its own world, stops where it is not as made, and has no public face"
)]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use codex_auth::authority::{Authority, Endpoint, Refresh, StaleTokenReason, TokenResponse, client_id};
use codex_auth::manager::{AuthManager, RefreshReason};
use codex_auth::store::rescue::{Rescue, RescueReservation};
use codex_auth::store::{AdvanceOutcome, Seal, Store as _, StoredDocument, Writer};
use codex_auth::{Clock, Lease, StoreKind, Stores};
use scripted_authority::Outcome;
use tokio::runtime::Runtime;

use self::support::{Promise, Times, World, header, line};

const ROUNDS: usize = 200;
/// What the lease may add.
const LOCK: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Steps {
    lease: Times,
    reserve: Times,
    request: Times,
    rescue: Times,
    commit: Times,
    whole: Times,
}

fn main() -> ExitCode {
    let world = World::fresh();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let authority = Authority::new(&world.environment());
    let manager = AuthManager::builder(world.home(), world.environment()).open().unwrap();
    // In turns, so that another user of the disk is in the way of both. The first round makes what is made only once:
    // folders, lock files, the HTTP client.
    let mut steps = Steps::default();
    for round in 0..=ROUNDS {
        if round == 1 {
            steps = Steps::default();
        }
        by_steps(&world, &runtime, &authority, &mut steps);
        runtime.block_on(manager.reload()).unwrap();
        steps.whole.of(|| runtime.block_on(manager.refresh(RefreshReason::Forced))).unwrap();
    }
    let granted = world.authority.counters().ended(scripted_authority::Endpoint::Refresh, Outcome::Granted);
    assert_eq!(granted, 2 * (ROUNDS as u64 + 1), "every refresh of both kinds was one");

    let mut promise = Promise::default();
    header(&format!("one refresh, file store, {ROUNDS} rounds"));
    let lock = promise.judge(&steps.lease, LOCK);
    line("lease: taken and given up", &steps.lease, &lock);
    line("reserve: proof that the answer can be saved", &steps.reserve, "");
    line("request: to an authority on this machine", &steps.request, "");
    line("rescue: the answer on the disk, synced", &steps.rescue, "");
    line("commit: merged, synced, renamed, read back, recorded, rescue removed", &steps.commit, "");
    line("AuthManager::refresh, all of it", &steps.whole, "");
    promise.exit()
}

/// One refresh as the manager does it, with each step timed.
fn by_steps(world: &World, runtime: &Runtime, authority: &Authority, steps: &mut Steps) {
    let environment = world.environment();
    let acquire = || Lease::acquire(&world.home(), Duration::from_secs(60), |_| {}).unwrap();
    steps.lease.of(|| drop(acquire()));
    let lease = acquire();
    let stores = Stores::open(world.home(), &environment).unwrap();
    let mut writer = stores.writer(&lease).unwrap();
    let stored = writer.stores().find().unwrap().stored.unwrap();
    let reservation = steps.reserve.of(|| reserve(&writer));

    let tokens = stored.document.tokens().unwrap();
    let refresh = Refresh {
        endpoint: Endpoint::refresh(&environment, &tokens.provenance).unwrap(),
        client_id: client_id(&tokens.provenance).to_owned(),
        refresh_token: tokens.refresh_token.clone().unwrap(),
        reason: StaleTokenReason::Forced,
    };
    let response = steps.request.of(|| runtime.block_on(authority.refresh(&refresh))).unwrap();

    let rescue = rescued(&stored, response);
    steps.rescue.of(|| reservation.keep(&rescue)).unwrap();
    let committed = steps.commit.of(|| writer.advance(&rescue)).unwrap();
    assert_eq!(committed, AdvanceOutcome::Stored);
}

fn reserve(writer: &Writer<'_>) -> RescueReservation {
    let (file, deadline) = (writer.stores().file(), writer.stores().deadline());
    file.check_write(deadline).unwrap();
    file.prove_write().unwrap();
    let seal = Seal::make(writer.lease(), StoreKind::File, &writer.stores().keychain(), deadline).unwrap();
    RescueReservation::make(writer.lease(), seal).unwrap()
}

fn rescued(stored: &StoredDocument, response: TokenResponse) -> Rescue {
    let parent = stored.document.fingerprint().unwrap();
    Rescue::new(stored, parent, response.into(), Clock::system().now())
}
