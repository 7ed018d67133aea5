//! The refresh tests of openai/codex, including those of its closed pull request 15127.
//!
//! | case | where |
//! |---|---|
//! | `refresh_without_id_token` | `answers::refresh_without_id_token_keeps_the_old_one` |
//! | `refresh_failure_is_scoped_to_the_matching_auth_snapshot` | here |
//! | `login_with_*`, `missing_auth_json_*`, `loads_api_key_*`, `logout_removes_auth_file` | `cli::{login, status, token, logout}`, `interop::documents` |
//! | `unauthorized_recovery_reports_mode_and_step_names` | none: the steps are values of `RecoveryStep`, and have no names |
//! | #15127: `stale_proactive_refresh_*`, `refresh_token_reused_without_account_id_adopts`, which here adopts nothing, `unauthorized_recovery_reload_*` | here |
//! | `refresh_token_succeeds_updates_storage`, `refresh_token_refreshes_when_auth_is_unchanged` | `answers::refresh_token_succeeds_updates_storage` |
//! | `auth_refreshes_when_access_token_is_near_expiry`, `auth_skips_access_token_outside_refresh_window` | here |
//! | `refresh_token_skips_refresh_when_auth_changed`, `auth_reloads_disk_auth_when_cached_auth_is_stale` | here, as `stale_proactive_refresh_uses_newer_local_auth` |
//! | `auth_reloads_disk_auth_without_calling_expired_refresh_token` | here |
//! | `refresh_token_errors_on_account_mismatch` | `library::a_manager_that_stays_keeps_its_token_and_never_spends_another_accounts` |
//! | `returns_fresh_tokens_as_is` | `answers`, and here with an old `last_refresh` |
//! | `refreshes_token_when_access_token_is_expired` | `answers` |
//! | `refresh_token_returns_permanent_error_for_expired_refresh_token`, `…_does_not_retry_after_permanent_failure` | `answers::a_rejected_refresh_token_is_sent_once_and_replaced_by_a_login` |
//! | `refresh_token_reloads_changed_auth_after_permanent_failure` | `library::a_poisoned_snapshot_serves_no_token_until_another_process_logs_in` |
//! | `refresh_token_returns_transient_error_on_server_failure` | `answers` |
//! | `unauthorized_recovery_reloads_then_refreshes_tokens`, `…_errors_on_account_mismatch` | `library::a_recovery_*` |
//! | `unauthorized_recovery_requires_chatgpt_auth` | here |
//! | `logout_with_revoke_revokes_refresh_token_then_removes_auth` | `logout` |
//! | `logout_with_revoke_removes_auth_when_revoke_fails` | `logout::a_failed_revocation_keeps_the_login_until_it_is_forced`: here the login is kept |
//! | `derives_revoke_url_from_refresh_token_override`, `revoke_request_times_out` | `authority::revoke` |
//!
//! External providers, environment credentials and login restrictions are tested elsewhere.

use codex_auth::manager::{AccountPolicy, AuthManager, Error, RecoveryStep, RefreshReason, Token};
use scripted_authority::{Account, Ending};

use super::rival::Rival;
use super::world::{World, block_on};
use crate::support::Machine;

fn bearer(token: &Token) -> &str {
    token.secret().expose()
}

/// An account whose tokens carry no identity.
fn anonymous() -> Account {
    Account { account_id: String::new(), user_id: String::new(), email: String::new(), plan: String::new() }
}

/// A manager with a stale token, which another program has refreshed since.
fn manager_with_spent_token(world: &World<'_>) -> (AuthManager, Rival) {
    let manager = world.builder().open().unwrap();
    let rival = Rival::refreshing(world);
    rival.commit(world.machine);
    (manager, rival)
}

#[test]
fn stale_proactive_refresh_uses_newer_local_auth() {
    for reason in
        [RefreshReason::Stale, RefreshReason::Forced, RefreshReason::Keeper, RefreshReason::MinTtl(600)]
    {
        let mut machine = Machine::with_file();
        let world = World::stale(&mut machine);
        let (manager, rival) = manager_with_spent_token(&world);
        let snapshot = block_on(manager.refresh(reason)).unwrap();
        let token = block_on(manager.token()).unwrap();
        assert_eq!((bearer(&token), world.requests()), (rival.token("access_token"), 1), "{reason:?}");
        let now = jiff::Timestamp::now();
        assert_eq!(snapshot.expires_at(now), token.snapshot().expires_at(now));
    }
}

#[test]
fn stale_proactive_refresh_does_not_overwrite_a_different_account_on_disk() {
    for account in [Account::numbered(2), Account { user_id: "user-9".to_owned(), ..Account::numbered(1) }] {
        let mut machine = Machine::with_file();
        let world = World::stale(&mut machine);
        let manager = world.builder().open().unwrap();
        let other = world.authority.grant(account).auth_json();
        world.machine.store_text(&other);
        // Its own token is still valid, and is the only one that it serves.
        let token = block_on(manager.token()).unwrap();
        assert_eq!(bearer(&token), world.grant.tokens.access_token);
        assert!(matches!(block_on(manager.refresh(RefreshReason::Stale)), Err(Error::OtherAccount)));
        assert_eq!((world.requests(), world.machine.stored_text()), (0, Some(other)));
    }
}

#[test]
fn stale_proactive_refresh_does_not_adopt_a_different_user_in_same_account() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let manager = world.builder().open().unwrap();
    let account = Account { user_id: "user-9".to_owned(), ..Account::numbered(1) };
    let other = world.authority.grant(account).auth_json();
    world.machine.store_text(&other);
    assert!(matches!(block_on(manager.token()), Err(Error::OtherAccount)));
    assert_eq!((world.requests(), world.machine.stored_text()), (0, Some(other)));
}

