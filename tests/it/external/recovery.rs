//! Recovering from a 401 by a provider: it is asked once, for the same account, and only if it can help.

use std::sync::Arc;

use codex_auth::Environment;
use codex_auth::external::{ApiKeyPolicy, EnvironmentToken, RequestReason as Why};
use codex_auth::manager::{Error, RecoveryStep};

use super::host::{Hands, Host, bearer, block_on, chatgpt, later, manager, text};
use crate::support::TestHome;

/// Upstream: `unauthorized_recovery_uses_external_refresh_for_bearer_manager`.
#[test]
fn a_recovery_asks_for_another_token_once() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(bearer("one")), Ok(bearer("two"))]));
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let (mut first, mut second) =
            (manager.recover(refused.snapshot()), manager.recover(refused.snapshot()));
        let RecoveryStep::Refreshed(token) = first.next().await.unwrap() else { panic!("it was asked") };
        assert_eq!(token.secret().unwrap().expose(), "two");
        assert!(matches!(first.next().await.unwrap(), RecoveryStep::Exhausted));
        let RecoveryStep::Reloaded(token) = second.next().await.unwrap() else { panic!("another has asked") };
        assert_eq!(token.secret().unwrap().expose(), "two");
    });
    assert_eq!(host.asked(), [Why::Missing, Why::Unauthorized]);
}

#[test]
fn a_recovery_names_the_account_and_never_crosses_to_another() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(chatgpt("acct-1", 600)), Ok(chatgpt("acct-2", 600))]));
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let mut recovery = manager.recover(refused.snapshot());
        assert!(matches!(recovery.next().await, Err(Error::OtherAccount)));
        assert!(matches!(recovery.next().await, Ok(RecoveryStep::Exhausted)));
        assert_eq!(manager.current().identity().account_id.as_deref(), Some("acct-1"));
    });
    assert_eq!(host.asked.lock().unwrap()[1].previous_account_id.as_deref(), Some("acct-1"));
}

#[test]
fn a_recovery_by_the_refused_token_itself_is_none() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let manager = manager(&home, Arc::new(Host::answering([(); 4].map(|()| Ok(bearer("one"))))), &hands);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let mut recovery = manager.recover(refused.snapshot());
        assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Exhausted));
        assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Exhausted));
    });
}

#[test]
fn a_recovery_that_fails_for_the_moment_can_be_tried_again() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let answers = [Ok(bearer("one")), Err(later()), Ok(bearer("two"))];
    let manager = manager(&home, Arc::new(Host::answering(answers)), &hands);
    block_on(async {
        let refused = manager.token().await.unwrap();
        let mut recovery = manager.recover(refused.snapshot());
        recovery.next().await.unwrap_err();
        assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Refreshed(_)));
    });
}

/// Upstream: `personal_access_token_does_not_offer_unauthorized_recovery`.
#[test]
fn a_credential_of_the_environment_is_served_and_has_no_recovery() {
    let (home, hands) = (TestHome::new(), Hands::new());
    for (variable, value) in [("CODEX_API_KEY", "sk-1"), ("CODEX_ACCESS_TOKEN", "at-1")] {
        let environment = Environment::read(|name| match name {
            "CODEX_HOME" => Some(home.path().into()),
            name if name == variable => Some(value.into()),
            _ => None,
        });
        let token = EnvironmentToken::from_environment(&environment.unwrap(), ApiKeyPolicy::Use).unwrap();
        let manager = manager(&home, Arc::new(token), &hands);
        block_on(async {
            let served = manager.token().await.unwrap();
            assert_eq!(served.secret().unwrap().expose(), value);
            let mut recovery = manager.recover(served.snapshot());
            assert!(matches!(recovery.next().await.unwrap(), RecoveryStep::Exhausted));
            assert_eq!(text(&manager).await, value, "it is as good as it was");
        });
    }
}
