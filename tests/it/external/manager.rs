//! The manager calls a provider once, caches its token, and stops after a permanent error.

use std::sync::Arc;

use codex_auth::Timestamp;
use codex_auth::external::{BearerCommand, RequestReason as Why};
use codex_auth::manager::{Error, LoginChange, RecoveryStep, RefreshReason, ReloadOutcome};

use super::command::command;
use super::host::{
    FakeProvider, NOW, TestClock, bearer, block_on, chatgpt, manager, permanent_error, token_text,
    transient_error, valid_for,
};
use crate::support::TestHome;

#[test]
fn sixty_four_tasks_share_one_request() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Ok(bearer("one"))]).gated());
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let manager = manager.clone();
                tokio::spawn(async move { token_text(&manager).await })
            })
            .collect();
        host.gate.as_ref().unwrap().notify_one();
        for task in tasks {
            assert_eq!(task.await.unwrap(), "one");
        }
    });
    assert_eq!(host.reasons(), [Why::Missing]);
    assert_eq!(home.names(), Vec::<String>::new(), "the store is not used");
}

#[test]
fn a_token_is_cached_until_it_is_stale() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Ok(valid_for("one", 3_600)), Ok(valid_for("two", 7_200))]));
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        assert_eq!(token_text(&manager).await, "one");
        clock.advance(3_600 - 301);
        assert_eq!(token_text(&manager).await, "one");
        assert_eq!(host.reasons().len(), 1);
        clock.advance(2);
        assert_eq!(token_text(&manager).await, "two");
    });
    assert_eq!(host.reasons(), [Why::Missing, Why::Expired]);
}

#[test]
fn an_available_token_is_used_before_a_new_one_is_requested() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Ok(bearer("asked for"))]));
    host.set_available(valid_for("at hand", 60));
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        assert_eq!(token_text(&manager).await, "at hand");
        assert!(host.reasons().is_empty());
        clock.advance(60);
        assert_eq!(token_text(&manager).await, "asked for", "an expired token is not available");
    });
    assert_eq!(host.reasons(), [Why::Expired]);
}

#[test]
fn a_transient_error_leaves_the_valid_token_in_use() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([
        Ok(valid_for("one", 3_600)),
        Err(transient_error()),
        Err(transient_error()),
    ]));
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        assert_eq!(token_text(&manager).await, "one");
        clock.advance(3_500);
        for _ in 0..5 {
            assert_eq!(token_text(&manager).await, "one");
        }
        assert_eq!(host.reasons().len(), 2, "after an error the manager waits before the next call");
        let soon = Timestamp::from_second(NOW + 3_500).unwrap();
        assert!(manager.current().usability(soon).reason().is_none());
        clock.advance(100);
        let error = manager.token().await.unwrap_err();
        assert!(!error.wants_login() && error.to_string().contains("the network is down"), "{error}");
    });
}

#[test]
fn after_a_permanent_error_the_provider_is_called_only_by_a_reload() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Ok(chatgpt("acct-1", 3_600)), Err(permanent_error())]));
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        token_text(&manager).await;
        clock.advance(3_500);
        for _ in 0..5 {
            let Err(Error::Provider(error)) = manager.token().await else {
                panic!("it no longer issues tokens")
            };
            assert_eq!(error.to_string(), "the editor no longer issues tokens: its user has signed out");
        }
        assert_eq!(host.reasons().len(), 2);
        let before = manager.current();
        assert_eq!(before.identity().account_id.as_deref(), Some("acct-1"), "the account stays visible");
        host.set_available(chatgpt("acct-1", 9_000));
        assert_eq!(manager.reload().await.unwrap(), ReloadOutcome::Changed);
        assert_eq!(LoginChange::between(&before, &manager.current()), Some(LoginChange::Healed));
        token_text(&manager).await;
    });
}

#[test]
fn the_same_token_after_a_permanent_error_heals_nothing() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Err(permanent_error())]));
    host.set_available(bearer("dead"));
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        assert_eq!(token_text(&manager).await, "dead");
        manager.refresh(RefreshReason::Forced).await.unwrap_err();
        manager.reload().await.unwrap_err();
        manager.token().await.unwrap_err();
    });
}

