//! Tests sockets whose other end belongs to this process, another user, or another container.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is set up with the tools of Linux")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod subprocess;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use codex_auth_platform::peer::{
    Error, MAX_PATH_BYTES, OtherListeners, bind, connect, credentials, remove_socket, require_same_user,
    socket_behind, wait_until_closed,
};
use codex_auth_platform::private_file::Removal;
use subprocess::{OTHER_UID, RunAs, this_test};

/// Only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// In another process: connects, and waits until the test has read its credentials.
fn be_seen(path: &std::path::Path) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    subprocess::report_done();
}

#[test]
fn a_socket_pair_has_our_own_credentials() {
    let (one, other) = UnixStream::pair().unwrap();
    let expected = credentials(&one).unwrap();
    assert_eq!(expected.uid, rustix::process::geteuid().as_raw());
    assert_eq!(credentials(other).unwrap(), expected);
    if cfg!(target_os = "linux") {
        assert_eq!(expected.pid, Some(std::process::id()));
    }
    require_same_user(&one).unwrap();
}

#[test]
fn a_socket_that_is_not_local_has_no_credentials() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(matches!(credentials(&stream), Err(Error::Unknown { .. })), "{:?}", credentials(&stream));
    assert!(matches!(require_same_user(&stream), Err(Error::Unknown { .. })));
}

#[test]
fn a_socket_is_found_behind_a_link_also_a_relative_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let _listener = UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink(at("socket"), at("absolute")).unwrap();
    std::os::unix::fs::symlink("socket", at("relative")).unwrap();
    for name in ["socket", "absolute", "relative"] {
        assert_eq!(socket_behind(&at(name)).unwrap(), Some(at("socket")), "{name}");
    }
    assert_eq!(socket_behind(&at("missing")).unwrap(), None);
    assert_eq!(socket_behind(&at("missing/socket")).unwrap(), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_peer_of_another_user_is_refused() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        return be_seen(&path);
    }
    let folder = subprocess::open_folder();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let mut child = subprocess::role_command(name, "client", &path, &RunAs::OtherUser)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let found = credentials(&stream).unwrap();
    assert_eq!((found.uid, found.pid), (OTHER_UID, Some(child.id())));
    assert!(matches!(require_same_user(&stream), Err(Error::OtherUser { uid: OTHER_UID })));
    stream.write_all(b"!").unwrap();
    assert!(child.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_outside_this_container_has_no_pid_here() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let stream = UnixStream::connect(path).unwrap();
        let found = credentials(&stream).unwrap();
        assert_eq!((found.uid, found.pid), (rustix::process::geteuid().as_raw(), None));
        require_same_user(&stream).unwrap();
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    subprocess::run_role(name, "client", &path, &RunAs::PidNamespace);
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

#[test]
fn bind_replaces_a_socket_and_makes_its_folder_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/socket");
    assert_eq!(connect(&path, OtherListeners::Refused).unwrap_err().kind(), ErrorKind::NotFound);
    let first = bind(&path).unwrap();
    assert_eq!(subprocess::mode(path.parent().unwrap()), 0o700);
    // A socket left by a killed process does not prevent binding.
    let mut half_made = path.clone().into_os_string();
    half_made.push(".new");
    drop(UnixListener::bind(&half_made).unwrap());
    let second = bind(&path).unwrap();
    let mut ours = connect(&path, OtherListeners::Refused).unwrap();
    ours.write_all(b"!").unwrap();
    let (mut theirs, _) = second.accept().unwrap();
    theirs.read_exact(&mut [0]).unwrap();
    first.set_nonblocking(true).unwrap();
    assert_eq!(first.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the first is no longer found");
    assert_eq!(subprocess::names(path.parent().unwrap()), ["socket"]);
    drop(second);
    assert_eq!(connect(&path, OtherListeners::Refused).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn bind_refuses_other_files_and_paths_that_are_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut in_the_way = path.clone().into_os_string();
    in_the_way.push(".new");
    fs::write(&in_the_way, "kept").unwrap();
    assert!(bind(&path).unwrap_err().to_string().contains("is not a socket"));
    assert_eq!(fs::read(&in_the_way).unwrap(), b"kept");

    let longest =
        |length: usize| folder.path().join("x".repeat(length - folder.path().as_os_str().len() - 1));
    let listener = bind(&longest(MAX_PATH_BYTES)).unwrap();
    connect(&longest(MAX_PATH_BYTES), OtherListeners::Refused).unwrap();
    drop(listener);
    assert_eq!(bind(&longest(MAX_PATH_BYTES + 1)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn connect_does_not_wait_for_a_listener_with_a_full_queue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = bind(&path).unwrap();
    let mut taken = Vec::new();
    // The queue is finite, and no call waits for it to move.
    let refused = loop {
        match connect(&path, OtherListeners::Refused) {
            Ok(stream) => taken.push(stream),
            Err(error) => break error,
        }
        assert!(taken.len() < 100_000);
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{refused}");
}

#[cfg(target_os = "linux")]
#[test]
fn connect_refuses_a_listener_of_another_user() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let _listener = UnixListener::bind(&path).unwrap();
        subprocess::print_line("listening");
        return subprocess::wait_for_stdin_end();
    }
    let folder = subprocess::folder_of_other_user();
    let path = folder.path().join("socket");
    let _actor = subprocess::LiveProcess::start(
        subprocess::role_command(name, "listen", &path, &RunAs::OtherUser),
        "listening",
    );
    let error = connect(&path, OtherListeners::Refused).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains(&format!("user {OTHER_UID} is at the other end")), "{error}");
    // The folder is that user's.
    connect(&path, OtherListeners::OwnerOfFolder).unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let error = connect(&path, OtherListeners::OwnerOfFolder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "others can write there");
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(OTHER_UID - 1), None).unwrap();
    let error = connect(&path, OtherListeners::OwnerOfFolder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "the folder is a third user's");
}

#[test]
fn a_closed_reader_of_a_pipe_or_socket_is_noticed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (sender, receiver) = channel();
    for output in [OwnedFd::from(ours), OwnedFd::from(writer)] {
        let sender = sender.clone();
        thread::spawn(move || sender.send(wait_until_closed(&output)).unwrap());
    }
    // Unread data and silence do not count as closed.
    assert!(receiver.try_recv().is_err());
    drop(theirs);
    receiver.recv_timeout(TIMEOUT).unwrap().unwrap();
    assert!(receiver.try_recv().is_err(), "the reader of the pipe is there still");
    drop(reader);
    receiver.recv_timeout(TIMEOUT).unwrap().unwrap();
}
