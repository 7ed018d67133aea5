//! Reads, transactions and leases, also beside endpoints that fail.

use std::net::TcpListener;
use std::time::Duration;

use codex_auth::fleet::{
    Change, Comparison, Error, EtcdFailure, EtcdLimits, KeyWatch, SharedStore, TransactionOutcome,
};

use super::etcd::{Etcd, PATIENT, URL, open, settings, store};
use super::{put, put_until, with_network};
use crate::support::here;

/// Limits for an endpoint that does not respond.
const IMPATIENT: EtcdLimits =
    EtcdLimits { attempt: Duration::from_millis(500), call: Duration::from_secs(2) };

fn is(key: &str, text: &str) -> Comparison {
    Comparison::Is { key: key.to_owned(), bytes: text.as_bytes().to_vec() }
}

fn absent(key: &str) -> Comparison {
    Comparison::Absent { key: key.to_owned() }
}

async fn text(store: &SharedStore, key: &str) -> Option<String> {
    store.read(key).await.unwrap().value.map(|value| String::from_utf8(value.bytes).unwrap())
}

fn is_committed(outcome: TransactionOutcome) -> bool {
    matches!(outcome, TransactionOutcome::Committed(_))
}

#[test]
fn a_transaction_is_committed_if_every_value_is_the_expected_one() {
    with_network(here!(), async || {
        let _etcd = Etcd::start();
        let store = store();
        assert_eq!(text(&store, "a").await, None);
        assert!(is_committed(store.commit(&[absent("a")], &[put("a", "1")]).await.unwrap()));
        assert!(!is_committed(store.commit(&[absent("a")], &[put("a", "2")]).await.unwrap()));
        assert!(!is_committed(store.commit(&[is("a", "1"), is("b", "1")], &[put("a", "2")]).await.unwrap()));
        assert_eq!(text(&store, "a").await.as_deref(), Some("1"));
        let both = [put("a", "2"), put("b", "1")];
        let TransactionOutcome::Committed(state) = store.commit(&[is("a", "1")], &both).await.unwrap() else {
            panic!("not committed");
        };
        let read = store.read("b").await.unwrap();
        assert_eq!(read.value.unwrap().mod_revision, state.revision);
        let remove = Change::Remove { key: "a".to_owned() };
        assert!(is_committed(store.commit(&[is("a", "2")], &[remove]).await.unwrap()));
        assert_eq!(text(&store, "a").await, None);
    });
}

#[test]
fn a_key_ends_with_its_lease() {
    with_network(here!(), async || {
        let _etcd = Etcd::start();
        let store = store();
        let lease = store.grant(Duration::from_secs(30)).await.unwrap();
        store.commit(&[absent("leader")], &[put_until("leader", "me", Some(lease))]).await.unwrap();
        assert_eq!(store.read("leader").await.unwrap().value.unwrap().lease, Some(lease));
        assert_eq!(store.renew(lease).await.unwrap(), Duration::from_secs(30));
        store.end(lease).await.unwrap();
        assert_eq!(text(&store, "leader").await, None);
        assert!(matches!(store.renew(lease).await, Err(Error::LeaseEnded)));
        store.end(lease).await.unwrap();
        let late = store.commit(&[], &[put_until("leader", "me", Some(lease))]).await;
        assert!(matches!(late, Err(Error::LeaseEnded)), "{late:?}");
    });
}

#[test]
fn a_lease_that_is_not_renewed_ends() {
    with_network(here!(), async || {
        let _etcd = Etcd::start();
        let store = store();
        let lease = store.grant(Duration::from_secs(1)).await.unwrap();
        store.commit(&[], &[put_until("leader", "me", Some(lease))]).await.unwrap();
        let mut watch = KeyWatch::of(&store, "leader");
        while watch.next().await.unwrap().read.value.is_some() {}
        assert!(matches!(store.renew(lease).await, Err(Error::LeaseEnded)));
    });
}

#[test]
fn a_call_goes_past_endpoints_that_are_down_or_silent() {
    with_network(here!(), async || {
        let _etcd = Etcd::start();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", silent.local_addr().unwrap());
        let limits = EtcdLimits { attempt: Duration::from_secs(1), ..PATIENT };
        let mut settings = settings(&["http://127.0.0.1:1", &silent, URL]);
        settings.limits = limits;
        let store = open(settings);
        assert_eq!(text(&store, "a").await, None);
        // The endpoint that responded is used from now on, so that the outcome is known.
        for _ in 0..3 {
            assert!(is_committed(store.commit(&[], &[put("a", "1")]).await.unwrap()));
        }
    });
}

#[test]
fn a_transaction_without_a_reply_is_not_sent_again() {
    with_network(here!(), async || {
        let etcd = Etcd::start();
        let mut settings = settings(&[URL, URL]);
        settings.limits = IMPATIENT;
        let impatient = open(settings);
        let before = store().read("a").await.unwrap().state.revision;
        etcd.suspend();
        let error = impatient.commit(&[], &[put("a", "1")]).await.unwrap_err();
        assert!(matches!(&error, Error::Unknown { cause: EtcdFailure::TimedOut(_), .. }), "{error:?}");
        assert!(error.is_unknown());
        assert_eq!(
            error.to_string(),
            "http://127.0.0.1:2379 did not respond within 500ms; the change may have been made"
        );
        etcd.resume();
        // It was carried out, or its connection was closed before it was read; but not twice.
        let read = store().read("a").await.unwrap();
        assert!(read.state.revision <= before + 1, "{read:?}");
    });
}

#[test]
fn a_read_without_a_reply_is_tried_for_the_time_of_a_call() {
    with_network(here!(), async || {
        let mut etcd = Etcd::start();
        let mut settings = settings(&[URL]);
        settings.limits = IMPATIENT;
        let impatient = open(settings);
        etcd.suspend();
        let error = impatient.read("a").await.unwrap_err();
        assert!(matches!(&error, Error::Unreachable { cause: EtcdFailure::TimedOut(_), .. }), "{error:?}");
        etcd.resume();
        etcd.kill();
        let error = impatient.commit(&[], &[put("a", "1")]).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable { cause: EtcdFailure::NotConnected(_), .. }),
            "{error:?}"
        );
        assert!(!error.is_unknown());
        etcd.start_again();
        assert_eq!(text(&store(), "a").await, None);
    });
}

#[test]
fn a_restart_keeps_the_keys_and_gives_a_lease_its_whole_time_again() {
    with_network(here!(), async || {
        let mut etcd = Etcd::start();
        let store = store();
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        store.commit(&[], &[put("record", "1"), put_until("leader", "me", Some(lease))]).await.unwrap();
        let before = store.read("record").await.unwrap();
        etcd.restart();
        let after = store.read("record").await.unwrap();
        assert_eq!((before.value, before.state.revision), (after.value, after.state.revision));
        assert!(after.state.raft_term > before.state.raft_term);
        assert_eq!(text(&store, "leader").await.as_deref(), Some("me"));
        let left = etcd.ctl(&["lease", "list"]);
        assert!(left.contains("found 1 leases"), "{left}");
        assert_eq!(store.renew(lease).await.unwrap(), Duration::from_secs(60));
    });
}
