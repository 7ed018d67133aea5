//! What every keychain answers that is locked or was never set up, asked past every other program's dialogues.

use codex_auth_platform::keychain::{Client, Error, ItemSelection, Readiness, Slot};

use crate::contract::{SOON, name};
use crate::support::PrivateSession;

/// What a client says to all four, with nothing but locks in its way.
fn refusals(client: &Client) -> [Error; 4] {
    let name = name("account");
    [
        client.read(&name, SOON).unwrap_err(),
        client.modified(&name, SOON).unwrap_err(),
        client.write(&name, &Slot::Only, b"new", SOON).unwrap_err(),
        client.delete(&name, &ItemSelection::All, SOON).unwrap_err(),
    ]
}

in_a_session! {
    fn a_keychain_that_was_never_set_up_is_never_unlocked_and_nobody_is_asked() {
        let mut session = PrivateSession::never_unlocked();
        let client = Client::system();
        assert_eq!(client.readiness(SOON).unwrap(), Readiness::NeverUnlocked);
        for refusal in refusals(&client) {
            assert!(matches!(refusal, Error::NeverUnlocked { .. }), "{refusal:?}");
        }
        assert_eq!(session.dialogues(), [""; 0]);
    }

    fn a_locked_keychain_is_locked_with_and_without_the_item_and_nobody_is_asked() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        for _ in 0..2 {
            session.lock_again();
            assert_eq!(client.readiness(SOON).unwrap(), Readiness::Locked);
            for refusal in refusals(&client) {
                assert!(matches!(refusal, Error::Locked { .. }), "{refusal:?}");
            }
            assert_eq!(session.dialogues(), [""; 0]);
            session.unlock_again();
            client.write(&name, &Slot::Only, b"one", SOON).unwrap();
        }
        assert_eq!(*client.read(&name, SOON).unwrap()[0].secret, b"one");
    }
}
