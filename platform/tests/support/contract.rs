//! The scenarios of the keychain contract, for any keychain.

use std::time::{Duration, Instant, SystemTime};

use codex_auth_platform::keychain::{
    CallEffect, Client, Error, Item, ItemName, ItemSelection, ItemWrite, LastModified, WriteTarget,
};

/// Longer than any healthy call takes; only a failing test waits for it.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A keychain under test, and another program that uses it.
pub(crate) struct Subject {
    pub(crate) client: Client,
    other: Box<dyn OtherProgram>,
}

/// Another program, which adds an item without checking for an existing one.
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
        self.client.read(name, CALL_TIMEOUT).unwrap()
    }

    fn secrets(&self, name: &ItemName) -> Vec<Vec<u8>> {
        let mut secrets: Vec<_> = self.read(name).iter().map(|item| item.secret.to_vec()).collect();
        secrets.sort();
        secrets
    }

    fn write(&self, name: &ItemName, secret: &[u8]) -> ItemWrite {
        self.client.write(name, &WriteTarget::OnlyItem, secret, CALL_TIMEOUT).unwrap()
    }

    fn delete(&self, name: &ItemName) -> usize {
        self.client.delete(name, &ItemSelection::All, CALL_TIMEOUT).unwrap()
    }
}

/// Returns a name that no other scenario and no program of the user has.
pub(crate) fn name(account: &str) -> ItemName {
    ItemName::new(format!("keychain contract {}", std::process::id()), account)
}

pub(crate) fn an_unlocked_keychain_without_the_item_has_no_entry(subject: &Subject) {
    let name = name("none");
    assert!(subject.read(&name).is_empty());
    assert_eq!(subject.client.modified(&name, CALL_TIMEOUT).unwrap(), LastModified::NoItem);
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

pub(crate) fn a_deleted_item_is_gone_and_can_be_written_again(subject: &Subject) {
    let name = name("again");
    subject.write(&name, b"one");
    assert_eq!((subject.delete(&name), subject.delete(&name)), (1, 0));
    assert!(subject.read(&name).is_empty());
    assert_eq!(subject.write(&name, b"two"), ItemWrite::Created);
    assert_eq!(subject.secrets(&name), [b"two"]);
    assert_eq!(subject.delete(&name), 1);
}

pub(crate) fn names_are_case_sensitive_and_may_be_any_text(subject: &Subject) {
    let names = [name("cli|0a"), name("CLI|0A"), name("cli|0"), name("ünï/cødé 鍵 🔑 \"'")];
    for (secret, name) in names.iter().enumerate() {
        assert_eq!(subject.write(name, &[secret as u8]), ItemWrite::Created, "{name}");
    }
    for (secret, name) in names.iter().enumerate() {
        assert_eq!(subject.secrets(name), [[secret as u8]], "{name}");
        assert_eq!(subject.delete(name), 1, "{name}");
    }
}

pub(crate) fn the_time_of_a_write_is_reported_or_unknown(subject: &Subject) {
    let name = name("time");
    subject.write(&name, b"one");
    let answer = subject.client.modified(&name, CALL_TIMEOUT).unwrap();
    if let LastModified::At(time) = answer {
        let age = SystemTime::now().duration_since(time).unwrap();
        assert!(age < CALL_TIMEOUT, "{age:?}");
    }
    // The time of an only item need not be read with it.
    if let Some(time) = subject.read(&name)[0].modified {
        assert_eq!(answer, LastModified::At(time));
    }
    assert_eq!(subject.delete(&name), 1);
}

pub(crate) fn a_deleted_copy_is_neither_written_nor_deleted(subject: &Subject) {
    let name = name("gone");
    subject.write(&name, b"one");
    let gone = subject.read(&name).remove(0).id;
    assert_eq!(subject.delete(&name), 1);
    let refused =
        subject.client.write(&name, &WriteTarget::Item(gone.clone()), b"two", CALL_TIMEOUT).unwrap_err();
    assert!(matches!(refused, Error::ItemMissing { .. }), "{refused}");
    assert_eq!(subject.client.delete(&name, &ItemSelection::Item(gone), CALL_TIMEOUT).unwrap(), 0);
    assert!(subject.read(&name).is_empty());
}

pub(crate) fn threads_share_a_client_and_each_gets_its_own_answer(subject: &Subject) {
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let client = subject.client.clone();
            scope.spawn(move || {
                let name = name(&format!("thread {number}"));
                for round in 0..5 {
                    client.write(&name, &WriteTarget::OnlyItem, &[number, round], CALL_TIMEOUT).unwrap();
                    assert_eq!(*client.read(&name, CALL_TIMEOUT).unwrap()[0].secret, [number, round]);
                }
                assert_eq!(client.delete(&name, &ItemSelection::All, CALL_TIMEOUT).unwrap(), 1);
            });
        }
    });
}

pub(crate) fn two_copies_are_both_read_and_an_ambiguous_write_fails(subject: &Subject) {
    let name = name("copies");
    subject.plant(&name, b"one");
    subject.plant(&name, b"two");
    assert_eq!(subject.secrets(&name), [b"one", b"two"]);
    let refused = subject.client.write(&name, &WriteTarget::OnlyItem, b"new", CALL_TIMEOUT).unwrap_err();
    assert!(matches!(refused, Error::Ambiguous { copies: 2, .. }), "{refused}");
    assert_eq!(refused.effect(), CallEffect::Unchanged);
    assert_eq!(subject.secrets(&name), [b"one", b"two"]);
    assert_eq!(subject.delete(&name), 2);
}

pub(crate) fn one_of_two_copies_can_be_written_and_deleted(subject: &Subject) {
    let name = name("one of two");
    subject.plant(&name, b"one");
    subject.plant(&name, b"two");
    let one = subject.read(&name).into_iter().find(|item| *item.secret == *b"one").unwrap().id;
    assert_eq!(
        subject.client.write(&name, &WriteTarget::Item(one.clone()), b"new", CALL_TIMEOUT).unwrap(),
        ItemWrite::Updated
    );
    assert_eq!(subject.secrets(&name), [b"new", b"two"]);
    assert_eq!(subject.client.delete(&name, &ItemSelection::Item(one), CALL_TIMEOUT).unwrap(), 1);
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
    // Services count whole seconds, so the order shows once the clock has ticked; and gnome-keyring does not count
    // writing an unchanged value as a modification.
    for round in 0_u64.. {
        subject
            .client
            .write(&name, &WriteTarget::Item(older.clone()), &round.to_be_bytes(), CALL_TIMEOUT)
            .unwrap();
        let items = subject.read(&name);
        if items[0].modified > items[1].modified {
            assert_eq!(items[0].id, older);
            let newest = LastModified::At(items[0].modified.unwrap());
            assert_eq!(subject.client.modified(&name, CALL_TIMEOUT).unwrap(), newest);
            break;
        }
        assert!(begun.elapsed() < CALL_TIMEOUT, "the clock of the keychain stands still");
    }
    assert_eq!(subject.delete(&name), 2);
}
