//! A Secret Service whose bus delays every message.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::programs::Login;
use crate::support::TestHome;
use crate::support::session::PrivateSession;

/// Passes everything on to the bus at `bus`, each message of a client after `delay`.
fn delayed(bus: PathBuf, socket: &Path, delay: Duration) {
    let listener = UnixListener::bind(socket).unwrap();
    let pass = |mut from: UnixStream, mut to: UnixStream, delay: Duration| {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            // The subject of these tests; a message waits here as it would in a slow service.
            thread::sleep(delay);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    };
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(bus) = UnixStream::connect(&bus) else { return };
            let back = (bus.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pass(client, bus, delay));
            thread::spawn(move || pass(back.0, back.1, Duration::ZERO));
        }
    });
}

#[test]
fn at_300_ms_a_message_a_login_is_stored_refreshed_and_removed() {
    let session = PrivateSession::unlocked();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("slow");
    let mut variables = session.environment();
    let address = variables.iter_mut().find(|(name, _)| name == "DBUS_SESSION_BUS_ADDRESS").unwrap();
    let bus = address.1.to_str().unwrap().strip_prefix("unix:path=").unwrap().into();
    address.1 = format!("unix:path={}", socket.display()).into();
    delayed(bus, &socket, Duration::from_millis(300));
    let login = Login::expired_in(TestHome::with_variables(variables));
    login.codex(["migrate", "--to", "keychain"]).run().expect(0);
    let first = login.token();
    login.codex(["refresh"]).run().expect(0);
    let second = login.token();
    assert_ne!(first, second);
    login.codex(["logout"]).run().expect(0);
    login.codex(["status"]).run().expect(1);
}
