//! A real Secret Service in every condition that a user's may be in, and next to keyring 3.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use codex_auth_platform::keychain::{
    CallEffect, Client, Error, ItemName, ItemSelection, ItemWrite, LastModified, Readiness, Slot,
};

use crate::contract::{SOON, name};
use crate::items::{self, LOGIN, SESSION, bare, found, plant};
use crate::support::PrivateSession;

/// Long enough for a healthy call by far, short enough to wait for in a test of a call that hangs.
const A_MOMENT: Duration = Duration::from_millis(500);

/// Asks all five and hands out what went wrong, readiness last.
fn refusals(client: &Client, within: Duration) -> [Option<Error>; 5] {
    let name = name("account");
    [
        client.read(&name, within).err(),
        client.modified(&name, within).err(),
        client.write(&name, &Slot::Only, b"new", within).err(),
        client.delete(&name, &ItemSelection::All, within).err(),
        client.readiness(within).err(),
    ]
}

fn secrets(client: &Client, name: &ItemName) -> Vec<Vec<u8>> {
    client.read(name, SOON).unwrap().iter().map(|item| item.secret.to_vec()).collect()
}

in_a_session! {
    fn without_a_bus_address_that_answers_it_is_unavailable() {
        for condition in [PrivateSession::no_bus, PrivateSession::dead_socket] {
            let _session = condition();
            for refusal in refusals(&Client::system(), SOON) {
                assert!(matches!(refusal, Some(Error::Unavailable { .. })), "{refusal:?}");
            }
        }
    }

    fn without_a_service_on_the_bus_it_is_unavailable() {
        let _session = PrivateSession::without_service();
        for refusal in refusals(&Client::system(), SOON) {
            assert!(matches!(refusal, Some(Error::Unavailable { .. })), "{refusal:?}");
        }
    }

    fn a_bus_that_never_says_a_word_costs_each_call_its_deadline_and_the_process_nothing() {
        let _session = PrivateSession::never_answers();
        let client = Client::system();
        for _ in 0..2 {
            let begun = Instant::now();
            for refusal in refusals(&client, Duration::from_millis(50)) {
                assert!(matches!(refusal, Some(Error::TimedOut { .. })), "{refusal:?}");
            }
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        }
        // This process now ends with ten threads in handshakes; that it does is what the copy's exit status says.
    }

    fn a_service_that_hangs_is_asked_at_most_so_often_before_calls_fail_at_once() {
        let session = PrivateSession::unlocked();
        let client = Client::system();
        session.freeze();
        let (mut hung, begun) = (0, Instant::now());
        let refusal = loop {
            assert!(begun.elapsed() < SOON, "{hung} calls hang and the next one is still made");
            match client.readiness(Duration::from_millis(1)) {
                Err(Error::TimedOut { .. }) => hung += 1,
                other => break other.unwrap_err(),
            }
        };
        // More than the limit if the machine is busy: a call that was not begun in time hangs nowhere.
        assert!(matches!(refusal, Error::Unavailable { .. }) && hung >= 16, "{refusal} after {hung}");
        session.thaw();
        let begun = Instant::now();
        while client.readiness(SOON).is_err() {
            assert!(begun.elapsed() < SOON, "a call that has ended still counts as hanging");
        }
    }

    fn a_locked_default_collection_is_locked_wherever_the_item_is() {
        let mut session = PrivateSession::locked_again();
        let client = Client::system();
        plant(SESSION, &bare(&name("account")), b"one");
        assert!(matches!(client.read(&name("account"), SOON), Err(Error::Locked { .. })));
        assert!(session.dialogues().is_empty());
    }

    fn an_item_in_a_locked_collection_is_locked_although_the_default_one_is_not() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let other = items::make_collection("other");
        plant(&other, &bare(&name), b"one");
        assert_eq!(secrets(&client, &name), [b"one"]);
        items::lock(&other);
        assert_eq!(client.readiness(SOON).unwrap(), Readiness::Unlocked);
        for refusal in refusals(&client, SOON).into_iter().take(4) {
            assert!(matches!(refusal, Some(Error::Locked { .. })), "{refusal:?}");
        }
        assert!(session.dialogues().is_empty());
        assert!(client.read(&ItemName::new(name.service(), "another"), SOON).unwrap().is_empty());
    }

    fn a_collection_that_its_user_locks_is_locked_at_the_next_call() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &Slot::Only, b"one", SOON).unwrap();
        items::lock(LOGIN);
        assert_eq!(client.readiness(SOON).unwrap(), Readiness::Locked);
        assert!(matches!(client.read(&name, SOON), Err(Error::Locked { .. })));
        assert!(session.dialogues().is_empty());
    }

    fn an_item_of_ours_carries_exactly_the_attributes_of_keyring_3() {
        let _session = PrivateSession::unlocked();
        let name = name("cli|0123456789abcdef");
        Client::system().write(&name, &Slot::Only, b"one", SOON).unwrap();
        let [(path, attributes, label)] = &found(&name)[..] else { panic!("not one item") };
        let mut attributes = attributes.clone();
        // The service's own, added to every item.
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
        assert_eq!(client.write(&name, &Slot::Only, b"two", SOON).unwrap(), ItemWrite::Updated);
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
        assert!(matches!(client.modified(&name, SOON).unwrap(), LastModified::At(_)));
        assert_eq!(client.write(&name, &Slot::Only, b"two", SOON).unwrap(), ItemWrite::Updated);
        assert_eq!(secrets(&client, &name), [b"two"]);
        assert_eq!(client.delete(&name, &ItemSelection::All, SOON).unwrap(), 1);
        assert!(items::found(&name).is_empty());
    }

    fn keyring_3_reads_updates_and_deletes_our_item() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let theirs = keyring3::Entry::new(name.service(), name.account()).unwrap();
        client.write(&name, &Slot::Only, b"one", SOON).unwrap();
        assert_eq!(theirs.get_secret().unwrap(), b"one");
        theirs.set_secret(b"two").unwrap();
        assert_eq!(secrets(&client, &name), [b"two"]);
        theirs.delete_credential().unwrap();
        assert!(client.read(&name, SOON).unwrap().is_empty());
    }

    fn we_read_update_and_delete_an_item_of_keyring_3() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let theirs = keyring3::Entry::new(name.service(), name.account()).unwrap();
        theirs.set_secret(b"one").unwrap();
        let before = found(&name);
        assert_eq!(secrets(&client, &name), [b"one"]);
        assert_eq!(client.write(&name, &Slot::Only, b"two", SOON).unwrap(), ItemWrite::Updated);
        assert_eq!(theirs.get_secret().unwrap(), b"two");
        assert_eq!(found(&name), before);
        assert_eq!(client.delete(&name, &ItemSelection::All, SOON).unwrap(), 1);
        assert!(matches!(theirs.get_secret(), Err(keyring3::Error::NoEntry)));
    }

    /// Keyring 3 looks for items without `target` in the default collection only, and would make a second one.
    fn after_our_update_keyring_3_finds_an_item_in_another_collection_too() {
        let _session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        let theirs = keyring3::Entry::new(name.service(), name.account()).unwrap();
        plant(SESSION, &bare(&name), b"one");
        assert!(matches!(theirs.get_secret(), Err(keyring3::Error::NoEntry)));
        client.write(&name, &Slot::Only, b"two", SOON).unwrap();
        theirs.set_secret(b"three").unwrap();
        assert_eq!(secrets(&client, &name), [b"three"]);
    }

    fn a_service_that_was_restarted_is_used_again_without_a_failed_call() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &Slot::Only, b"one", SOON).unwrap();
        session.stop_service();
        assert!(matches!(client.read(&name, SOON), Err(Error::Unavailable { .. })));
        session.start_unlocked();
        assert_eq!(secrets(&client, &name), [b"one"]);
        session.stop_service();
        session.start_unlocked();
        assert_eq!(client.write(&name, &Slot::Only, b"two", SOON).unwrap(), ItemWrite::Updated);
    }

    fn a_bus_that_was_restarted_costs_at_most_one_failed_call() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &Slot::Only, b"one", SOON).unwrap();
        session.stop_bus();
        session.start_bus();
        session.start_unlocked();
        let first = client.read(&name, SOON);
        assert!(matches!(first, Err(Error::Unavailable { .. })), "{first:?}");
        assert_eq!(secrets(&client, &name), [b"one"]);
    }

    fn a_write_into_a_frozen_service_is_unknown_and_does_not_come_back_to_life() {
        let session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        client.write(&name, &Slot::Only, b"one", SOON).unwrap();
        session.freeze();
        let refusal = client.write(&name, &Slot::Only, b"two", A_MOMENT).unwrap_err();
        assert!(matches!(refusal, Error::TimedOut { .. }), "{refusal}");
        assert_eq!(refusal.outcome(), CallEffect::Unknown);
        let refusal = client.read(&name, A_MOMENT).unwrap_err();
        assert_eq!(refusal.outcome(), CallEffect::Unchanged, "{refusal}");
        session.thaw();
        // Until the workers that were left behind have had their answers and are gone.
        let begun = Instant::now();
        while client.readiness(SOON).is_err() || workers() > 1 {
            assert!(begun.elapsed() < SOON, "{} workers are left", workers());
        }
        assert_eq!(secrets(&client, &name), [b"one"]);
    }
}

/// The threads of this process that talk to a keychain.
fn workers() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "keychain").count()
}
