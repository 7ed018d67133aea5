//! Background work never starts a keychain service that its user has closed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::session::PrivateSession;
use crate::support::{Lines, TestHome};

#[test]
fn a_watcher_does_not_start_the_service_that_was_closed_and_a_command_does() {
    let mut session = PrivateSession::unlocked();
    let home = TestHome::within(&session);
    home.codex(["login", "--store", "keychain", "--with-api-key"]).input("sk-of-the-test").run().expect(0);
    let variables = session.environment();
    let bus = variables.iter().find(|(name, _)| name == "DBUS_SESSION_BUS_ADDRESS").unwrap();
    let services =
        Path::new(bus.1.to_str().unwrap().strip_prefix("unix:path=").unwrap()).with_file_name("services");
    let folder = home.beside("started");
    let (mark, script) = (folder.join("mark"), folder.join("start"));
    fs::write(&script, format!("#!/bin/sh\necho started >>{}\nexit 1\n", mark.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&services).unwrap();
    let service = format!("[D-BUS Service]\nName=org.freedesktop.secrets\nExec={}\n", script.display());
    fs::write(services.join("org.freedesktop.secrets.service"), service).unwrap();
    let mut watch = home.codex(["watch", "--json"]).start();
    let lines = Lines::of(watch.stdout.take().unwrap());
    lines.next();
    session.stop_service();
    // It has asked the keychain, which is gone.
    assert!(lines.next().unwrap().contains("unreadable"));
    assert!(!mark.exists());
    home.codex(["token"]).run().expect(5);
    assert!(mark.exists(), "this test can see a start");
    watch.kill().unwrap();
    watch.wait().unwrap();
}
