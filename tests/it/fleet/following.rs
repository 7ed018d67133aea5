//! Members that follow the record: they refresh ahead of time, ask each other, and outlast failures of etcd.

use std::time::{Duration, Instant};

use codex_auth::ErrorKind;
use codex_auth::fleet::{MemberActivity, MemberError};
use scripted_authority::{Endpoint, Moment, Step, TokenState};

use super::hosts::{Fleet, LIMIT, TIMINGS, generation};
use super::with_network;
use crate::support::here;

#[test]
fn one_host_refreshes_ahead_of_time_and_all_get_the_token() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = 6);
        let hosts = [fleet.run("a").await, fleet.run("b").await, fleet.run("c").await];
        let grant = fleet.log_in(&hosts[0].member).await;
        for round in 2..6 {
            for host in &hosts {
                host.until_generation(round).await;
            }
        }
        let states = hosts.each_ref().map(|host| host.member.state());
        let leaders = states.iter().filter(|state| state.activity == MemberActivity::Refreshing).count();
        assert_eq!((leaders, fleet.reuses()), (1, 0));
        fleet.assert_live(&grant, &states[0]);
        assert!(fleet.refreshes() <= 6, "{}", fleet.refreshes());
    });
}

#[test]
fn a_host_asks_the_refresher_for_another_token() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let a = fleet.run("a").await;
        let grant = fleet.log_in(&a.member).await;
        a.until("the refresher", |state| state.activity == MemberActivity::Refreshing).await;
        let b = fleet.run("b").await;
        b.until_generation(1).await;
        for seen in 1..4 {
            let state = b.member.refresh(seen, LIMIT).await.unwrap();
            assert_eq!(generation(&state), seen + 1);
            fleet.assert_live(&grant, &state);
        }
        // One that has seen an older token gets the present one.
        assert_eq!(generation(&b.member.refresh(2, LIMIT).await.unwrap()), 4);
        assert_eq!(b.member.state().leader.unwrap().to_string(), "a");
        assert_eq!((fleet.refreshes(), fleet.reuses()), (3, 0));
    });
}

#[test]
fn another_host_becomes_the_refresher_when_the_lease_has_ended() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let a = fleet.run("a").await;
        fleet.log_in(&a.member).await;
        a.until("the refresher", |state| state.activity == MemberActivity::Refreshing).await;
        let b = fleet.run("b").await;
        b.until("the other refresher", |state| state.leader.is_some()).await;
        drop(a);
        let began = Instant::now();
        b.until("the refresher", |state| state.activity == MemberActivity::Refreshing).await;
        let took = began.elapsed();
        println!("failover after {took:?}");
        assert!(took <= TIMINGS.lease + Duration::from_secs(2), "{took:?}");
        // One that gives up the role is succeeded at once.
        b.member.resign().await.unwrap();
        let c = fleet.run("c").await;
        c.until("a refresher", |state| state.leader.is_some()).await;
    });
}

#[test]
fn hosts_serve_and_spend_nothing_while_etcd_is_down() {
    with_network(here!(), async || {
        let mut fleet = Fleet::start();
        let (a, b) = (fleet.run("a").await, fleet.run("b").await);
        let grant = fleet.log_in(&a.member).await;
        b.until_generation(1).await;
        fleet.etcd.kill();
        for host in [&a, &b] {
            let error = host.member.refresh(1, LIMIT).await.unwrap_err();
            assert!(
                matches!(error, MemberError::Etcd(_)) && error.kind() == ErrorKind::TryAgain,
                "{error:?}"
            );
            let state = host.member.state();
            assert_eq!(generation(&state), 1);
            fleet.assert_live(&grant, &state);
        }
        assert_eq!(fleet.authority.counters().of(Endpoint::Refresh), 0);
        fleet.etcd.start_again();
        a.until("no problem", |state| state.problem.is_none()).await;
        assert_eq!(generation(&b.member.refresh(1, LIMIT).await.unwrap()), 2);
        a.until_generation(2).await;
        assert_eq!((fleet.refreshes(), fleet.reuses()), (1, 0));
    });
}

#[test]
fn a_record_from_a_backup_is_replaced_by_the_newest_one_before_anything_is_spent() {
    with_network(here!(), async || {
        let mut fleet = Fleet::start();
        let (a, b) = (fleet.run("a").await, fleet.run("b").await);
        let grant = fleet.log_in(&a.member).await;
        let backup = fleet.etcd.back_up();
        b.until_generation(1).await;
        a.member.refresh(1, LIMIT).await.unwrap();
        b.member.refresh(2, LIMIT).await.unwrap();
        for host in [&a, &b] {
            host.until_generation(3).await;
        }
        fleet.etcd.restore(&backup);
        let state = b.member.refresh(3, LIMIT).await.unwrap();
        assert_eq!(generation(&state), 4);
        fleet.assert_live(&grant, &state);
        a.until_generation(4).await;
        assert_eq!((fleet.refreshes(), fleet.reuses()), (3, 0));
    });
}

#[test]
fn a_process_that_was_away_puts_its_record_back_into_a_restored_etcd() {
    with_network(here!(), async || {
        let mut fleet = Fleet::start();
        let a = fleet.open("a").await;
        let grant = fleet.log_in(&a).await;
        let backup = fleet.etcd.back_up();
        a.refresh(1, LIMIT).await.unwrap();
        drop(a);
        fleet.etcd.restore(&backup);
        let a = fleet.open("a").await;
        let state = a.recover().await;
        assert!(matches!(state, Err(MemberError::Restored)), "{state:?}");
        drop(a);
        // Each process waits until one has waited to the end.
        let a = fleet.open("a").await;
        let state = a.recover().await;
        assert!(matches!(state, Err(MemberError::Restored)), "{state:?}");
        // Nothing but the record is written meanwhile.
        let state = a.refresh(2, LIMIT).await.unwrap();
        fleet.assert_live(&grant, &state);
        assert_eq!((generation(&state), fleet.reuses()), (3, 0));
    });
}

#[test]
fn a_logout_while_the_response_is_on_its_way_revokes_the_response() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let grant = fleet.log_in(&a).await;
        b.recover().await.unwrap();
        let hold = fleet.authority.hold(Endpoint::Refresh, Moment::After);
        let refresh = tokio::spawn(async move { (a.refresh(1, LIMIT).await, a) });
        while fleet.authority.counters().of(Endpoint::Refresh) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        b.log_out().await.unwrap();
        let child = fleet.authority.live_refresh_token(grant.id);
        hold.release();
        let (refreshed, _a) = refresh.await.unwrap();
        assert!(matches!(refreshed, Err(MemberError::LoggedOut)), "{refreshed:?}");
        if let Some(child) = child {
            assert_eq!(fleet.authority.state_of(&child), TokenState::Revoked);
        }
        assert_eq!(fleet.authority.live_refresh_token(grant.id), None);
    });
}

#[test]
fn an_authority_that_is_busy_is_asked_rarely() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = 2);
        let hosts = [fleet.run("a").await, fleet.run("b").await, fleet.run("c").await];
        fleet.authority.script_always(Endpoint::Refresh, Step::status(503, "busy"));
        let grant = fleet.log_in(&hosts[0].member).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let asked = fleet.authority.counters().of(Endpoint::Refresh);
        assert!((3..=12).contains(&asked), "{asked}");
        fleet.authority.clear_script();
        let state = hosts[1].until_generation(2).await;
        assert_eq!(fleet.reuses(), 0);
        assert!(state.record.is_some() && fleet.authority.live_refresh_token(grant.id).is_some());
    });
}
