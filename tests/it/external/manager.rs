//! What the manager makes of a provider: asked once, kept while good, served through trouble, and left alone when dead.

use std::sync::Arc;

use codex_auth::Timestamp;
use codex_auth::external::{BearerCommand, RequestReason as Why};
use codex_auth::manager::{Error, LoginChange, RecoveryStep, RefreshReason, ReloadOutcome};

use super::command::command;
use super::host::{Hands, Host, NOW, bearer, block_on, chatgpt, good_for, later, manager, never, text};
use crate::support::TestHome;

#[test]
fn sixty_four_tasks_ask_once_and_all_get_the_token() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(bearer("one"))]).gated());
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let manager = manager.clone();
                tokio::spawn(async move { text(&manager).await })
            })
            .collect();
        host.gate.as_ref().unwrap().notify_one();
        for task in tasks {
            assert_eq!(task.await.unwrap(), "one");
        }
    });
    assert_eq!(host.asked(), [Why::Missing]);
    assert_eq!(home.names(), Vec::<String>::new(), "the store is left alone");
}

#[test]
fn a_token_is_kept_until_it_wants_a_successor() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(good_for("one", 3_600)), Ok(good_for("two", 7_200))]));
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        assert_eq!(text(&manager).await, "one");
        hands.forward(3_600 - 301);
        assert_eq!(text(&manager).await, "one");
        assert_eq!(host.asked().len(), 1);
        hands.forward(2);
        assert_eq!(text(&manager).await, "two");
    });
    assert_eq!(host.asked(), [Why::Missing, Why::Expired]);
}

#[test]
fn a_token_at_hand_is_taken_before_another_is_asked_for() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(bearer("asked for"))]));
    host.has_now(good_for("at hand", 60));
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        assert_eq!(text(&manager).await, "at hand");
        assert!(host.asked().is_empty());
        hands.forward(60);
        assert_eq!(text(&manager).await, "asked for", "what has ended is at hand no more");
    });
    assert_eq!(host.asked(), [Why::Expired]);
}

#[test]
fn a_failure_that_passes_leaves_the_live_token_and_nobody_looks_logged_out() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(good_for("one", 3_600)), Err(later()), Err(later())]));
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        assert_eq!(text(&manager).await, "one");
        hands.forward(3_500);
        for _ in 0..5 {
            assert_eq!(text(&manager).await, "one");
        }
        assert_eq!(host.asked().len(), 2, "after a failure it is left alone for a while");
        let soon = Timestamp::from_second(NOW + 3_500).unwrap();
        assert!(manager.current().usability(soon).reason().is_none());
        hands.forward(100);
        let error = manager.token().await.unwrap_err();
        assert!(!error.wants_login() && error.to_string().contains("the network is down"), "{error}");
    });
}

#[test]
fn a_permanent_failure_is_the_last_question_until_somebody_looks_again() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(chatgpt("acct-1", 3_600)), Err(never())]));
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        text(&manager).await;
        hands.forward(3_500);
        for _ in 0..5 {
            let Err(Error::Provider(error)) = manager.token().await else {
                panic!("it no longer issues tokens")
            };
            assert_eq!(error.to_string(), "the editor no longer issues tokens: its user has signed out");
        }
        assert_eq!(host.asked().len(), 2);
        let before = manager.current();
        assert_eq!(before.identity().account_id.as_deref(), Some("acct-1"), "the account stays visible");
        host.has_now(chatgpt("acct-1", 9_000));
        assert_eq!(manager.reload().await.unwrap(), ReloadOutcome::Changed);
        assert_eq!(LoginChange::between(&before, &manager.current()), Some(LoginChange::Healed));
        text(&manager).await;
    });
}

#[test]
fn what_a_provider_repeats_after_it_refused_heals_nothing() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Err(never())]));
    host.has_now(bearer("dead"));
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        assert_eq!(text(&manager).await, "dead");
        manager.refresh(RefreshReason::Forced).await.unwrap_err();
        manager.reload().await.unwrap_err();
        manager.token().await.unwrap_err();
    });
}

#[test]
fn subscribers_hear_of_a_new_token_and_of_the_last_one() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let answers = [Ok(bearer("one")), Ok(bearer("two")), Ok(bearer("two")), Err(never())];
    let manager = manager(&home, Arc::new(Host::answering(answers)), &hands);
    let mut news = manager.subscribe();
    block_on(async {
        let mut told = news.borrow_and_update().clone();
        for change in
            [Some(LoginChange::Login), Some(LoginChange::Refreshed), None, Some(LoginChange::Poisoned)]
        {
            let _ = manager.refresh(RefreshReason::Forced).await;
            assert_eq!(news.has_changed().unwrap(), change.is_some());
            let new = news.borrow_and_update().clone();
            assert_eq!(LoginChange::between(&told, &new), change);
            told = new;
        }
    });
}