#[test]
fn subscribers_are_notified_of_new_tokens_and_of_a_permanent_error() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let answers = [Ok(bearer("one")), Ok(bearer("two")), Ok(bearer("two")), Err(permanent_error())];
    let manager = manager(&home, Arc::new(FakeProvider::answering(answers)), &clock);
    let mut snapshots = manager.subscribe();
    block_on(async {
        let mut last = snapshots.borrow_and_update().clone();
        for change in
            [Some(LoginChange::Login), Some(LoginChange::Refreshed), None, Some(LoginChange::Poisoned)]
        {
            let _ = manager.refresh(RefreshReason::Forced).await;
            assert_eq!(snapshots.has_changed().unwrap(), change.is_some());
            let new = snapshots.borrow_and_update().clone();
            assert_eq!(LoginChange::between(&last, &new), change);
            last = new;
        }
    });
}

/// Upstream: `external_chatgpt_auth_manager_refresh_persists_ephemeral_auth`.
#[test]
fn a_chatgpt_token_makes_a_document_only_in_memory() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-stored"}"#);
    let before = home.tree();
    let host = FakeProvider::answering([Ok(chatgpt("acct-1", 600)), Ok(chatgpt("acct-1", 1_200))]);
    let manager = manager(&home, Arc::new(host), &clock);
    block_on(async {
        token_text(&manager).await;
        let snapshot = manager.refresh(RefreshReason::Forced).await.unwrap();
        let document = snapshot.document().unwrap();
        assert_eq!(document.mode().unwrap().as_str(), "chatgptAuthTokens");
        assert_eq!(document.claims().email.as_deref(), Some("ada@example.com"));
        assert_eq!(document.bearer(), Some(snapshot.external_token().unwrap().access_token()));
    });
    assert_eq!(home.tree(), before);
}

#[test]
fn a_cancelled_caller_does_not_cancel_the_request() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let host = Arc::new(FakeProvider::answering([Ok(bearer("one"))]).gated());
    let manager = manager(&home, Arc::clone(&host) as _, &clock);
    block_on(async {
        let mut snapshots = manager.subscribe();
        let waiting = tokio::spawn({
            let manager = manager.clone();
            async move { token_text(&manager).await }
        });
        while host.reasons().is_empty() {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        host.gate.as_ref().unwrap().notify_one();
        snapshots.changed().await.unwrap();
        assert_eq!(token_text(&manager).await, "one");
    });
    assert_eq!(host.reasons().len(), 1);
}

#[test]
fn an_expired_token_of_a_provider_is_an_error() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let manager = manager(&home, Arc::new(FakeProvider::answering([Ok(valid_for("old", -1))])), &clock);
    let error = block_on(manager.token()).unwrap_err();
    assert_eq!(error.to_string(), "the editor issued no token: its token has already expired");
}

/// A command that prints a new token on each run.
fn counting(home: &TestHome, more: &str) -> Arc<BearerCommand> {
    let runs = home.file("runs");
    let script = format!("echo x >> {0}; echo token-$(wc -l < {0})", runs.display());
    Arc::new(BearerCommand::new("corp", command("sh", &["-c", &script], more)))
}

/// Upstream: `external_bearer_only_auth_manager_uses_cached_provider_token`.
#[test]
fn the_token_of_a_command_is_used_for_the_refresh_interval() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let manager = manager(&home, counting(&home, ""), &clock);
    block_on(async {
        assert_eq!(token_text(&manager).await, "token-1");
        clock.advance(299);
        assert_eq!(token_text(&manager).await, "token-1");
        clock.advance(1);
        assert_eq!(token_text(&manager).await, "token-2");
    });
}

/// Upstream: `external_bearer_only_auth_manager_disables_auto_refresh_when_interval_is_zero`.
#[test]
fn without_a_refresh_interval_a_command_runs_again_only_after_a_401() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let manager = manager(&home, counting(&home, "refresh_interval_ms = 0"), &clock);
    block_on(async {
        assert_eq!(token_text(&manager).await, "token-1");
        clock.advance(1_000_000);
        let refused = manager.token().await.unwrap();
        assert_eq!(refused.secret().expose(), "token-1");
        let mut recovery = manager.recover(refused.snapshot());
        let RecoveryStep::Refreshed(token) = recovery.next().await.unwrap() else {
            panic!("the command did not run again")
        };
        assert_eq!(token.secret().expose(), "token-2");
    });
}

/// Upstream: `external_bearer_only_auth_manager_returns_none_when_command_fails`.
#[test]
fn a_failing_command_is_an_error_with_its_stderr() {
    let (home, clock) = (TestHome::new(), TestClock::new());
    let failing = BearerCommand::new("corp", command("sh", &["-c", "echo no vault >&2; exit 3"], ""));
    let manager = manager(&home, Arc::new(failing), &clock);
    let error = block_on(manager.token()).unwrap_err();
    assert_eq!(error.to_string(), "sh failed with exit status: 3; stderr: no vault");
    assert!(manager.current().document().is_none());
}
