//! Watches of a key while etcd restarts, stops, forgets old revisions or is restored.

use codex_auth::fleet::{Continuity, KeyWatch, Observation};

use super::etcd::{Etcd, store};
use super::{put, with_network};
use crate::support::here;

/// Waits for the next observation. Failed reads are repeated, as a member does.
async fn next(watch: &mut KeyWatch) -> (Option<String>, Continuity, Observation) {
    loop {
        if let Ok(observation) = watch.next().await {
            let value = observation.read.value.clone();
            let text = value.map(|value| String::from_utf8(value.bytes).unwrap());
            return (text, observation.continuity, observation);
        }
    }
}

/// Waits until the stream is connected, and returns the value.
async fn begin(watch: &mut KeyWatch) -> Option<String> {
    let (text, continuity, _) = next(watch).await;
    assert_eq!(continuity, Continuity::Gap);
    text
}

#[test]
fn a_watch_reports_the_value_and_then_every_change() {
    with_network(here!(), async || {
        let _etcd = Etcd::start();
        let store = store();
        let mut watch = KeyWatch::of(&store, "record");
        assert_eq!(begin(&mut watch).await, None);
        for value in ["1", "2", "3"] {
            store.commit(&[], &[put("record", value)]).await.unwrap();
            let (text, continuity, _) = next(&mut watch).await;
            assert_eq!((text.as_deref(), continuity), (Some(value), Continuity::Unbroken));
        }
        // Another key makes no report.
        store.commit(&[], &[put("other", "1")]).await.unwrap();
        store.commit(&[], &[put("record", "4")]).await.unwrap();
        assert_eq!(next(&mut watch).await.0.as_deref(), Some("4"));
    });
}

#[test]
fn a_restart_is_a_gap_in_a_watch() {
    with_network(here!(), async || {
        let mut etcd = Etcd::start();
        let store = store();
        store.commit(&[], &[put("record", "1")]).await.unwrap();
        let mut watch = KeyWatch::of(&store, "record");
        assert_eq!(begin(&mut watch).await.as_deref(), Some("1"));
        etcd.restart();
        let (text, continuity, _) = next(&mut watch).await;
        assert_eq!((text.as_deref(), continuity), (Some("1"), Continuity::Gap));
        store.commit(&[], &[put("record", "2")]).await.unwrap();
        let (text, continuity, _) = next(&mut watch).await;
        assert_eq!((text.as_deref(), continuity), (Some("2"), Continuity::Unbroken));
    });
}

#[test]
fn a_watch_shows_that_etcd_was_restored_from_a_backup() {
    with_network(here!(), async || {
        let mut etcd = Etcd::start();
        let store = store();
        store.commit(&[], &[put("record", "1")]).await.unwrap();
        let backup = etcd.back_up();
        store.commit(&[], &[put("record", "2")]).await.unwrap();
        let mut watch = KeyWatch::of(&store, "record");
        let (_, _, before) = next(&mut watch).await;
        etcd.restore(&backup);
        let (text, continuity, after) = next(&mut watch).await;
        assert_eq!((text.as_deref(), continuity), (Some("1"), Continuity::Gap));
        assert!(after.read.state.revision < before.read.state.revision);
        assert_eq!(after.read.state.cluster_id, before.read.state.cluster_id);
        // A change whose revision has been seen before is reported.
        store.commit(&[], &[put("record", "3")]).await.unwrap();
        let (text, _, again) = next(&mut watch).await;
        assert_eq!(text.as_deref(), Some("3"));
        assert_eq!(again.read.state.revision, before.read.state.revision);
    });
}

#[test]
fn a_watch_goes_on_after_a_compaction() {
    with_network(here!(), async || {
        let mut etcd = Etcd::start();
        let store = store();
        let mut watch = KeyWatch::of(&store, "record");
        begin(&mut watch).await;
        etcd.kill();
        etcd.start_again();
        for value in ["1", "2", "3"] {
            store.commit(&[], &[put("record", value)]).await.unwrap();
        }
        let revision = store.read("record").await.unwrap().state.revision;
        etcd.ctl(&["compact", &revision.to_string()]);
        let (text, continuity, _) = next(&mut watch).await;
        assert_eq!((text.as_deref(), continuity), (Some("3"), Continuity::Gap));
    });
}

#[test]
fn a_watch_goes_on_after_etcd_was_stopped() {
    with_network(here!(), async || {
        let etcd = Etcd::start();
        let store = store();
        let mut watch = KeyWatch::of(&store, "record");
        begin(&mut watch).await;
        etcd.suspend();
        etcd.resume();
        store.commit(&[], &[put("record", "1")]).await.unwrap();
        let (text, continuity, _) = next(&mut watch).await;
        assert_eq!((text.as_deref(), continuity), (Some("1"), Continuity::Unbroken));
    });
}
