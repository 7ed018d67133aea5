//! The contract of a keychain, scenario by scenario, over whatever keychain a constructor gives.

use std::time::{Duration, Instant, SystemTime};

use codex_auth_platform::keychain::{
    CallEffect, Client, Error, Item, ItemName, ItemSelection, ItemWrite, LastModified, Readiness, Slot,
};

/// Longer than any healthy call takes; only a failing test waits for it.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A keychain under test, and the hand of another program in it.
pub(crate) struct Subject {
    pub(crate) client: Client,
    other: Box<dyn OtherProgram>,
}

/// Another program, which adds an item without looking whether there is one.
pub(crate) trait OtherProgram {
    fn plant(&self, name: &ItemName, secret: &[u8]);
}

impl<F: Fn(&ItemName, &[u8])> OtherProgram for F {
    fn plant(&self, name: &ItemName, secret: &[u8]) {
        self(name, secret);
    }
}

impl Subject {
    pub(crate) fn new(client: Client, other: impl OtherProgram + 'static) -> Self {
        Self { client, other: Box::new(other) }
    }

    fn plant(&self, name: &ItemName, secret: &[u8]) {
        self.other.plant(name, secret);
    }

    fn read(&self, name: &ItemName) -> Vec<Item> {
        self.client.read(name, SOON).unwrap()
    }

    fn secrets(&self, name: &ItemName) -> Vec<Vec<u8>> {
        let mut secrets: Vec<_> = self.read(name).iter().map(|item| item.secret.to_vec()).collect();
        secrets.sort();
        secrets
    }

    fn write(&self, name: &ItemName, secret: &[u8]) -> ItemWrite {
        self.client.write(name, &Slot::Only, secret, SOON).unwrap()
    }

    fn delete(&self, name: &ItemName) -> usize {
        self.client.delete(name, &ItemSelection::All, SOON).unwrap()
    }
}

/// A name that no other scenario uses and no program of the user's.
pub(crate) fn name(account: &str) -> ItemName {
    ItemName::new(format!("keychain contract {}", std::process::id()), account)
}

pub(crate) fn an_unlocked_keychain_without_the_item_has_no_entry(subject: &Subject) {
    let name = name("none");
    assert_eq!(subject.client.readiness(SOON).unwrap(), Readiness::Unlocked);
    assert!(subject.read(&name).is_empty());
    assert_eq!(subject.client.modified(&name, SOON).unwrap(), LastModified::NoEntry);
    assert_eq!(subject.delete(&name), 0);
}

pub(crate) fn any_bytes_come_back_as_they_were_written(subject: &Subject) {
    let binary: Vec<u8> = (0..=255).collect();
    let long = vec![b'x'; 8 * 1024];
    for (account, secret) in [("text", &b"secret"[..]), ("binary", &binary), ("long", &long), ("empty", b"")]
    {
        let name = name(account);
        assert_eq!(subject.write(&name, secret), ItemWrite::Created, "{account}");
        assert_eq!(subject.secrets(&name), [secret], "{account}");
        assert_eq!(subject.delete(&name), 1, "{account}");
    }
}

pub(crate) fn a_second_write_updates_the_one_item_in_place(subject: &Subject) {
    let name = name("twice");
    assert_eq!(subject.write(&name, b"one"), ItemWrite::Created);
    let before = subject.read(&name);
    assert_eq!(subject.write(&name, b"two"), ItemWrite::Updated);
    let after = subject.read(&name);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_eq!(before[0].id, after[0].id);
    assert_eq!(*after[0].secret, *b"two");
    assert_eq!(subject.delete(&name), 1);
}

pub(crate) fn what_was_deleted_is_gone_and_can_be_written_again(subject: &Subject) {
    let name = name("again");
    subject.write(&name, b"one");
    assert_eq!((subject.delete(&name), subject.delete(&name)), (1, 0));
    assert!(subject.read(&name).is_empty());
    assert_eq!(subject.write(&name, b"two"), ItemWrite::Created);
    assert_eq!(subject.secrets(&name), [b"two"]);
    assert_eq!(subject.delete(&name), 1);
}

pub(crate) fn names_are_told_apart_by_case_and_may_be_any_text(subject: &Subject) {
    let names = [name("cli|0a"), name("CLI|0A"), name("cli|0"), name("ünï/cødé 鍵 🔑 \"'")];
    for (secret, name) in names.iter().enumerate() {
        assert_eq!(subject.write(name, &[secret as u8]), ItemWrite::Created, "{name}");
    }
    for (secret, name) in names.iter().enumerate() {
        assert_eq!(subject.secrets(name), [[secret as u8]], "{name}");
        assert_eq!(subject.delete(name), 1, "{name}");
    }
}

