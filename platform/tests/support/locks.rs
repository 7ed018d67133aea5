//! Tests that a locked keychain and one that was never set up fail without a prompt.

use codex_auth_platform::keychain::{Client, Error, ItemSelection, WriteTarget};

use crate::contract::{CALL_TIMEOUT, name};
use crate::support::PrivateSession;

/// Makes all four calls and returns their errors.
fn refusals(client: &Client) -> [Error; 4] {
    let name = name("account");
    [
        client.read(&name, CALL_TIMEOUT).unwrap_err(),
        client.modified(&name, CALL_TIMEOUT).unwrap_err(),
        client.write(&name, &WriteTarget::OnlyItem, b"new", CALL_TIMEOUT).unwrap_err(),
        client.delete(&name, &ItemSelection::All, CALL_TIMEOUT).unwrap_err(),
    ]
}

in_a_session! {
    fn a_keychain_that_was_never_set_up_fails_without_a_prompt() {
        let mut session = PrivateSession::never_unlocked();
        let client = Client::system();
        for refusal in refusals(&client) {
            assert!(matches!(refusal, Error::NotSetUp { .. }), "{refusal:?}");
        }
        assert_eq!(session.dialogues(), [""; 0]);
    }

    fn a_locked_keychain_fails_without_a_prompt_with_and_without_the_item() {
        let mut session = PrivateSession::unlocked();
        let (client, name) = (Client::system(), name("account"));
        for _ in 0..2 {
            session.lock_again();
            for refusal in refusals(&client) {
                assert!(matches!(refusal, Error::Locked { .. }), "{refusal:?}");
            }
            assert_eq!(session.dialogues(), [""; 0]);
            session.unlock_again();
            client.write(&name, &WriteTarget::OnlyItem, b"one", CALL_TIMEOUT).unwrap();
        }
        assert_eq!(*client.read(&name, CALL_TIMEOUT).unwrap()[0].secret, b"one");
    }
}
