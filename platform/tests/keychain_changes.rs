//! What a real gnome-keyring tells of its changes: that an item came or went, and not that one was updated in place.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use codex_auth_platform::keychain::{ChangeListener, Client, ItemName, ItemSelection, Slot};
use support::{PrivateSession, inside};

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens, and waits until it does: the first word comes when signals are heard from then on.
fn listening() -> (ChangeListener, Receiver<()>) {
    let (tell, told) = channel();
    let changes = ChangeListener::listen(move || {
        let _ = tell.send(());
    });
    told.recv_timeout(PATIENCE).unwrap();
    (changes, told)
}

#[test]
fn an_item_that_comes_or_goes_is_told_of_and_one_that_is_updated_in_place_is_not() {
    inside("an_item_that_comes_or_goes_is_told_of_and_one_that_is_updated_in_place_is_not", || {
        let _session = PrivateSession::unlocked();
        let mut signals = Signals::listen();
        let (_changes, told) = listening();
        let client = Client::system();
        let [name, other] = ["an account", "another"].map(|account| ItemName::new("a service", account));
        let write = |name, secret: &[u8]| client.write(name, &Slot::Only, secret, PATIENCE).unwrap();
        let delete = |name| client.delete(name, &ItemSelection::All, PATIENCE).unwrap();
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
            assert_eq!(told.recv_timeout(PATIENCE), Ok(()), "{signal}");
        }
    });
}

/// The signals of the service's collections, as the bus has them.
struct Signals {
    monitor: Child,
    members: Lines<BufReader<ChildStdout>>,
}

impl Signals {
    /// Returns when it hears them.
    fn listen() -> Self {
        let mut monitor = Command::new("dbus-monitor");
        monitor.args(["--session", "type='signal',interface='org.freedesktop.Secret.Collection'"]);
        let mut monitor = monitor.stdout(Stdio::piped()).spawn().unwrap();
        let members = BufReader::new(monitor.stdout.take().unwrap()).lines();
        let mut signals = Self { monitor, members };
        // It loses its name when it begins to listen.
        signals.until("NameLost");
        signals
    }

    /// The members of all signals up to this one.
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
fn who_listens_no_more_is_told_nothing_and_the_connection_ends() {
    inside("who_listens_no_more_is_told_nothing_and_the_connection_ends", || {
        let _session = PrivateSession::unlocked();
        let (changes, told) = listening();
        drop(changes);
        let client = Client::system();
        client.write(&ItemName::new("a service", "an account"), &Slot::Only, b"first", PATIENCE).unwrap();
        // The channel is closed with the thread that had the other end.
        assert_eq!(told.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn without_a_bus_nothing_is_told_and_nothing_fails() {
    inside("without_a_bus_nothing_is_told_and_nothing_fails", || {
        let _session = PrivateSession::no_bus();
        let (tell, told) = channel::<()>();
        let changes = ChangeListener::listen(move || {
            let _ = tell.send(());
        });
        assert_eq!(told.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        drop(changes);
    });
}
