//! The manager in one process: shared refreshes, snapshots, recoveries, and waiting until idle.

use std::time::Duration;

use codex_auth::Secret;
use codex_auth::manager::{AccountPolicy, AuthManager, Error, RecoveryStep, RefreshReason, ReloadOutcome};
use scripted_authority::{Account, Endpoint, Moment, Step};

use super::world::{TEST_TIMEOUT, World, block_on, merged, spend};
use crate::support::Machine;

fn manager(world: &World<'_>) -> AuthManager {
    world.builder().open().unwrap()
}

#[test]
fn sixty_four_tasks_send_one_request_and_all_get_the_new_token() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let manager = manager(&world);
    let tokens = block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let manager = manager.clone();
                tokio::spawn(async move { manager.token().await.unwrap().secret().clone() })
            })
            .collect();
        let mut tokens = Vec::new();
        for task in tasks {
            tokens.push(task.await.unwrap());
        }
        tokens
    });
    assert_eq!(world.requests(), 1);
    let stored = Secret::from(world.stored_token("access_token").as_str());
    assert!(tokens.iter().all(|token| *token == stored));
}

#[test]
fn a_dropped_future_does_not_stop_the_refresh_and_wait_idle_waits_for_it() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = manager(&world);
    block_on(async {
        let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
        let waiting = tokio::spawn({
            let manager = manager.clone();
            async move { manager.refresh(RefreshReason::Forced).await.map(drop) }
        });
        tokio::task::block_in_place(|| hold.arrived(TEST_TIMEOUT)).unwrap();
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        let early = tokio::time::timeout(Duration::from_millis(50), manager.wait_idle()).await;
        assert!(early.is_err(), "a transaction is under way");
        hold.release();
        tokio::time::timeout(TEST_TIMEOUT, manager.wait_idle()).await.unwrap();
    });
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
    assert_eq!(
        manager.current().document().unwrap().fingerprint().unwrap(),
        Secret::from(world.live_refresh_token().unwrap()).fingerprint()
    );
}

#[test]
fn every_subscriber_is_notified_of_a_refresh_once() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = manager(&world);
    let mut news = manager.subscribe();
    block_on(manager.refresh(RefreshReason::Forced)).unwrap();
    assert!(news.has_changed().unwrap());
    let now = codex_auth::Timestamp::now();
    assert_eq!(news.borrow_and_update().expires_at(now), manager.current().expires_at(now));
    assert!(!news.has_changed().unwrap());
    assert_eq!(block_on(manager.reload()).unwrap(), ReloadOutcome::Same, "an own write echoes nothing");
    assert!(!news.has_changed().unwrap());
}

/// `unauthorized_recovery_reloads_then_refreshes_tokens`
#[test]
fn a_recovery_reloads_first_and_spends_at_most_one_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = manager(&world);
    let answer = spend(&world.authority, &world.grant.tokens.refresh_token);
    let mut recovery = manager.recover(&manager.current());
    world.machine.store_text(merged(&world.machine.stored_text().unwrap(), &answer));
    block_on(async {
        let RecoveryStep::Reloaded(token) = recovery.next().await.unwrap() else {
            panic!("the store has another")
        };
        assert_eq!(Some(token.secret().expose()), answer["access_token"].as_str());
        assert_eq!(world.requests(), 1);
        let mut recovery = manager.recover(&manager.current());
        let RecoveryStep::Refreshed(token) = recovery.next().await.unwrap() else {
            panic!("nothing new there")
        };
        assert_eq!(token.secret().expose(), world.stored_token("access_token"));
        assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Exhausted));
        assert_eq!(world.requests(), 2);
        // The damper holds across recoveries: a token received just now is not spent after another 401.
        let mut recovery = manager.recover(&manager.current());
        assert!(matches!(recovery.next().await, Err(Error::JustReceived)));
        assert_eq!(world.requests(), 2);
    });
}

/// `unauthorized_recovery_errors_on_account_mismatch`
#[test]
fn a_recovery_never_switches_to_another_account() {
    for policy in [AccountPolicy::Stay, AccountPolicy::Follow] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let manager = world.builder().policy(policy).open().unwrap();
        let mut recovery = manager.recover(&manager.current());
        let other = world.authority.grant(Account::numbered(2)).auth_json();
        world.machine.store_text(&other);
        assert!(matches!(block_on(recovery.next()), Err(Error::OtherAccount)));
        assert_eq!((world.requests(), world.machine.stored_text()), (0, Some(other)));
    }
}

/// `refresh_token_errors_on_account_mismatch`: the stored login and the manager's token are unchanged.
#[test]
fn a_manager_that_stays_keeps_its_token_and_never_spends_another_accounts() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = manager(&world);
    let other = world.authority.grant(Account::numbered(2)).auth_json();
    world.machine.store_text(&other);
    block_on(async {
        assert!(matches!(manager.refresh(RefreshReason::Forced).await, Err(Error::OtherAccount)));
        let token = manager.token().await.unwrap();
        assert_eq!(token.secret().expose(), world.grant.tokens.access_token);
        assert_eq!(manager.reload().await.unwrap(), ReloadOutcome::OtherAccount);
    });
    assert_eq!((world.requests(), world.machine.stored_text()), (0, Some(other)));
}

#[test]
fn a_poisoned_snapshot_serves_no_token_until_another_process_logs_in() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let manager = manager(&world);
    world.authority.script(Endpoint::Refresh, Step::status(401, "refresh_token_invalidated"));
    block_on(async {
        for _ in 0..5 {
            assert!(matches!(manager.token().await, Err(Error::Poisoned(_))));
        }
        assert_eq!(world.requests(), 1);
        assert!(manager.current().document().is_some(), "the account stays visible");
        let again = world.authority.grant(Account::numbered(1));
        world.log_in(&again);
        assert_eq!(manager.token().await.unwrap().secret().expose(), again.tokens.access_token);
        assert_eq!(world.requests(), 1);
    });
}

/// The clocks of an authority's machines differ by seconds.
#[test]
fn a_stored_login_is_used_whatever_its_issue_date() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = world.builder().open().unwrap();
    let first = world.stored_token("access_token");
    world.authority.adjust(|policy| policy.clock_offset = -30);
    let again = world.authority.grant(Account::numbered(1));
    world.log_in(&again);
    assert_eq!(block_on(manager.reload()).unwrap(), ReloadOutcome::Changed);
    assert_ne!(block_on(manager.token()).unwrap().secret().expose(), first);
    // Also a refresh by another process.
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(block_on(manager.reload()).unwrap(), ReloadOutcome::Changed);
    assert_eq!(block_on(manager.token()).unwrap().secret().expose(), world.stored_token("access_token"));
    // A copy with a spent token is not refreshed.
    world.log_in(&again);
    assert_eq!(block_on(manager.reload()).unwrap(), ReloadOutcome::Changed);
    let refused = block_on(manager.refresh(RefreshReason::Forced));
    assert!(matches!(refused, Err(Error::OldCopy)), "{refused:?}");
}
