//! Members that are killed at every step or stopped for a time, and those that go on.

use std::thread;
use std::time::{Duration, Instant};

use codex_auth::fleet::{FleetPoison, MemberError};
use scripted_authority::{Endpoint, Moment, Reuse, TokenState};

use super::host_process::{HostProcess, Task, performed};
use super::hosts::{Fleet, LIMIT, TIMINGS, document, generation};
use super::with_network;
use crate::support::{Pause, here};

/// What happens after a kill.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next process of the same host, or another host, has a new token at once.
    Soon,
    /// It is unknown whether the token was sent, so the hosts wait until the access token has ended.
    TokenEnd,
    /// The response was lost: the second attempt poisons the token.
    Lost,
}

/// The steps of a refresh.
const STEPS: [(&str, After); 11] = [
    ("fleet-adopted", After::Soon),
    ("fleet-writing", After::Soon),
    ("fleet-announced", After::Soon),
    ("fleet-claimed", After::Soon),
    ("fleet-journaled", After::TokenEnd),
    ("fleet-posting", After::TokenEnd),
    ("fleet-answered", After::Lost),
    ("fleet-kept", After::Soon),
    ("fleet-committing", After::Soon),
    ("fleet-settled", After::Soon),
    ("fleet-cleared", After::Soon),
];

fn killed_at_every_step(test: &str, successor: &str) {
    with_network(test, async || {
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = 4);
        let mut grant = fleet.log_in(&fleet.open("a").await).await;
        let mut seen = 1;
        for (step, after) in STEPS {
            let mut host = HostProcess::of(&fleet, "a", Task::Refresh { seen }).killed_at(test, step);
            assert_eq!(host.next_word_or_end(), None, "it is killed at {step}");
            let member = fleet.open(successor).await;
            let refreshed = member.refresh(seen, LIMIT).await;
            match after {
                After::Lost => {
                    let error = refreshed.unwrap_err();
                    assert!(matches!(error, MemberError::Poisoned(FleetPoison::Refused)), "{step}: {error}");
                    grant = fleet.log_in(&member).await;
                    seen = generation(&member.state());
                }
                After::Soon | After::TokenEnd => {
                    let state = refreshed.unwrap_or_else(|error| panic!("{step}: {error}"));
                    seen = generation(&state);
                    fleet.assert_live(&grant, &state);
                }
            }
            let lost = usize::from(STEPS.iter().position(|(name, _)| *name == step) >= Some(6));
            assert_eq!(fleet.reuses(), lost, "{step}");
            assert!(member.state().record.unwrap().intent().is_none(), "{step}");
        }
        fleet.assert_sealed();
    });
}

#[test]
fn the_next_process_of_a_host_completes_what_a_killed_one_has_begun() {
    if !performed() {
        killed_at_every_step(here!(), "a");
    }
}

#[test]
fn another_host_sends_the_token_when_a_killed_one_had_not_saved_a_response() {
    let test = here!();
    if performed() {
        return;
    }
    with_network(test, async || {
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = 4);
        let grant = fleet.log_in(&fleet.open("a").await).await;
        let b = fleet.open("b").await;
        for seen in 1..4 {
            let step = ["fleet-announced", "fleet-claimed", "fleet-posting"][seen as usize - 1];
            let mut host = HostProcess::of(&fleet, "a", Task::Refresh { seen }).killed_at(test, step);
            assert_eq!(host.next_word_or_end(), None, "it is killed at {step}");
            let began = Instant::now();
            let state = b.refresh(seen, LIMIT).await.unwrap();
            assert_eq!(generation(&state), seen + 1, "{step}");
            assert!(began.elapsed() >= TIMINGS.lease, "it waits: {step}");
            fleet.assert_live(&grant, &state);
            // The former holder finds that its attempt is over.
            let a = fleet.open("a").await;
            assert_eq!(generation(&a.recover().await.unwrap()), seen + 1);
        }
        assert_eq!((fleet.refreshes(), fleet.reuses()), (3, 0));
    });
}

#[test]
fn a_login_that_is_killed_at_any_step_is_completed() {
    let test = here!();
    if performed() {
        return;
    }
    with_network(test, async || {
        let fleet = Fleet::start();
        let mut old = fleet.log_in(&fleet.open("a").await).await;
        for step in ["fleet-login-saved", "fleet-writing", "fleet-settled"] {
            let new = fleet.grant();
            let text = new.auth_json();
            let mut host = HostProcess::of(&fleet, "a", Task::LogIn { document: text }).killed_at(test, step);
            assert_eq!(host.next_word_or_end(), None, "it is killed at {step}");
            let state = fleet.open("a").await.recover().await.unwrap();
            fleet.assert_live(&new, &state);
            assert_eq!(fleet.authority.state_of(&old.tokens.refresh_token), TokenState::Revoked, "{step}");
            old = new;
        }
        // One that is overtaken by a logout is revoked.
        let new = fleet.grant();
        let a = fleet.open("a").await;
        a.save_login(document(&new)).await.unwrap();
        fleet.open("b").await.log_out().await.unwrap();
        let error = a.complete_login().await.unwrap_err();
        assert!(matches!(error, MemberError::Refused(_)), "{error}");
        assert_eq!(fleet.authority.state_of(&new.tokens.refresh_token), TokenState::Revoked);
    });
}

