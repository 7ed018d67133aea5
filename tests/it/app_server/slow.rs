//! Clients that do not read: the server buffers a bounded amount for them, and exits.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::next::{scripted, with_path};
use crate::support::{Guarded, TestHome, resident};

const MEBIBYTE: usize = 1024 * 1024;
/// Limit of the resident memory: full queues, one long line in each direction, and the program itself.
const LARGEST: u64 = 100 * 1024 * 1024;
/// The server exits after 20 s; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(120);

/// A server whose client reads nothing and sends `lines` after the handshake.
fn unread(home: &TestHome, lines: impl Iterator<Item = Value> + Send + 'static) -> Guarded {
    let next = scripted(home);
    let mut command = with_path(home.codex(["app-server"]), [&*next]).into_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    thread::spawn(move || {
        let info = json!({"name": "editor", "version": "1"});
        let hello = json!({"id": 0, "method": "initialize", "params": {"clientInfo": info}});
        for line in std::iter::once(hello).chain(lines) {
            if writeln!(input, "{line}").is_err() {
                return;
            }
        }
        // The input stays open while the server runs.
        thread::sleep(LONGEST);
    });
    Guarded(child)
}

/// The peak memory of the server, its exit code, and its standard error.
#[track_caller]
fn ended(server: &mut Child) -> (u64, Option<i32>, String) {
    let started = Instant::now();
    let mut largest = 0;
    let status = loop {
        if let Some(status) = server.try_wait().unwrap() {
            break status;
        }
        largest = largest.max(resident(server.id()));
        assert!(started.elapsed() < LONGEST, "it still runs, with {largest} bytes");
        thread::sleep(Duration::from_millis(20));
    };
    let mut stderr = String::new();
    server.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    println!("{largest} bytes at most, ended after {:.1?}: {stderr}", started.elapsed());
    (largest, status.code(), stderr)
}

#[track_caller]
fn exits_with_an_error(mut server: Guarded) {
    let (largest, code, stderr) = ended(&mut server.0);
    assert!(largest < LARGEST, "{largest} bytes");
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("error: the client has not read from standard output for"), "{stderr}");
}

#[test]
fn the_server_ends_if_the_client_does_not_read_forwarded_lines() {
    let flood = json!({"id": 1, "method": "test/flood", "params": {"lines": 1_000, "bytes": 4 * MEBIBYTE}});
    exits_with_an_error(unread(&TestHome::new(), std::iter::once(flood)));
}

#[test]
fn the_server_ends_if_the_client_does_not_read_responses() {
    let more = "x".repeat(MEBIBYTE - 1_024);
    let echo = move |id| json!({"id": id, "method": "test/echo", "params": {"more": more}});
    exits_with_an_error(unread(&TestHome::new(), (1..=1_000).map(echo)));
}

/// The responses are short, and fit into the queue.
#[test]
fn many_unread_responses_use_little_memory() {
    // The responses to six hundred requests fill the pipe.
    const REQUESTS: usize = 1_200;
    let mut client = Client::in_home(&TestHome::new());
    client.call("account/read", json!({}));
    client.stop_reading();
    let more = "x".repeat(MEBIBYTE * 3 / 16);
    let mut largest = 0;
    let ids: Vec<_> = (0..REQUESTS)
        .map(|_| {
            largest = largest.max(resident(client.pid()));
            client.send_request("account/read", json!({"more": more}))
        })
        .collect();
    println!("{largest} bytes at most");
    assert!(largest < LARGEST / 2, "{largest} bytes");
    client.resume_reading();
    for id in ids {
        assert!(client.response(id).get("error").is_none());
    }
}

#[test]
fn a_client_that_resumes_reading_gets_every_line() {
    const LINES: usize = 100;
    let home = TestHome::new();
    let next = scripted(&home);
    let mut client = Client::from_run(with_path(home.codex(["app-server"]), [&*next]));
    client.call("test/echo", Value::Null);
    client.stop_reading();
    client.send_request("test/flood", json!({"lines": LINES, "bytes": MEBIBYTE}));
    // The rest waits in the next server.
    thread::sleep(Duration::from_secs(2));
    assert!(resident(client.pid()) < LARGEST);
    client.resume_reading();
    for _ in 0..LINES {
        assert_eq!(client.notification("thread/flood")["more"].as_str().unwrap().len(), MEBIBYTE);
    }
    assert_eq!(client.end(), Some(0));
}