#[test]
fn stale_proactive_refresh_without_account_id_adopts_nothing() {
    let mut machine = Machine::with_file();
    let mut world = World::fresh(&mut machine);
    world.log_in_as(anonymous(), 60);
    let own = world.stored_token("access_token");
    let (manager, _) = manager_with_spent_token(&world);
    let token = block_on(manager.token()).unwrap();
    assert_eq!((bearer(&token), world.requests()), (own.as_str(), 1));
}

#[test]
fn stale_proactive_refresh_without_identity_claims_still_attempts_refresh() {
    let mut machine = Machine::with_file();
    let mut world = World::fresh(&mut machine);
    world.log_in_as(anonymous(), 60);
    let manager = world.builder().open().unwrap();
    let token = block_on(manager.token()).unwrap();
    assert_eq!((bearer(&token), world.requests()), (world.stored_token("access_token").as_str(), 1));
    world.assert_no_token_reused_or_lost();
}

#[test]
fn refresh_token_reused_without_account_id_adopts_nothing() {
    let mut machine = Machine::with_file();
    let mut world = World::fresh(&mut machine);
    world.log_in_as(anonymous(), 3_600);
    let manager = world.builder().open().unwrap();
    let rival = Rival::refreshing(&world);
    let refused = |entry: &scripted_authority::Entry| entry.code.as_deref() == Some("refresh_token_reused");
    std::thread::scope(|scope| {
        let refreshing = scope.spawn(|| block_on(manager.refresh(RefreshReason::Forced)));
        world.authority.wait_for_entry(super::world::TEST_TIMEOUT, refused).unwrap();
        rival.commit(world.machine);
        assert!(matches!(refreshing.join().unwrap(), Err(Error::OtherAccount)));
    });
    // With `AccountPolicy::Follow` any stored login is used.
    let manager = world.builder().policy(AccountPolicy::Follow).open().unwrap();
    let token = block_on(manager.token()).unwrap();
    assert_eq!((bearer(&token), world.requests()), (rival.token("access_token"), 2));
}

/// Also if the manager has switched to the other account meanwhile.
#[test]
fn unauthorized_recovery_reload_uses_original_auth_snapshot() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let manager = world.builder().policy(AccountPolicy::Follow).open().unwrap();
    let mut recovery = manager.recover(&manager.current());
    let other = world.authority.grant(Account::numbered(2));
    world.machine.store_text(other.auth_json());
    block_on(manager.reload()).unwrap();
    assert_eq!(bearer(&block_on(manager.token()).unwrap()), other.tokens.access_token);
    assert!(matches!(block_on(recovery.next()), Err(Error::OtherAccount)));
    assert!(matches!(block_on(recovery.next()), Ok(RecoveryStep::Exhausted)));
    assert_eq!(world.requests(), 0);
}

#[test]
fn unauthorized_recovery_requires_chatgpt_auth() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    for document in [r#"{"OPENAI_API_KEY":"sk-1"}"#, r#"{"personal_access_token":"at-1"}"#] {
        world.machine.store_text(document);
        let manager = world.builder().open().unwrap();
        let mut recovery = manager.recover(&manager.current());
        assert!(matches!(block_on(recovery.next()), Ok(RecoveryStep::Exhausted)));
    }
    assert_eq!(world.requests(), 0);
}

#[test]
fn auth_refreshes_when_access_token_is_near_expiry_and_skips_one_outside_the_window() {
    for (minutes, requests) in [(4, 1), (6, 0)] {
        let mut machine = Machine::with_file();
        let mut world = World::fresh(&mut machine);
        world.log_in_as(Account::numbered(1), minutes * 60);
        let manager = world.builder().open().unwrap();
        let token = block_on(manager.token()).unwrap();
        assert_eq!(
            (bearer(&token), world.requests()),
            (world.stored_token("access_token").as_str(), requests)
        );
    }
}

#[test]
fn returns_fresh_tokens_as_is_however_old_last_refresh_is() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let nine_days_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(9 * 24);
    world.machine.store_text(world.grant.auth_json_refreshed_at(nine_days_ago));
    let token = block_on(world.builder().open().unwrap().token()).unwrap();
    assert_eq!((bearer(&token), world.requests()), (world.grant.tokens.access_token.as_str(), 0));
}

#[test]
fn auth_reloads_disk_auth_without_calling_expired_refresh_token() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let manager = world.builder().open().unwrap();
    world.authority.end(world.grant.id, Ending::RefreshExpired);
    let again = world.authority.grant(Account::numbered(1));
    world.machine.store_text(again.auth_json());
    assert_eq!(bearer(&block_on(manager.token()).unwrap()), again.tokens.access_token);
    assert_eq!(world.requests(), 0);
}

/// The poison of one token does not apply to another, and applies again when that token is restored.
#[test]
fn refresh_failure_is_scoped_to_the_matching_auth_snapshot() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let dead = world.machine.stored_text().unwrap();
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    world.codex(["refresh"]).run().refused(3);
    let again = world.authority.grant(Account::numbered(1));
    world.machine.store_text(again.auth_json());
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), again.tokens.access_token);
    world.machine.store_text(dead);
    world.codex(["token"]).run().refused(3);
    world.codex(["refresh"]).run().refused(3);
    assert_eq!(world.requests(), 1);
    world.machine.store_text(again.auth_json());
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.requests(), 2);
}