pub(crate) fn the_time_of_a_write_is_told_or_said_not_to_be(subject: &Subject) {
    let name = name("time");
    subject.write(&name, b"one");
    let told = subject.client.modified(&name, SOON).unwrap();
    match subject.read(&name)[0].modified {
        None => assert_eq!(told, LastModified::NotTold),
        Some(time) => {
            assert_eq!(told, LastModified::At(time));
            let age = SystemTime::now().duration_since(time).unwrap();
            assert!(age < SOON, "{age:?}");
        }
    }
    assert_eq!(subject.delete(&name), 1);
}

pub(crate) fn a_copy_that_is_gone_is_neither_written_nor_deleted(subject: &Subject) {
    let name = name("gone");
    subject.write(&name, b"one");
    let gone = subject.read(&name).remove(0).id;
    assert_eq!(subject.delete(&name), 1);
    let refused = subject.client.write(&name, &Slot::This(gone.clone()), b"two", SOON).unwrap_err();
    assert!(matches!(refused, Error::Vanished { .. }), "{refused}");
    assert_eq!(subject.client.delete(&name, &ItemSelection::This(gone), SOON).unwrap(), 0);
    assert!(subject.read(&name).is_empty());
}

pub(crate) fn threads_share_a_client_and_each_gets_its_own_answer(subject: &Subject) {
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let client = subject.client.clone();
            scope.spawn(move || {
                let name = name(&format!("thread {number}"));
                for round in 0..5 {
                    client.write(&name, &Slot::Only, &[number, round], SOON).unwrap();
                    assert_eq!(*client.read(&name, SOON).unwrap()[0].secret, [number, round]);
                }
                assert_eq!(client.delete(&name, &ItemSelection::All, SOON).unwrap(), 1);
            });
        }
    });
}

pub(crate) fn of_two_copies_both_are_read_and_neither_is_guessed_at(subject: &Subject) {
    let name = name("copies");
    subject.plant(&name, b"one");
    subject.plant(&name, b"two");
    assert_eq!(subject.secrets(&name), [b"one", b"two"]);
    let refused = subject.client.write(&name, &Slot::Only, b"new", SOON).unwrap_err();
    assert!(matches!(refused, Error::Ambiguous { copies: 2, .. }), "{refused}");
    assert_eq!(refused.outcome(), CallEffect::Unchanged);
    assert_eq!(subject.secrets(&name), [b"one", b"two"]);
    assert_eq!(subject.delete(&name), 2);
}

pub(crate) fn one_of_two_copies_can_be_written_and_deleted(subject: &Subject) {
    let name = name("one of two");
    subject.plant(&name, b"one");
    subject.plant(&name, b"two");
    let one = subject.read(&name).into_iter().find(|item| *item.secret == *b"one").unwrap().id;
    assert_eq!(
        subject.client.write(&name, &Slot::This(one.clone()), b"new", SOON).unwrap(),
        ItemWrite::Updated
    );
    assert_eq!(subject.secrets(&name), [b"new", b"two"]);
    assert_eq!(subject.client.delete(&name, &ItemSelection::This(one), SOON).unwrap(), 1);
    assert_eq!(subject.secrets(&name), [b"two"]);
    assert_eq!(subject.write(&name, b"only"), ItemWrite::Updated);
    assert_eq!(subject.delete(&name), 1);
}

pub(crate) fn the_copy_modified_last_is_read_first(subject: &Subject) {
    let name = name("newest");
    subject.plant(&name, b"one");
    subject.plant(&name, b"two");
    let older = subject.read(&name).remove(1).id;
    let begun = Instant::now();
    // Services count whole seconds, so the order shows when the clock has ticked; and to gnome-keyring, writing what is
    // there already is no modification.
    for round in 0_u64.. {
        subject.client.write(&name, &Slot::This(older.clone()), &round.to_be_bytes(), SOON).unwrap();
        let items = subject.read(&name);
        if items[0].modified > items[1].modified {
            assert_eq!(items[0].id, older);
            let newest = LastModified::At(items[0].modified.unwrap());
            assert_eq!(subject.client.modified(&name, SOON).unwrap(), newest);
            break;
        }
        assert!(begun.elapsed() < SOON, "the clock of the keychain stands still");
    }
    assert_eq!(subject.delete(&name), 2);
}
