//! Recovery from a 401 with a provider: at most one new token, and only of the same account.

use std::sync::Arc;

use codex_auth::Environment;
use codex_auth::external::{ApiKeyPolicy, EnvironmentToken, RequestReason as Why};
use codex_auth::manager::{Error, RecoveryStep};

use super::host::{FakeProvider, TestClock, bearer, block_on, chatgpt, manager, token_text, transient_error};
use crate::support::TestHome;

/// Upstream: `unauthorized_recovery_uses_external_refresh_for_bearer_manager`.
#[test]
fn a_recovery_requests_one_new_token() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Ok(bearer("one")), Ok(bearer("two"))]));
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let (mut first, mut second) =
            (manager.recover(refused.snapshot()), manager.recover(refused.snapshot()));
        let RecoveryStep::Refreshed(token) = first.next().await.unwrap() else {
            panic!("no new token was requested")
        };
        assert_eq!(token.secret().expose(), "two");
        assert!(matches!(first.next().await.unwrap(), RecoveryStep::Exhausted));
        let RecoveryStep::Reloaded(token) = second.next().await.unwrap() else {
            panic!("the new token was not reused")
        };
        assert_eq!(token.secret().expose(), "two");
    });
    assert_eq!(host.reasons(), [Why::Missing, Why::Unauthorized]);
}

#[test]
fn a_recovery_refuses_the_token_of_another_account() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Ok(chatgpt("acct-1", 600)), Ok(chatgpt("acct-2", 600))]));
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let mut recovery = manager.recover(refused.snapshot());
        assert!(matches!(recovery.next().await, Err(Error::OtherAccount)));
        assert!(matches!(recovery.next().await, Ok(RecoveryStep::Exhausted)));
        assert_eq!(manager.current().identity().account_id.as_deref(), Some("acct-1"));
    });
    assert_eq!(host.requests.lock().unwrap()[1].previous_account_id.as_deref(), Some("acct-1"));
}

#[test]
fn a_recovery_does_not_return_the_refused_token() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let manager =
        manager(&home, Arc::new(FakeProvider::answering([(); 4].map(|()| Ok(bearer("one"))))), &clock);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let mut recovery = manager.recover(refused.snapshot());
        assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Exhausted));
        assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Exhausted));
    });
}

#[test]
fn a_recovery_can_be_retried_after_a_transient_error() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let answers = [Ok(bearer("one")), Err(transient_error()), Ok(bearer("two"))];
    let manager = manager(&home, Arc::new(FakeProvider::answering(answers)), &clock);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let mut recovery = manager.recover(refused.snapshot());
        recovery.next().await.unwrap_err();
        assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Refreshed(_)));
    });
}

/// Upstream: `personal_access_token_does_not_offer_unauthorized_recovery`.
#[test]
fn a_credential_in_the_environment_has_no_recovery() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    for (variable, value) in [("CODEX_API_KEY", "sk-1"), ("CODEX_ACCESS_TOKEN", "at-1")] {
        let environment = Environment::read(|name| match name {
            "CODEX_HOME" => Some(home.path().into()),
            name if name == variable => Some(value.into()),
            _ => None,
        });
        let token = EnvironmentToken::from_environment(&environment.unwrap(), ApiKeyPolicy::Use).unwrap();
        let manager = manager(&home, Arc::new(token), &clock);
        block_on(async {
            let served = manager.token().await.unwrap();
            assert_eq!(served.secret().expose(), value);
            let mut recovery = manager.recover(served.snapshot());
            assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Exhausted));
            assert_eq!(token_text(&manager).await, value, "the token is still served");
        });
    }
}
