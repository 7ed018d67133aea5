//! The time of one refresh without contention, step by step.
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

use std::process::ExitCode;
use std::time::Duration;

use codex_auth::authority::{Authority, Endpoint, Refresh, StaleTokenReason, TokenResponse, client_id};
use codex_auth::manager::{AuthManager, RefreshReason};
use codex_auth::store::rescue::{Rescue, RescueReservation};
use codex_auth::store::{CommitOutcome, Seal, Store as _, StoredDocument, Writer};
use codex_auth::{Clock, Lease, StoreKind, Stores};
use scripted_authority::Outcome;
use tokio::runtime::Runtime;

use self::support::{Limits, Times, World, header, line};

const ROUNDS: usize = 200;
/// Limit of the time that the lease adds.
const LEASE: Duration = Duration::from_millis(1);

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
    // Alternately, so that other load on the disk affects both. The first round creates folders, lock files and the
    // HTTP client.
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
    assert_eq!(granted, 2 * (ROUNDS as u64 + 1), "every refresh sent one request");

    let mut limits = Limits::default();
    header(&format!("one refresh, file store, {ROUNDS} rounds"));
    let lease = limits.check(&steps.lease, LEASE);
    line("lease: acquire and release", &steps.lease, &lease);
    line("reserve: check that the response can be saved", &steps.reserve, "");
    line("request: to an authority on this machine", &steps.request, "");
    line("rescue: write the response and sync", &steps.rescue, "");
    line("commit: merge, sync, rename, read back, record, remove the rescue", &steps.commit, "");
    line("AuthManager::refresh in total", &steps.whole, "");
    limits.exit()
}

/// Performs one refresh as the manager does, and times each step.
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
    steps.rescue.of(|| reservation.write(&rescue)).unwrap();
    let committed = steps.commit.of(|| writer.commit_rescue(&rescue)).unwrap();
    assert_eq!(committed, CommitOutcome::Stored);
}

fn reserve(writer: &Writer<'_>) -> RescueReservation {
    let (file, deadline) = (writer.stores().file(), writer.stores().timeout());
    file.check_write(deadline).unwrap();
    file.prove_write().unwrap();
    let seal =
        Seal::for_store(writer.lease(), StoreKind::File, &writer.stores().keychain(), deadline).unwrap();
    RescueReservation::create(writer.lease(), seal).unwrap()
}

fn rescued(stored: &StoredDocument, response: TokenResponse) -> Rescue {
    let parent = stored.document.fingerprint().unwrap();
    Rescue::new(stored, parent, response.into(), Clock::system().now())
}
