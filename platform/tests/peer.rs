//! The other ends of real sockets: our own, another user's, another container's.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is set up with the tools of Linux")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod again;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use again::{SOMEBODY, Stage, this_test};
use codex_auth_platform::peer::{Error, of, remove_socket, same_user};
use codex_auth_platform::private_file::Removal;

/// In another process: connects, and waits until that was seen.
fn connect(path: &std::path::Path) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    again::played();
}

#[test]
fn our_own_process_is_at_both_ends_of_its_socket() {
    let (one, other) = UnixStream::pair().unwrap();
    let expected = of(&one).unwrap();
    assert_eq!(expected.uid, rustix::process::geteuid().as_raw());
    assert_eq!(of(other).unwrap(), expected);
    if cfg!(target_os = "linux") {
        assert_eq!(expected.pid, Some(std::process::id()));
    }
    same_user(&one).unwrap();
}

#[test]
fn a_socket_that_is_not_local_has_nobody_at_its_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(matches!(of(&stream), Err(Error::Unknown { .. })), "{:?}", of(&stream));
    assert!(matches!(same_user(&stream), Err(Error::Unknown { .. })));
}

#[cfg(target_os = "linux")]
#[test]
fn another_user_is_known_and_refused() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        return connect(&path);
    }
    let folder = again::open_folder();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let mut child =
        again::command(name, "client", &path, &Stage::Somebody).stdout(Stdio::null()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let found = of(&stream).unwrap();
    assert_eq!((found.uid, found.pid), (SOMEBODY, Some(child.id())));
    assert!(matches!(same_user(&stream), Err(Error::OtherUser { uid: SOMEBODY })));
    stream.write_all(b"!").unwrap();
    assert!(child.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_outside_of_this_container_has_no_number_here() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        let stream = UnixStream::connect(path).unwrap();
        let found = of(&stream).unwrap();
        assert_eq!((found.uid, found.pid), (rustix::process::geteuid().as_raw(), None));
        same_user(&stream).unwrap();
        return again::played();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    again::play(name, "client", &path, &Stage::Container);
}

#[test]
fn only_the_file_of_a_socket_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(UnixListener::bind(&path).is_err(), "its file outlives a listener");
    assert_eq!(remove_socket(&path).unwrap(), Removal::Removed);
    assert_eq!(remove_socket(&path).unwrap(), Removal::Absent);
    assert_eq!(remove_socket(&folder.path().join("missing/socket")).unwrap(), Removal::Absent);
    drop(UnixListener::bind(&path).unwrap());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for other in [file.as_path(), folder.path()] {
        assert!(matches!(remove_socket(other), Err(Error::NotASocket { .. })));
        assert!(other.exists());
    }
}