/// Upstream: `external_chatgpt_auth_manager_refresh_persists_ephemeral_auth`.
#[test]
fn a_chatgpt_token_makes_a_document_in_memory_and_nowhere_else() {
    let (home, hands) = (TestHome::new(), Hands::new());
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-stored"}"#);
    let before = home.tree();
    let host = Host::answering([Ok(chatgpt("acct-1", 600)), Ok(chatgpt("acct-1", 1_200))]);
    let manager = manager(&home, Arc::new(host), &hands);
    block_on(async {
        text(&manager).await;
        let snapshot = manager.refresh(RefreshReason::Forced).await.unwrap();
        let document = snapshot.document().unwrap();
        assert_eq!(document.mode().unwrap().as_str(), "chatgptAuthTokens");
        assert_eq!(document.claims().email.as_deref(), Some("ada@example.com"));
        assert_eq!(document.bearer(), Some(snapshot.external_token().unwrap().access_token()));
    });
    assert_eq!(home.tree(), before);
}

#[test]
fn a_caller_that_stops_waiting_changes_nothing() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let host = Arc::new(Host::answering([Ok(bearer("one"))]).gated());
    let manager = manager(&home, Arc::clone(&host) as _, &hands);
    block_on(async {
        let mut news = manager.subscribe();
        let waiting = tokio::spawn({
            let manager = manager.clone();
            async move { text(&manager).await }
        });
        while host.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        host.gate.as_ref().unwrap().notify_one();
        news.changed().await.unwrap();
        assert_eq!(text(&manager).await, "one");
    });
    assert_eq!(host.asked().len(), 1);
}

#[test]
fn a_token_that_has_ended_when_it_is_given_is_none() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let manager = manager(&home, Arc::new(Host::answering([Ok(good_for("old", -1))])), &hands);
    let error = block_on(manager.token()).unwrap_err();
    assert_eq!(error.to_string(), "the editor issued no token: its token has already expired");
}

/// A command that prints another token each time.
fn counting(home: &TestHome, more: &str) -> Arc<BearerCommand> {
    let runs = home.file("runs");
    let script = format!("echo x >> {0}; echo token-$(wc -l < {0})", runs.display());
    Arc::new(BearerCommand::new("corp", command("sh", &["-c", &script], more)))
}

/// Upstream: `external_bearer_only_auth_manager_uses_cached_provider_token`.
#[test]
fn a_commands_token_is_used_for_the_interval_and_no_longer() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let manager = manager(&home, counting(&home, ""), &hands);
    block_on(async {
        assert_eq!(text(&manager).await, "token-1");
        hands.forward(299);
        assert_eq!(text(&manager).await, "token-1");
        hands.forward(1);
        assert_eq!(text(&manager).await, "token-2");
    });
}

/// Upstream: `external_bearer_only_auth_manager_disables_auto_refresh_when_interval_is_zero`.
#[test]
fn without_an_interval_a_command_runs_again_only_after_a_401() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let manager = manager(&home, counting(&home, "refresh_interval_ms = 0"), &hands);
    block_on(async {
        assert_eq!(text(&manager).await, "token-1");
        hands.forward(1_000_000);
        let refused = manager.token().await.unwrap();
        assert_eq!(refused.secret().unwrap().expose(), "token-1");
        let mut recovery = manager.recover(refused.snapshot());
        let RecoveryStep::Refreshed(token) = recovery.next().await.unwrap() else { panic!("it runs again") };
        assert_eq!(token.secret().unwrap().expose(), "token-2");
    });
}

/// Upstream: `external_bearer_only_auth_manager_returns_none_when_command_fails`.
#[test]
fn a_command_that_fails_gives_no_token_and_says_why() {
    let (home, hands) = (TestHome::new(), Hands::new());
    let failing = BearerCommand::new("corp", command("sh", &["-c", "echo no vault >&2; exit 3"], ""));
    let manager = manager(&home, Arc::new(failing), &hands);
    let error = block_on(manager.token()).unwrap_err();
    assert_eq!(error.to_string(), "sh failed with exit status: 3; stderr: no vault");
    assert!(manager.current().document().is_none());
}
