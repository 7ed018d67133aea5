//! Records that a host must not act on: of another key, damaged, replayed.

use codex_auth::fleet::{Change, FleetKey, FleetKeys, Member, MemberError, MemberParts};
use codex_auth::{Clock, ErrorKind};
use scripted_authority::Endpoint;

use super::etcd::store;
use super::hosts::{Fleet, LIMIT, TIMINGS, generation};
use super::with_network;
use crate::support::here;

const RECORD: &str = "codex-auth/team/record";

async fn put(bytes: Vec<u8>) {
    store().commit(&[], &[Change::Put { key: RECORD.to_owned(), bytes, lease: None }]).await.unwrap();
}

#[test]
fn a_record_that_cannot_be_opened_is_left_and_nothing_is_spent() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let a = fleet.open("a").await;
        fleet.log_in(&a).await;
        let sealed = store().read(RECORD).await.unwrap().value.unwrap().bytes;
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        for (bytes, message) in [
            (b"marked".to_vec(), "it was not written by codex-auth"),
            (Vec::new(), "it was not written by codex-auth"),
            (sealed[..40].to_vec(), "it was not written by codex-auth"),
            (changed, "the key of this host does not open it: it was changed, or belongs to another fleet"),
        ] {
            put(bytes.clone()).await;
            let error = a.refresh(1, LIMIT).await.unwrap_err();
            let expected = format!("the record of the fleet 'team' in etcd cannot be used: {message}");
            assert_eq!((error.to_string(), error.kind()), (expected, ErrorKind::Failed));
            assert_eq!(store().read(RECORD).await.unwrap().value.unwrap().bytes, bytes);
            assert_eq!(generation(&a.state()), 1);
        }
        let keys = FleetKeys::new("team", FleetKey::random(1).unwrap());
        put(sealed).await;
        let stranger = Member::open(MemberParts { keys, ..fleet.parts("b") }, LIMIT).await.unwrap();
        let error = stranger.refresh(0, LIMIT).await.unwrap_err();
        assert!(matches!(error, MemberError::Record { .. }), "{error}");
        assert_eq!(fleet.authority.counters().of(Endpoint::Refresh), 0);
        a.refresh(1, LIMIT).await.unwrap();
    });
}

#[test]
fn a_record_that_is_replayed_is_replaced_and_its_token_is_not_sent() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        let (a, b) = (fleet.open("a").await, fleet.open("b").await);
        let grant = fleet.log_in(&a).await;
        let old = store().read(RECORD).await.unwrap().value.unwrap().bytes;
        a.refresh(1, LIMIT).await.unwrap();
        b.recover().await.unwrap();
        put(old).await;
        let error = b.recover().await.unwrap_err();
        assert!(matches!(error, MemberError::Restored), "{error}");
        let state = b.refresh(2, LIMIT).await.unwrap();
        fleet.assert_live(&grant, &state);
        assert_eq!((generation(&state), fleet.reuses()), (3, 0));
    });
}

#[test]
fn a_clock_that_is_an_hour_ahead_does_not_make_a_host_refresh_again_and_again() {
    with_network(here!(), async || {
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = 8);
        let hour = std::time::Duration::from_secs(60 * 60);
        let clock = Clock::from_fn(move || Clock::system().now() + hour);
        let a = Member::open(MemberParts { clock, ..fleet.parts("a") }, LIMIT).await.unwrap();
        let a = super::hosts::Running::start(a);
        let grant = fleet.log_in(&a.member).await;
        // By this clock the first token has ended; the later ones live as long as they say.
        a.until_generation(2).await;
        let began = std::time::Instant::now();
        let state = a.until_generation(4).await;
        assert!(began.elapsed() >= TIMINGS.request, "{:?}", began.elapsed());
        fleet.assert_live(&grant, &state);
        assert_eq!(fleet.reuses(), 0);
    });
}
