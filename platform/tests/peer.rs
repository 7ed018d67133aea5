//! The other ends of real sockets: our own, another user's, another container's.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is set up with the tools of Linux")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod again;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use again::{SOMEBODY, Stage, this_test};
use codex_auth_platform::peer::{
    Error, LONGEST_PATH, await_departure, bind, connect, of, remove_socket, same_user,
};
use codex_auth_platform::private_file::Removal;

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// In another process: connects, and waits until that was seen.
fn be_seen(path: &std::path::Path) {
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
        return be_seen(&path);
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

#[test]
fn a_socket_takes_the_place_of_the_one_before_and_its_folder_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/socket");
    assert_eq!(connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let first = bind(&path).unwrap();
    assert_eq!(again::mode(path.parent().unwrap()), 0o700);
    // What one leaves behind that was killed while it bound is no obstacle.
    let mut half_made = path.clone().into_os_string();
    half_made.push(".new");
    drop(UnixListener::bind(&half_made).unwrap());
    let second = bind(&path).unwrap();
    let mut ours = connect(&path).unwrap();
    ours.write_all(b"!").unwrap();
    let (mut theirs, _) = second.accept().unwrap();
    theirs.read_exact(&mut [0]).unwrap();
    first.set_nonblocking(true).unwrap();
    assert_eq!(first.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody finds the first any more");
    assert_eq!(again::names(path.parent().unwrap()), ["socket"]);
    drop(second);
    assert_eq!(connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn what_is_no_socket_is_not_bound_over_and_a_path_may_be_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut in_the_way = path.clone().into_os_string();
    in_the_way.push(".new");
    fs::write(&in_the_way, "kept").unwrap();
    assert!(bind(&path).unwrap_err().to_string().contains("is not a socket"));
    assert_eq!(fs::read(&in_the_way).unwrap(), b"kept");

    let longest =
        |length: usize| folder.path().join("x".repeat(length - folder.path().as_os_str().len() - 1));
    let listener = bind(&longest(LONGEST_PATH)).unwrap();
    connect(&longest(LONGEST_PATH)).unwrap();
    drop(listener);
    assert_eq!(bind(&longest(LONGEST_PATH + 1)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_listener_whose_queue_is_full_counts_as_gone_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = bind(&path).unwrap();
    let mut taken = Vec::new();
    // The queue has an end, and no call waits for it to move.
    let refused = loop {
        match connect(&path) {
            Ok(stream) => taken.push(stream),
            Err(error) => break error,
        }
        assert!(taken.len() < 100_000);
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{refused}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_listener_of_another_user_is_not_talked_to() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        let _listener = UnixListener::bind(&path).unwrap();
        again::tell("listening");
        return again::await_the_end();
    }
    let folder = again::folder_of_somebody();
    let path = folder.path().join("socket");
    let _actor = again::Actor::start(again::command(name, "listen", &path, &Stage::Somebody), "listening");
    let error = connect(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains(&format!("user {SOMEBODY} is at the other end")), "{error}");
}

#[test]
fn a_reader_that_goes_is_noticed_by_who_writes_to_a_pipe_or_a_socket() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (tell, told) = channel();
    for output in [OwnedFd::from(ours), OwnedFd::from(writer)] {
        let tell = tell.clone();
        thread::spawn(move || tell.send(await_departure(&output)).unwrap());
    }
    // Neither what is unread nor silence is a departure.
    assert!(told.try_recv().is_err());
    drop(theirs);
    told.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(told.try_recv().is_err(), "the reader of the pipe is there still");
    drop(reader);
    told.recv_timeout(PATIENCE).unwrap().unwrap();
}
