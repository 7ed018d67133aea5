//! Clients that do not read: the server holds a bounded amount for them, and ends.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::next::{scripted, with_path};
use crate::support::{Guarded, TestHome, resident};

const MEBIBYTE: usize = 1024 * 1024;
/// What waits for a client, a long line on its way in and out, and the program itself.
const LARGEST: u64 = 100 * 1024 * 1024;
/// A client is given up after 20 s; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(120);

/// A server whose client reads nothing and sends `lines` after its greeting.
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
        // The input stays open for as long as the server runs.
        thread::sleep(LONGEST);
    });
    Guarded(child)
}

/// The largest size that the server had until it ended, and how it ended.
#[track_caller]
fn ended(server: &mut Child) -> (u64, Option<i32>, String) {
    let begun = Instant::now();
    let mut largest = 0;
    let status = loop {
        if let Some(status) = server.try_wait().unwrap() {
            break status;
        }
        largest = largest.max(resident(server.id()));
        assert!(begun.elapsed() < LONGEST, "it goes on, with {largest} bytes");
        thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    println!("{largest} bytes at most, ended after {:.1?}: {said}", begun.elapsed());
    (largest, status.code(), said)
}

#[track_caller]
fn is_given_up(mut server: Guarded) {
    let (largest, code, said) = ended(&mut server.0);
    assert!(largest < LARGEST, "{largest} bytes");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("error: the client has not read from standard output for"), "{said}");
}

#[test]
fn a_client_that_never_reads_what_the_next_server_says_is_given_up() {
    let flood = json!({"id": 1, "method": "test/flood", "params": {"lines": 1_000, "bytes": 4 * MEBIBYTE}});
    is_given_up(unread(&TestHome::new(), std::iter::once(flood)));
}

#[test]
fn a_client_that_sends_requests_and_never_reads_the_answers_is_given_up() {
    let more = "x".repeat(MEBIBYTE - 1_024);
    let echo = move |id| json!({"id": id, "method": "test/echo", "params": {"more": more}});
    is_given_up(unread(&TestHome::new(), (1..=1_000).map(echo)));
}

/// The answers are short, and fit where they wait.
#[test]
fn a_client_that_sends_many_long_requests_before_it_reads_costs_little_memory() {
    // The answers to six hundred fill the pipe.
    const REQUESTS: usize = 1_200;
    let mut client = Client::of(&TestHome::new());
    client.call("account/read", json!({}));
    client.stop_reading();
    let more = "x".repeat(MEBIBYTE * 3 / 16);
    let mut largest = 0;
    let asked: Vec<_> = (0..REQUESTS)
        .map(|_| {
            largest = largest.max(resident(client.pid()));
            client.ask("account/read", json!({"more": more}))
        })
        .collect();
    println!("{largest} bytes at most");
    assert!(largest < LARGEST / 2, "{largest} bytes");
    client.read_again();
    for id in asked {
        assert!(client.answer(id).get("error").is_none());
    }
}

#[test]
fn a_client_that_reads_again_gets_every_line() {
    const LINES: usize = 100;
    let home = TestHome::new();
    let next = scripted(&home);
    let mut client = Client::by(with_path(home.codex(["app-server"]), [&*next]));
    client.call("test/echo", Value::Null);
    client.stop_reading();
    client.ask("test/flood", json!({"lines": LINES, "bytes": MEBIBYTE}));
    // What does not fit waits in the next server.
    thread::sleep(Duration::from_secs(2));
    assert!(resident(client.pid()) < LARGEST);
    client.read_again();
    for _ in 0..LINES {
        assert_eq!(client.told("thread/flood")["more"].as_str().unwrap().len(), MEBIBYTE);
    }
    assert_eq!(client.end(), Some(0));
}
