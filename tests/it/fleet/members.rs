//! Members of a fleet in one process: logins, refreshes, logouts, and what a member refuses.

use codex_auth::ErrorKind;
use codex_auth::fleet::{
    FleetKey, FleetLogout, FleetPoison, Member, MemberActivity, MemberError, MemberParts,
};
use scripted_authority::{Endpoint, Step, TokenState};

use super::hosts::{Fleet, LIMIT, document, generation};
use super::with_network;
use crate::support::here;

#[test]
fn a_login_is_shared_and_one_request_refreshes_it_for_every_host() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let error = b.refresh(0, LIMIT).await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.kind()),
            ("the fleet has no login yet", ErrorKind::NotLoggedIn)
        );

        let grant = fleet.log_in(&a).await;
        let first = b.recover().await.unwrap();
        assert_eq!(generation(&first), 1);
        fleet.assert_live(&grant, &first);
        // A member that has seen the first token gets another one; a member that has not seen it gets it.
        assert_eq!(generation(&b.refresh(0, LIMIT).await.unwrap()), 1);
        let second = b.refresh(1, LIMIT).await.unwrap();
        assert_eq!(generation(&a.refresh(1, LIMIT).await.unwrap()), 2);
        fleet.assert_live(&grant, &second);
        assert_eq!((fleet.refreshes(), fleet.reuses()), (1, 0));
        assert_eq!(a.state().activity, MemberActivity::Following);

        let seen = Member::read(&fleet.parts("c")).await.unwrap();
        assert_eq!((generation(&seen), seen.leader), (2, None));
        fleet.assert_sealed();
        let shown = format!("{a:?} {:?} {:?}", a.state(), fleet.parts("c"));
        assert!(fleet.authority.issued_secrets().iter().all(|secret| !shown.contains(secret)), "{shown}");
    });
}

#[test]
fn one_process_of_a_host_takes_part() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let _first = fleet.open("a").await;
        let error = Member::open(fleet.parts("a"), std::time::Duration::ZERO).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTimeout, "{error}");
    });
}

#[test]
fn a_login_replaces_the_one_of_the_fleet_and_revokes_it() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let old = fleet.log_in(&a).await;
        b.refresh(1, LIMIT).await.unwrap();
        let rotated = fleet.authority.live_refresh_token(old.id).unwrap();
        // The record has a newer token than this member has seen.
        let new = fleet.log_in(&a).await;
        assert_eq!(fleet.authority.state_of(&rotated), TokenState::Revoked);
        fleet.assert_live(&new, &b.recover().await.unwrap());
        let again = a.save_login(document(&new)).await.unwrap_err();
        assert!(matches!(again, MemberError::Refused(_)), "{again}");
    });
}

#[test]
fn a_logout_ends_the_login_for_every_host() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let grant = fleet.log_in(&a).await;
        assert!(matches!(b.log_out().await.unwrap(), FleetLogout::Revoked));
        assert_eq!(fleet.authority.state_of(&grant.tokens.refresh_token), TokenState::Revoked);
        let error = a.refresh(9, LIMIT).await.unwrap_err();
        assert!(matches!(error, MemberError::LoggedOut), "{error}");
        assert!(matches!(a.log_out().await.unwrap(), FleetLogout::Revoked));
        fleet.log_in(&a).await;
        b.refresh(3, LIMIT).await.unwrap();
        assert_eq!(fleet.refreshes(), 1);
    });
}

#[test]
fn a_new_key_shuts_out_a_host_that_has_not_joined_again() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let grant = fleet.log_in(&a).await;
        b.recover().await.unwrap();
        let key = FleetKey::random(2).unwrap().to_secret();
        let state = a.rekey(FleetKey::from_secret(&key).unwrap()).await.unwrap();
        assert_eq!(state.order().unwrap().epoch, 2);
        fleet.assert_live(&grant, &state);
        let error = b.refresh(2, LIMIT).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the record of the fleet 'team' in etcd cannot be used: \
             it is sealed with key number 2, and this host has number 1"
        );
        drop(b);
        let keys = fleet.keys().with(FleetKey::from_secret(&key).unwrap());
        let b = Member::open(MemberParts { keys, ..fleet.parts("b") }, LIMIT).await.unwrap();
        assert_eq!(generation(&b.refresh(2, LIMIT).await.unwrap()), 3);
        assert_eq!(fleet.reuses(), 0);
    });
}

#[test]
fn a_refusal_is_confirmed_by_another_host_before_it_poisons() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let grant = fleet.log_in(&a).await;
        // The authority calls a live token invalid, once.
        fleet.authority.script(Endpoint::Refresh, Step::status(400, "refresh_token_invalidated"));
        let error = a.refresh(1, LIMIT).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TryAgain, "{error}");
        let healed = b.refresh(1, LIMIT).await.unwrap();
        fleet.assert_live(&grant, &healed);

        for _ in 0..2 {
            fleet.authority.script(Endpoint::Refresh, Step::status(400, "refresh_token_invalidated"));
        }
        a.refresh(2, LIMIT).await.unwrap_err();
        let error = b.refresh(2, LIMIT).await.unwrap_err();
        assert!(matches!(error, MemberError::Poisoned(FleetPoison::Refused)), "{error:?}");
        let error = a.refresh(2, LIMIT).await.unwrap_err();
        assert!(matches!(error, MemberError::Poisoned(FleetPoison::Refused)), "{error:?}");
        assert_eq!(
            (error.kind(), fleet.authority.counters().of(Endpoint::Refresh)),
            (ErrorKind::LogInAgain, 4)
        );
        // A login heals it.
        fleet.log_in(&b).await;
        a.refresh(3, LIMIT).await.unwrap();
    });
}

#[test]
fn an_error_that_says_nothing_about_the_token_is_not_recorded() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let grant = fleet.log_in(&a).await;
        let portal = Step::body(401, "text/html", "<html>welcome to the hotel</html>");
        for step in [portal, Step::status(503, "busy"), Step::status(429, "slow_down")] {
            fleet.authority.script(Endpoint::Refresh, step);
            let error = a.refresh(1, LIMIT).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TryAgain, "{error}");
            assert!(a.state().record.unwrap().intent().is_none());
        }
        fleet.assert_live(&grant, &b.refresh(1, LIMIT).await.unwrap());
        assert_eq!(fleet.reuses(), 0);
    });
}
