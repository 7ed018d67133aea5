//! After a logout, no token remains in the writable memory of a running program.
//!
//! The program protects its memory from its own user, so the tests read it as root, like a debugger.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Step};
use serde_json::json;

use crate::app_server::client::Client;
use crate::keeper::process::Process;
use crate::manager::world::World;
use crate::support::{Guarded, Lines, Machine, over_both_stores};

over_both_stores![
    an_app_server_forgets_the_login_it_logged_out,
    an_app_server_forgets_a_login_that_another_process_logged_out,
    a_keeper_forgets_a_login_that_another_process_logged_out,
    a_keeper_forgets_an_expired_login_after_status_requests,
    a_watch_forgets_a_login_that_another_process_logged_out,
];

/// The length of the parts of a token that are searched, in bytes.
const CHUNK: usize = 24;
/// How long a program may take to drop its last snapshot.
const WIPE_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the writable memory of a process, each mapping with its line in `/proc/PID/maps`.
fn writable_memory(pid: u32) -> Vec<(String, Vec<u8>)> {
    let memory =
        File::open(format!("/proc/{pid}/mem")).expect("reading the memory of other processes requires root");
    let mut image = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next().unwrap(), words.next().unwrap());
        if !mode.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut part = vec![0; usize::try_from(end - start).unwrap()];
        // A mapping may have been removed since the list was read.
        if memory.read_exact_at(&mut part, start).is_ok() {
            image.push((line.to_owned(), part));
        }
    }
    image
}

/// Finds parts of `tokens` in the memory of a process, and describes each finding.
fn find_tokens(pid: u32, tokens: &[String]) -> Vec<String> {
    let mut wanted = HashMap::new();
    for (number, token) in tokens.iter().enumerate() {
        // All JWTs have the same header.
        let secret = token.split_once('.').map_or(token.as_str(), |(_, secret)| secret);
        for (part, bytes) in secret.as_bytes().chunks_exact(CHUNK).enumerate() {
            wanted.insert(bytes, format!("part {part} of token {number}"));
        }
    }
    assert!(wanted.len() >= tokens.len());
    // Comparing the first two bytes skips nearly everything.
    let mut prefixes = vec![false; 1 << 16];
    let prefix = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    wanted.keys().for_each(|part| prefixes[prefix(part)] = true);
    let mut found = Vec::new();
    for (memory, bytes) in writable_memory(pid) {
        for (at, window) in bytes.windows(CHUNK).enumerate().filter(|(_, window)| prefixes[prefix(window)]) {
            found.extend(wanted.get(window).map(|part| format!("{part} at {at:#x} of {memory}")));
        }
    }
    found
}

fn stored_tokens(world: &World<'_>) -> Vec<String> {
    ["id_token", "access_token", "refresh_token"].map(|token| world.stored_token(token)).into()
}

/// Waits until no part of `tokens` is in the memory of the process. A task may hold its last snapshot for a moment.
#[track_caller]
fn assert_forgotten(pid: u32, tokens: &[String]) {
    let begun = Instant::now();
    let mut left = find_tokens(pid, tokens);
    while !left.is_empty() {
        assert!(begun.elapsed() < WIPE_TIMEOUT, "still in the memory of the process:\n{}", left.join("\n"));
        thread::yield_now();
        left = find_tokens(pid, tokens);
    }
}

fn an_app_server_forgets_the_login_it_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let mut secrets = stored_tokens(&world);
    assert_eq!(client.token().as_ref(), secrets.get(1));
    client.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
    secrets.extend(stored_tokens(&world));
    assert!(!find_tokens(client.pid(), &secrets).is_empty(), "the search finds the tokens before the logout");
    client.call("account/logout", json!({}));
    assert_forgotten(client.pid(), &secrets);
}

fn an_app_server_forgets_a_login_that_another_process_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let secrets = stored_tokens(&world);
    assert_eq!(client.token().as_ref(), secrets.get(1));
    assert!(!find_tokens(client.pid(), &secrets).is_empty());
    world.codex(["logout"]).run().expect(0);
    client.notification("account/updated");
    assert_forgotten(client.pid(), &secrets);
}

fn a_keeper_forgets_a_login_that_another_process_logged_out(machine: &mut Machine) {
    let world = World::stale(machine);
    let mut secrets = stored_tokens(&world);
    let keeper = Process::of(&world);
    keeper.until("refreshed");
    secrets.extend(stored_tokens(&world));
    world.codex(["token"]).run().expect(0);
    assert!(!find_tokens(keeper.pid(), &secrets).is_empty());
    world.codex(["logout"]).run().expect(0);
    assert_forgotten(keeper.pid(), &secrets);
}

fn a_keeper_forgets_an_expired_login_after_status_requests(machine: &mut Machine) {
    let world = World::expired(machine);
    let secrets = stored_tokens(&world);
    let busy = Step::status(503, "busy").with_header("Retry-After", "600");
    world.authority.script(Endpoint::Refresh, busy);
    let keeper = Process::of(&world);
    keeper.until("not refreshed");
    for _ in 0..3 {
        let status = world.codex(["sync", "status", "--json"]).run().expect(0).json();
        assert_eq!(status["usable"], false, "{status:#}");
    }
    assert!(!find_tokens(keeper.pid(), &secrets).is_empty());
    world.codex(["logout"]).run().expect(0);
    assert_forgotten(keeper.pid(), &secrets);
}

fn a_watch_forgets_a_login_that_another_process_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut watch = world.codex(["watch", "--json"]).start();
    let lines = Lines::of(watch.stdout.take().unwrap());
    let watch = Guarded(watch);
    lines.next().expect("the first event");
    let secrets = stored_tokens(&world);
    assert!(!find_tokens(watch.0.id(), &secrets).is_empty());
    world.codex(["logout"]).run().expect(0);
    lines.next().expect("the logout");
    assert_forgotten(watch.0.id(), &secrets);
}
