//! What the keeper's socket answers, to whom, and what it never says.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Moment};

use super::process::Process;
use crate::manager::world::{PATIENCE, World};
use crate::support::Machine;

/// Where the keeper of a world answers.
pub fn socket(world: &World<'_>) -> PathBuf {
    world.machine.home.file("codex-auth/keeper/sock")
}

/// What comes back for these bytes, up to the end of the connection.
pub fn answer(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have heard enough before it has heard all.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    // Bytes that it did not read make the end of the connection a reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: keeper\r\n\r\n").into_bytes()
}

/// The first line of an answer tells how it went.
pub fn status(answer: &str) -> &str {
    answer
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| answer.strip_prefix("HTTP/1.0 "))
        .map_or("", |rest| &rest[..3])
}

#[test]
fn strange_requests_are_refused_and_no_answer_holds_a_secret_but_the_access_token() {
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
            // Nothing but the end of the request: there is nothing to answer.
            UnixStream::connect(&path).unwrap().shutdown(std::net::Shutdown::Write).unwrap();
            continue;
        }
        let answer = answer(&path, request);
        assert_eq!(status(&answer), *expected, "{shown}: {answer}");
        answers.push(answer);
    }
    // And while a refresh is under way, and after it.
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let waiting = std::thread::spawn({
        let path = path.clone();
        move || answer(&path, &get("/v1/token?min_ttl=86400&wait=yes"))
    });
    hold.arrived(PATIENCE).unwrap();
    answers.push(answer(&path, &get("/v1/status")));
    answers.push(answer(&path, &get("/v1/token")));
    let before = world.kept("access_token");
    hold.release();
    answers.push(waiting.join().unwrap());
    let after = world.kept("access_token");
    assert_ne!(before, after);
    assert!(answers.last().unwrap().contains(&after), "what was waited for");

    let secrets = world.authority.issued_secrets();
    let mut given = 0;
    for answer in &answers {
        for secret in &secrets {
            let is_given = [&before, &after].contains(&secret);
            assert!(is_given || !answer.contains(secret.as_str()), "{answer}");
            given += usize::from(is_given && answer.contains(secret.as_str()));
        }
    }
    assert_eq!(given, 4, "a token for each of the requests that asked for one as it should");
}

#[test]
fn who_connects_and_says_nothing_is_sent_away_and_others_are_served() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let path = socket(&world);
    let begun = Instant::now();
    let mut slow = UnixStream::connect(&path).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(b"GET /v1/token HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(status(&answer(&path, &get("/v1/token"))), "200");
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    let held = begun.elapsed();
    assert!(held > Duration::from_secs(4) && held < PATIENCE, "{held:?}");
    assert!(!String::from_utf8_lossy(&rest).contains(&world.kept("access_token")));
}

#[test]
fn two_hundred_idle_connections_delay_others_and_do_no_harm() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let path = socket(&world);
    // Whoever finds the queue full has to wait in its own time; the keeper takes its share and no more.
    let connections = (0..200).map(|_| {
        let path = path.clone();
        std::thread::spawn(move || UnixStream::connect(path).unwrap())
    });
    let connections: Vec<_> = connections.collect();
    // The program does not wait for its turn: it looks for itself.
    let ended = world.codex(["token"]).run().expect(0);
    assert_eq!((ended.out.trim_end(), ended.err.as_str()), (world.kept("access_token").as_str(), ""));
    for connection in connections {
        drop(connection.join().unwrap());
    }
    assert_eq!(status(&answer(&path, &get("/v1/token"))), "200");
}
