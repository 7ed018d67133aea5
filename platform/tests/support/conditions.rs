//! Tests a real Secret Service in every state, and beside keyring 3.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use codex_auth_platform::keychain::{
    CallEffect, Client, Error, ItemName, ItemSelection, ItemWrite, LastModified, WriteTarget,
};

use crate::contract::{CALL_TIMEOUT, name};
use crate::items::{self, LOGIN, SESSION, bare, found, plant};
use crate::support::PrivateSession;

/// Long enough for a healthy call, and short enough to wait for in a test of a hung call.
const SHORT_TIMEOUT: Duration = Duration::from_millis(500);

/// Makes all four calls and returns their errors.
fn refusals(client: &Client, within: Duration) -> [Option<Error>; 4] {
    let name = name("account");
    [
        client.read(&name, within).err(),
        client.modified(&name, within).err(),
        client.write(&name, &WriteTarget::OnlyItem, b"new", within).err(),
        client.delete(&name, &ItemSelection::All, within).err(),
    ]
}

fn secrets(client: &Client, name: &ItemName) -> Vec<Vec<u8>> {
    client.read(name, CALL_TIMEOUT).unwrap().iter().map(|item| item.secret.to_vec()).collect()
}

in_a_session! {
    fn without_a_bus_the_keychain_is_unavailable() {
        for condition in [PrivateSession::no_bus, PrivateSession::dead_socket] {
            let _session = condition();
            for refusal in refusals(&Client::system(), CALL_TIMEOUT) {
                assert!(matches!(refusal, Some(Error::Unavailable { .. })), "{refusal:?}");
            }
        }
    }

    fn without_a_service_the_keychain_is_unavailable() {
        let _session = PrivateSession::without_service();
        for refusal in refusals(&Client::system(), CALL_TIMEOUT) {
            assert!(matches!(refusal, Some(Error::Unavailable { .. })), "{refusal:?}");
        }
    }

    fn a_bus_that_never_answers_costs_each_call_its_deadline_only() {
        let _session = PrivateSession::never_answers();
        let client = Client::system();
        for _ in 0..2 {
            let begun = Instant::now();
            for refusal in refusals(&client, Duration::from_millis(50)) {
                assert!(matches!(refusal, Some(Error::TimedOut { .. })), "{refusal:?}");
            }
            assert!(begun.elapsed() < CALL_TIMEOUT, "{:?}", begun.elapsed());
        }
        // This process now ends with eight threads in handshakes; the exit status of the copy shows that it can.
    }

    fn calls_to_a_hung_service_fail_at_once_after_a_limit() {
        let session = PrivateSession::unlocked();
        let client = Client::system();
        session.freeze();
        let (mut hung, begun) = (0, Instant::now());
        let refusal = loop {
            assert!(begun.elapsed() < CALL_TIMEOUT, "{hung} calls hang and the next one is still made");
            match client.contains(&name("account"), Duration::from_millis(1)) {
                Err(Error::TimedOut { .. }) => hung += 1,
                other => break other.unwrap_err(),
            }
        };
        // More than the limit on a busy machine: a call that did not begin in time does not hang.
        assert!(matches!(refusal, Error::Unavailable { .. }) && hung >= 16, "{refusal} after {hung}");
        session.thaw();
        let begun = Instant::now();
        while client.contains(&name("account"), CALL_TIMEOUT).is_err() {
            assert!(begun.elapsed() < CALL_TIMEOUT, "a call that has ended still counts as hanging");
        }
    }

    fn a_locked_default_collection_is_locked_wherever_the_item_is() {
        let mut session = PrivateSession::locked_again();
        let client = Client::system();
        plant(SESSION, &bare(&name("account")), b"one");
        assert!(matches!(client.read(&name("account"), CALL_TIMEOUT), Err(Error::Locked { .. })));
        assert!(session.dialogues().is_empty());
    }

    fn an_item_in_a_locked_collection_is_locked_although_the_default_one_is_not() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let other = items::make_collection("other");
        plant(&other, &bare(&name), b"one");
        assert_eq!(secrets(&client, &name), [b"one"]);
        items::lock(&other);
        for refusal in refusals(&client, CALL_TIMEOUT) {
            assert!(matches!(refusal, Some(Error::Locked { .. })), "{refusal:?}");
        }
        assert!(session.dialogues().is_empty());
        assert!(client.read(&ItemName::new(name.service(), "another"), CALL_TIMEOUT).unwrap().is_empty());
    }

    fn a_collection_that_its_user_locks_is_locked_at_the_next_call() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &WriteTarget::OnlyItem, b"one", CALL_TIMEOUT).unwrap();
        items::lock(LOGIN);
        assert!(matches!(client.read(&name, CALL_TIMEOUT), Err(Error::Locked { .. })));
        assert!(session.dialogues().is_empty());
    }

    fn an_item_of_ours_carries_exactly_the_attributes_of_keyring_3() {
        let _session = PrivateSession::unlocked();
        let name = name("cli|0123456789abcdef");
        Client::system().write(&name, &WriteTarget::OnlyItem, b"one", CALL_TIMEOUT).unwrap();
        let [(path, attributes, label)] = &found(&name)[..] else { panic!("not one item") };
        let mut attributes = attributes.clone();
        // The service adds this one to every item.
        attributes.remove("xdg:schema");
        let expected = [
            ("service", name.service()),
            ("username", name.account()),
            ("target", "default"),
            ("application", "rust-keyring"),
        ];
        assert_eq!(attributes, HashMap::from(expected.map(|(key, value)| (key.into(), value.into()))));
        assert!(path.starts_with(LOGIN), "{path}");
        assert_eq!(*label, format!("{} (cli|0123456789abcdef)", name.service()));
    }

    fn an_item_without_target_is_found_updated_in_place_and_completed() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let mut planted = bare(&name);
        planted.insert("colour", "blue");
        plant(LOGIN, &planted, b"one");
        let before = found(&name).remove(0);
        assert_eq!(secrets(&client, &name), [b"one"]);
        assert_eq!(client.write(&name, &WriteTarget::OnlyItem, b"two", CALL_TIMEOUT).unwrap(), ItemWrite::Updated);
        let [(path, attributes, label)] = &found(&name)[..] else { panic!("not one item") };
        assert_eq!((path, label), (&before.0, &before.2));
        for (key, value) in [("colour", "blue"), ("target", "default"), ("application", "rust-keyring")] {
            assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{attributes:?}");
        }
        assert_eq!(secrets(&client, &name), [b"two"]);
    }

    fn an_item_in_another_collection_is_found_updated_there_and_deleted() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        plant(SESSION, &bare(&name), b"one");
        assert_eq!(secrets(&client, &name), [b"one"]);
        assert!(matches!(client.modified(&name, CALL_TIMEOUT).unwrap(), LastModified::At(_)));
        assert_eq!(client.write(&name, &WriteTarget::OnlyItem, b"two", CALL_TIMEOUT).unwrap(), ItemWrite::Updated);
        assert_eq!(secrets(&client, &name), [b"two"]);
        assert_eq!(client.delete(&name, &ItemSelection::All, CALL_TIMEOUT).unwrap(), 1);
        assert!(items::found(&name).is_empty());
    }

    fn keyring_3_reads_updates_and_deletes_our_item() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let theirs = keyring3::Entry::new(name.service(), name.account()).unwrap();
        client.write(&name, &WriteTarget::OnlyItem, b"one", CALL_TIMEOUT).unwrap();
        assert_eq!(theirs.get_secret().unwrap(), b"one");
        theirs.set_secret(b"two").unwrap();
        assert_eq!(secrets(&client, &name), [b"two"]);
        theirs.delete_credential().unwrap();
        assert!(client.read(&name, CALL_TIMEOUT).unwrap().is_empty());
    }

    fn we_read_update_and_delete_an_item_of_keyring_3() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let theirs = keyring3::Entry::new(name.service(), name.account()).unwrap();
        theirs.set_secret(b"one").unwrap();
        let before = found(&name);
        assert_eq!(secrets(&client, &name), [b"one"]);
        assert_eq!(client.write(&name, &WriteTarget::OnlyItem, b"two", CALL_TIMEOUT).unwrap(), ItemWrite::Updated);
        assert_eq!(theirs.get_secret().unwrap(), b"two");
        assert_eq!(found(&name), before);
        assert_eq!(client.delete(&name, &ItemSelection::All, CALL_TIMEOUT).unwrap(), 1);
        assert!(matches!(theirs.get_secret(), Err(keyring3::Error::NoEntry)));
    }

    /// Keyring 3 looks for items without `target` only in the default collection, and would create a second one.
    fn after_our_update_keyring_3_finds_an_item_in_another_collection_too() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let theirs = keyring3::Entry::new(name.service(), name.account()).unwrap();
        plant(SESSION, &bare(&name), b"one");
        assert!(matches!(theirs.get_secret(), Err(keyring3::Error::NoEntry)));
        client.write(&name, &WriteTarget::OnlyItem, b"two", CALL_TIMEOUT).unwrap();
        theirs.set_secret(b"three").unwrap();
        assert_eq!(secrets(&client, &name), [b"three"]);
    }

    fn a_service_that_was_restarted_is_used_again_without_a_failed_call() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &WriteTarget::OnlyItem, b"one", CALL_TIMEOUT).unwrap();
        session.stop_service();
        assert!(matches!(client.read(&name, CALL_TIMEOUT), Err(Error::Unavailable { .. })));
        session.start_unlocked();
        assert_eq!(secrets(&client, &name), [b"one"]);
        session.stop_service();
        session.start_unlocked();
        assert_eq!(client.write(&name, &WriteTarget::OnlyItem, b"two", CALL_TIMEOUT).unwrap(), ItemWrite::Updated);
    }

    fn a_bus_that_was_restarted_costs_at_most_one_failed_call() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &WriteTarget::OnlyItem, b"one", CALL_TIMEOUT).unwrap();
        session.stop_bus();
        session.start_bus();
        session.start_unlocked();
        let first = client.read(&name, CALL_TIMEOUT);
        assert!(matches!(first, Err(Error::Unavailable { .. })), "{first:?}");
        assert_eq!(secrets(&client, &name), [b"one"]);
    }

    fn a_write_to_a_frozen_service_is_unknown_and_is_not_carried_out_later() {
        let session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &WriteTarget::OnlyItem, b"one", CALL_TIMEOUT).unwrap();
        session.freeze();
        let refusal = client.write(&name, &WriteTarget::OnlyItem, b"two", SHORT_TIMEOUT).unwrap_err();
        assert!(matches!(refusal, Error::TimedOut { .. }), "{refusal}");
        assert_eq!(refusal.effect(), CallEffect::Unknown);
        let refusal = client.read(&name, SHORT_TIMEOUT).unwrap_err();
        assert_eq!(refusal.effect(), CallEffect::Unchanged, "{refusal}");
        session.thaw();
        // Until the abandoned workers have received their answers and ended.
        let begun = Instant::now();
        while client.contains(&name, CALL_TIMEOUT).is_err() || workers() > 1 {
            assert!(begun.elapsed() < CALL_TIMEOUT, "{} workers are left", workers());
        }
        assert_eq!(secrets(&client, &name), [b"one"]);
    }
}

/// Returns the number of threads of this process that call a keychain.
fn workers() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "keychain").count()
}
