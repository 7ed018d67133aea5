//! Tests the change notices of a real gnome-keyring, which signals new and deleted items but no updates in place.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use codex_auth_platform::keychain::{ChangeListener, Client, ItemName, ItemSelection, WriteTarget};
use support::{PrivateSession, inside};

/// Only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a listener and waits for its first notice, which means that it receives signals from then on.
fn listen() -> (ChangeListener, Receiver<()>) {
    let (sender, receiver) = channel();
    let changes = ChangeListener::listen(move || {
        let _ = sender.send(());
    });
    receiver.recv_timeout(TIMEOUT).unwrap();
    (changes, receiver)
}

/// Fails the first time, when the service crashes, and passes the second time.
#[test]
fn a_test_runs_again_after_the_service_of_its_keychain_crashed() {
    // One name for the copies that this process starts.
    let crashed = |process| std::env::temp_dir().join(format!("crashed.{process}"));
    inside("a_test_runs_again_after_the_service_of_its_keychain_crashed", || {
        let mut session = PrivateSession::unlocked();
        let crashed = crashed(std::os::unix::process::parent_id());
        if !crashed.exists() {
            std::fs::write(crashed, "").unwrap();
            session.crash();
            panic!("the service crashed");
        }
    });
    // The copies have no such file of their own.
    let _ = std::fs::remove_file(crashed(std::process::id()));
}

#[test]
fn creating_and_deleting_an_item_is_notified_and_updating_it_is_not() {
    inside("creating_and_deleting_an_item_is_notified_and_updating_it_is_not", || {
        let _session = PrivateSession::unlocked();
        let mut signals = Signals::listen();
        let (_changes, receiver) = listen();
        let client = Client::system();
        let [name, other] = ["an account", "another"].map(|account| ItemName::new("a service", account));
        let write =
            |name, secret: &[u8]| client.write(name, &WriteTarget::OnlyItem, secret, TIMEOUT).unwrap();
        let delete = |name| client.delete(name, &ItemSelection::All, TIMEOUT).unwrap();
        for name in [&name, &other] {
            write(name, b"first");
        }
        delete(&other);
        let first = signals.until("ItemDeleted");
        assert_eq!(first.iter().filter(|member| *member == "ItemCreated").count(), 2);
        write(&name, b"second");
        write(&name, b"third");
        delete(&name);
        let last = signals.until("ItemDeleted");
        assert_eq!(last, ["ItemDeleted"], "nothing of the two in between");
        for signal in first.iter().chain(&last) {
            assert_eq!(receiver.recv_timeout(TIMEOUT), Ok(()), "{signal}");
        }
    });
}

/// The signals of the service's collections, as dbus-monitor prints them.
struct Signals {
    monitor: Child,
    members: Lines<BufReader<ChildStdout>>,
}

impl Signals {
    /// Starts the monitor and waits until it receives signals.
    fn listen() -> Self {
        let mut monitor = Command::new("dbus-monitor");
        monitor.args(["--session", "type='signal',interface='org.freedesktop.Secret.Collection'"]);
        let mut monitor = monitor.stdout(Stdio::piped()).spawn().unwrap();
        let members = BufReader::new(monitor.stdout.take().unwrap()).lines();
        let mut signals = Self { monitor, members };
        // The monitor loses its name when it begins to listen.
        signals.until("NameLost");
        signals
    }

    /// Returns the members of all signals up to this one.
    fn until(&mut self, last: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        while seen.last().is_none_or(|member| member != last) {
            let line = self.members.next().unwrap().unwrap();
            seen.extend(line.split_once("member=").map(|(_, member)| member.to_owned()));
        }
        seen
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

#[test]
fn a_dropped_listener_gets_no_notice_and_disconnects() {
    inside("a_dropped_listener_gets_no_notice_and_disconnects", || {
        let _session = PrivateSession::unlocked();
        let (changes, receiver) = listen();
        drop(changes);
        let client = Client::system();
        client
            .write(&ItemName::new("a service", "an account"), &WriteTarget::OnlyItem, b"first", TIMEOUT)
            .unwrap();
        // The listener's thread owned the sender and has ended.
        assert_eq!(receiver.recv_timeout(TIMEOUT), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn without_a_bus_there_are_no_notices_and_no_failure() {
    inside("without_a_bus_there_are_no_notices_and_no_failure", || {
        let _session = PrivateSession::no_bus();
        let (sender, receiver) = channel::<()>();
        let changes = ChangeListener::listen(move || {
            let _ = sender.send(());
        });
        assert_eq!(receiver.recv_timeout(TIMEOUT), Err(RecvTimeoutError::Disconnected));
        drop(changes);
    });
}
