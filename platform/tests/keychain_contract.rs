//! Tests every keychain against one contract: the one in memory, gnome-keyring, and the macOS keychain.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows tests by their attribute, not their helpers"
)]

use codex_auth_platform::keychain::{Client, ItemName, Memory};

#[path = "support/contract.rs"]
mod contract;
#[cfg(target_os = "linux")]
#[path = "support/items.rs"]
mod items;
#[path = "support/mod.rs"]
mod support;

use contract::Subject;

/// Makes a test of each scenario; calls `$run` with the test's name and the scenario.
macro_rules! hold_to_contract {
    ($run:expr, $($scenario:ident)*) => {
        $(#[test]
        fn $scenario() {
            let test = concat!(module_path!(), "::", stringify!($scenario));
            let (_, test) = test.split_once("::").unwrap();
            $run(test, crate::contract::$scenario);
        })*
    };
}

/// Makes a test of each body, which runs in the environment of its own session.
macro_rules! in_a_session {
    ($($(#[doc = $doc:literal])* fn $test:ident() $body:block)*) => {
        $($(#[doc = $doc])* #[test]
        fn $test() {
            let test = concat!(module_path!(), "::", stringify!($test));
            let (_, test) = test.split_once("::").unwrap();
            crate::support::inside(test, || $body);
        })*
    };
}

/// The contract of every keychain.
macro_rules! hold_to_the_contract_of_one_item {
    ($run:expr) => {
        hold_to_contract! { $run,
            an_unlocked_keychain_without_the_item_has_no_entry
            any_bytes_come_back_as_they_were_written
            a_second_write_updates_the_one_item_in_place
            a_deleted_item_is_gone_and_can_be_written_again
            names_are_case_sensitive_and_may_be_any_text
            the_time_of_a_write_is_reported_or_unknown
            a_deleted_copy_is_neither_written_nor_deleted
            threads_share_a_client_and_each_gets_its_own_answer
        }
    };
}

/// The contract of keychains that can have several items of one name.
macro_rules! hold_to_the_contract_of_copies {
    ($run:expr) => {
        hold_to_contract! { $run,
            two_copies_are_both_read_and_an_ambiguous_write_fails
            one_of_two_copies_can_be_written_and_deleted
            the_copy_modified_last_is_read_first
        }
    };
}

mod memory {
    use super::*;

    hold_to_the_contract_of_one_item!(run);
    hold_to_the_contract_of_copies!(run);

    fn run(_: &str, scenario: impl Fn(&Subject)) {
        let memory = Memory::new();
        let client = memory.client();
        scenario(&Subject::new(client, move |name: &ItemName, secret: &[u8]| {
            drop(memory.add_foreign(name, secret));
        }));
    }
}

#[cfg(target_os = "linux")]
mod gnome_keyring {
    use super::*;

    hold_to_the_contract_of_one_item!(run);
    hold_to_the_contract_of_copies!(run);

    fn run(test: &str, scenario: impl Fn(&Subject)) {
        support::inside(test, || {
            let mut session = support::PrivateSession::unlocked();
            let plant =
                |name: &ItemName, secret: &[u8]| items::plant(items::LOGIN, &items::bare(name), secret);
            scenario(&Subject::new(Client::system(), plant));
            assert!(session.dialogues().is_empty());
        });
    }
}

#[cfg(target_os = "macos")]
mod login_keychain {
    use super::*;

    hold_to_the_contract_of_one_item!(run);

    fn run(test: &str, scenario: impl Fn(&Subject)) {
        support::inside(test, || {
            let mut session = support::PrivateSession::unlocked();
            scenario(&Subject::new(Client::system(), |_: &ItemName, _: &[u8]| {
                unreachable!("a name has one item at most")
            }));
            assert!(session.dialogues().is_empty());
        });
    }
}

#[path = "support/locks.rs"]
mod locks;

#[cfg(target_os = "linux")]
#[path = "support/conditions.rs"]
mod conditions;
