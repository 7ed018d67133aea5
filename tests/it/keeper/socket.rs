//! The responses of the keeper's socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Moment};

use super::process::Process;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Guarded, Lines, Machine};

/// The socket of the keeper of a world.
pub fn socket(world: &World<'_>) -> PathBuf {
    world.machine.home.file("codex-auth/keeper/sock")
}

/// Sends these bytes and returns everything until the connection closes.
pub fn response_to(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    // Unread bytes reset the connection.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: keeper\r\n\r\n").into_bytes()
}

/// The status code of a response.
pub fn status(answer: &str) -> &str {
    answer
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| answer.strip_prefix("HTTP/1.0 "))
        .map_or("", |rest| &rest[..3])
}

#[test]
fn invalid_requests_are_refused_and_no_response_holds_another_secret_than_the_access_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let path = socket(&world);
    let long = "x".repeat(16 * 1024);
    let requests: &[(&str, Vec<u8>)] = &[
        ("200", get("/v1/status")),
        ("200", get("/v1/token")),
        ("200", get("/v1/token?min_ttl=60&wait=yes")),
        ("409", get("/v1/token?min_ttl=86400")),
        ("400", get("/v1/token?min_ttl=-1")),
        ("400", get("/v1/token?min_ttl=99999999999999999999")),
        ("400", get("/v1/token?refresh_token=yes")),
        ("404", get("/")),
        ("404", get("/v1/refresh_token")),
        ("404", get("/v1/token/../../auth.json")),
        ("404", get("/v2/token")),
        ("405", b"POST /v1/token HTTP/1.1\r\nHost: k\r\nContent-Length: 4\r\n\r\nbody".to_vec()),
        ("405", b"DELETE /v1/token HTTP/1.1\r\nHost: k\r\n\r\n".to_vec()),
        ("400", b"GET /v1/token\r\n\r\n".to_vec()),
        ("400", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("400", b"GET /v1/token HTTP/9.9\r\n\r\n".to_vec()),
        ("431", format!("GET /v1/token HTTP/1.1\r\nHost: k\r\nX: {long}\r\n\r\n").into_bytes()),
        ("431", get(&format!("/v1/token?{long}"))),
        ("", Vec::new()),
    ];
    let mut answers = Vec::new();
    for (expected, request) in requests {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        if request.is_empty() {
            // An empty request gets no response.
            UnixStream::connect(&path).unwrap().shutdown(std::net::Shutdown::Write).unwrap();
            continue;
        }
        let answer = response_to(&path, request);
        assert_eq!(status(&answer), *expected, "{shown}: {answer}");
        answers.push(answer);
    }
    // Also during a refresh, and after it.
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let waiting = std::thread::spawn({
        let path = path.clone();
        move || response_to(&path, &get("/v1/token?min_ttl=86400&wait=yes"))
    });
    hold.arrived(TEST_TIMEOUT).unwrap();
    answers.push(response_to(&path, &get("/v1/status")));
    answers.push(response_to(&path, &get("/v1/token")));
    let before = world.stored_token("access_token");
    hold.release();
    answers.push(waiting.join().unwrap());
    let after = world.stored_token("access_token");
    assert_ne!(before, after);
    assert!(answers.last().unwrap().contains(&after), "the refreshed token");

    let secrets = world.authority.issued_secrets();
    let mut count = 0;
    for answer in &answers {
        for secret in &secrets {
            let is_access_token = [&before, &after].contains(&secret);
            assert!(is_access_token || !answer.contains(secret.as_str()), "{answer}");
            count += usize::from(is_access_token && answer.contains(secret.as_str()));
        }
    }
    assert_eq!(count, 4, "a token for each valid request for one");
}

#[test]
fn an_incomplete_request_times_out_and_others_are_served() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let path = socket(&world);
    let started = Instant::now();
    let mut slow = UnixStream::connect(&path).unwrap();
    slow.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    slow.write_all(b"GET /v1/token HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(status(&response_to(&path, &get("/v1/token"))), "200");
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    let held = started.elapsed();
    assert!(held > Duration::from_secs(4) && held < TEST_TIMEOUT, "{held:?}");
    assert!(!String::from_utf8_lossy(&rest).contains(&world.stored_token("access_token")));
}

/// Opens 400 connections to a socket, some from each of ten processes, and keeps them silent until its input ends.
const SILENT_CONNECTIONS: &str = r#"
import os, socket, sys
for _ in range(10):
    if os.fork() == 0:
        held = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for connection in held: connection.connect(sys.argv[1])
        os.write(1, b"\n")
        sys.stdin.read()
        os._exit(0)
sys.stdin.read()
"#;

#[test]
fn silent_connections_of_a_container_keep_no_other_process_waiting() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let path = socket(&world);
    for isolation in [&["unshare", "--pid", "--fork", "--kill-child"][..], &["env"]] {
        let mut container = std::process::Command::new(isolation[0]);
        container.args(&isolation[1..]).args(["python3", "-c", SILENT_CONNECTIONS]).arg(&path);
        let mut container = Guarded(container.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let lines = Lines::of(container.0.stdout.take().unwrap());
        (0..10).for_each(|_| assert_eq!(lines.next().as_deref(), Some("")));
        let mut durations: Vec<_> = (0..21)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(status(&response_to(&path, &get("/v1/token"))), "200");
                started.elapsed()
            })
            .collect();
        durations.sort();
        assert!(durations[10] < Duration::from_millis(20), "{isolation:?}: {durations:?}");
        let ended = world.codex(["sync", "status", "--json"]).run().expect(0);
        assert_eq!(ended.json()["running"], true, "{ended}");
    }
}
