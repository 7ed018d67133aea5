//! Passwords, certificates, and servers that are no etcd.

use std::path::PathBuf;
use std::time::Instant;

use codex_auth::config::Network;
use codex_auth::fleet::{Error, EtcdFailure, KeyWatch, SharedStore};

use super::etcd::{Etcd, PATIENT, TLS_URL, URL, issuer, open, settings, store, user};
use super::{put, with_network};
use crate::support::here;

#[test]
fn a_restored_etcd_is_asked_for_a_new_token() {
    with_network(here!(), async || {
        let mut etcd = Etcd::start();
        etcd.ask_for_passwords();
        let backup = etcd.back_up();
        let mut with_user = settings(&[URL]);
        with_user.user = user("member", "marked-password");
        let store = open(with_user);
        // The token has the number of the last change, for which the restored etcd would wait.
        for _ in 0..30 {
            store.commit(&[], &[put("fleet/record", "1")]).await.unwrap();
        }
        etcd.restart();
        store.read("fleet/record").await.unwrap();
        etcd.restore(&backup);
        assert!(store.read("fleet/record").await.unwrap().value.is_none());
    });
}

#[test]
fn a_user_reaches_the_keys_of_the_fleet_only() {
    with_network(here!(), async || {
        let mut etcd = Etcd::start();
        etcd.ask_for_passwords();
        let error = store().read("fleet/record").await.unwrap_err();
        assert!(matches!(error, Error::UserRequired { .. }), "{error:?}");

        let mut with_user = settings(&[URL]);
        with_user.user = user("member", "marked-password");
        let store = open(with_user.clone());
        store.commit(&[], &[put("fleet/record", "1")]).await.unwrap();
        assert!(store.read("fleet/record").await.unwrap().value.is_some());
        let error = store.read("other").await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");

        // A restart ends the token; the password is sent again, also before a transaction.
        etcd.restart();
        store.commit(&[], &[put("fleet/record", "2")]).await.unwrap();
        etcd.restart();
        assert!(KeyWatch::of(&store, "fleet/record").next().await.unwrap().read.value.is_some());

        with_user.user = user("member", "marked-wrong");
        let error = open(with_user.clone()).read("fleet/record").await.unwrap_err();
        assert_eq!(error.to_string(), "http://127.0.0.1:2379 refused the password of the etcd user 'member'");
        with_user.user = user("nobody", "marked-password");
        let error = open(with_user).read("fleet/record").await.unwrap_err();
        assert!(matches!(error, Error::WrongPassword { .. }), "{error:?}");
        assert!(!format!("{error:?} {store:?}").contains("marked"));
    });
}

#[test]
fn an_etcd_without_passwords_is_refused_by_a_user() {
    with_network(here!(), async || {
        let _etcd = Etcd::start();
        let mut settings = settings(&[URL]);
        settings.user = user("member", "marked-password");
        let error = open(settings).read("a").await.unwrap_err();
        assert!(matches!(error, Error::AuthenticationDisabled { .. }), "{error:?}");
    });
}

#[test]
fn a_private_ca_is_the_only_one_that_is_trusted() {
    with_network(here!(), async || {
        let etcd = Etcd::start();
        let with_ca = |ca: Option<PathBuf>| {
            let mut settings = settings(&[TLS_URL]);
            settings.ca = ca;
            open(settings)
        };
        assert_eq!(with_ca(Some(etcd.ca())).read("a").await.unwrap().value, None);
        let other = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(other.path(), issuer().pem()).unwrap();
        for ca in [None, Some(other.path().to_owned())] {
            let mut settings = settings(&[TLS_URL]);
            settings.ca = ca;
            let began = Instant::now();
            let error = open(settings).commit(&[], &[put("a", "1")]).await.unwrap_err();
            let Error::Unreachable { cause: EtcdFailure::NotConnected(_), .. } = &error else {
                panic!("{error:?}")
            };
            assert!(began.elapsed() < PATIENT.call / 2, "it was tried again in vain");
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    });
}

#[test]
fn a_ca_file_that_cannot_be_read_is_named() {
    let mut settings = settings(&[TLS_URL]);
    settings.ca = Some("/nowhere/ca.pem".into());
    let error = SharedStore::open(settings, &Network::default()).unwrap_err();
    assert!(error.to_string().starts_with("--ca names /nowhere/ca.pem, which"), "{error}");
    let error = SharedStore::open(super::etcd::settings(&[]), &Network::default()).unwrap_err();
    assert!(matches!(error, Error::NoEndpoint));
}