/// Stops a host at `step` for `time`, while `during` runs, and returns what it reports then.
async fn stopped(
    test: &str,
    fleet: &Fleet,
    step: &str,
    time: Duration,
    during: impl AsyncFnOnce(),
) -> String {
    let pause = Pause::at(step);
    let mut host = HostProcess::of(fleet, "a", Task::Refresh { seen: 1 }).started(test, &pause.variable());
    let reached = pause.wait();
    thread::sleep(time);
    during().await;
    drop(reached);
    host.next_word()
}

#[test]
fn a_host_that_was_stopped_until_its_lease_had_ended_sends_nothing() {
    let test = here!();
    if performed() {
        return;
    }
    for step in ["fleet-claimed", "fleet-journaled", "fleet-posting"] {
        with_network(test, async || {
            let fleet = Fleet::start();
            let grant = fleet.log_in(&fleet.open("a").await).await;
            let time = TIMINGS.lease + Duration::from_secs(1);
            let word = stopped(test, &fleet, step, time, async || {
                assert_eq!(fleet.authority.counters().of(Endpoint::Refresh), 0);
            })
            .await;
            println!("{step}: {word}");
            // It withdraws its intent, and the next one is carried out.
            assert_eq!(fleet.authority.counters().of(Endpoint::Refresh), 0, "{step}: {word}");
            let state = fleet.open("b").await.refresh(1, LIMIT).await.unwrap();
            fleet.assert_live(&grant, &state);
            assert_eq!((fleet.refreshes(), fleet.reuses()), (1, 0), "{step}");
        });
    }
}

#[test]
fn a_host_that_was_stopped_with_its_request_in_flight_commits_the_response() {
    let test = here!();
    if performed() {
        return;
    }
    with_network(test, async || {
        let fleet = Fleet::start();
        let grant = fleet.log_in(&fleet.open("a").await).await;
        let hold = fleet.authority.hold(Endpoint::Refresh, Moment::After);
        let mut host = HostProcess::of(&fleet, "a", Task::Refresh { seen: 1 }).started(test, "A=a");
        hold.arrived(LIMIT).unwrap();
        host.signal("-STOP");
        hold.release();
        thread::sleep(TIMINGS.lease + TIMINGS.request + TIMINGS.margin);
        let b = fleet.open("b").await;
        let error = b.refresh(1, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(error, MemberError::Unsettled { .. }), "the access token lives: {error}");
        host.signal("-CONT");
        assert_eq!(host.next_word(), "2");
        let state = b.refresh(1, LIMIT).await.unwrap();
        fleet.assert_live(&grant, &state);
        assert_eq!((fleet.refreshes(), fleet.reuses()), (1, 0));
    });
}

#[test]
fn a_response_that_comes_back_late_heals_the_login() {
    let test = here!();
    if performed() {
        return;
    }
    with_network(test, async || {
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| {
            policy.reuse = Reuse::RefusesToken;
            policy.access_lifetime = 4;
        });
        let grant = fleet.log_in(&fleet.open("a").await).await;
        let mut host = HostProcess::of(&fleet, "a", Task::Refresh { seen: 1 }).killed_at(test, "fleet-kept");
        assert_eq!(host.next_word_or_end(), None);
        // This host stays away until the access token has ended, which the protocol cannot outlast.
        let b = fleet.open("b").await;
        let error = b.refresh(1, LIMIT).await.unwrap_err();
        assert!(matches!(error, MemberError::Poisoned(FleetPoison::Refused)), "{error}");
        let healed = fleet.open("a").await.recover().await.unwrap();
        assert_eq!((generation(&healed), healed.record.as_ref().unwrap().poison()), (2, None));
        fleet.assert_live(&grant, &healed);
        assert_eq!(generation(&b.refresh(1, LIMIT).await.unwrap()), 2);
        assert_eq!(fleet.reuses(), 1);
    });
}

#[test]
fn a_claim_whose_reply_was_lost_is_carried_out_once() {
    let test = here!();
    if performed() {
        return;
    }
    with_network(test, async || {
        let fleet = Fleet::start();
        let grant = fleet.log_in(&fleet.open("a").await).await;
        let pause = Pause::at("fleet-writing");
        let mut host =
            HostProcess::of(&fleet, "a", Task::Refresh { seen: 1 }).started(test, &pause.variable());
        let reached = pause.wait();
        // The transaction waits in the socket of a stopped etcd, which carries it out later.
        fleet.etcd.suspend();
        drop(reached);
        let word = host.next_word();
        assert!(word.contains("did not respond within"), "{word}");
        fleet.etcd.resume();
        let state = fleet.open("a").await.refresh(1, LIMIT).await.unwrap();
        fleet.assert_live(&grant, &state);
        assert_eq!((generation(&state), fleet.refreshes(), fleet.reuses()), (2, 1, 0));
    });
}
