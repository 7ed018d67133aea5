//! What is left in the memory of a program that goes on after a logout: no token, in no part of it that a core would hold.
//!
//! The program is closed to its user and makes no core by itself, so its memory is read as a debugger of root's reads it.

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
    an_app_server_forgets_what_it_logged_out,
    an_app_server_forgets_what_somebody_else_logged_out,
    a_keeper_forgets_what_somebody_logged_out,
    a_keeper_forgets_an_expired_login_that_it_was_asked_about,
    a_watch_forgets_what_somebody_logged_out,
];

/// Parts of a token of which each gives it away, at every place of it.
const CHUNK: usize = 24;
/// Far more than it takes to let go of a snapshot.
const WIPE_TIMEOUT: Duration = Duration::from_secs(30);

/// The memory of a process that it could have written to, by the system's words for each part: what a core has of it besides
/// its program files.
fn writable_memory(pid: u32) -> Vec<(String, Vec<u8>)> {
    let memory = File::open(format!("/proc/{pid}/mem")).expect("the memory of others is read as root");
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
        // What has been given back since the list was made is gone.
        if memory.read_exact_at(&mut part, start).is_ok() {
            image.push((line.to_owned(), part));
        }
    }
    image
}

/// Where parts of `stored_tokens` are in the memory of a process: which token, which part of it, and in what memory.
fn find_tokens(pid: u32, tokens: &[String]) -> Vec<String> {
    let mut wanted = HashMap::new();
    for (number, token) in tokens.iter().enumerate() {
        // Every JWT begins alike.
        let secret = token.split_once('.').map_or(token.as_str(), |(_, secret)| secret);
        for (part, bytes) in secret.as_bytes().chunks_exact(CHUNK).enumerate() {
            wanted.insert(bytes, format!("part {part} of token {number}"));
        }
    }
    assert!(wanted.len() >= tokens.len());
    // Nearly everything is told apart from a token by how it begins.
    let mut begins = vec![false; 1 << 16];
    let beginning = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    wanted.keys().for_each(|part| begins[beginning(part)] = true);
    let mut traces = Vec::new();
    for (memory, bytes) in writable_memory(pid) {
        for (at, window) in bytes.windows(CHUNK).enumerate().filter(|(_, window)| begins[beginning(window)]) {
            traces.extend(wanted.get(window).map(|part| format!("{part} at {at:#x} of {memory}")));
        }
    }
    traces
}

fn stored_tokens(world: &World<'_>) -> Vec<String> {
    ["id_token", "access_token", "refresh_token"].map(|token| world.stored_token(token)).into()
}

/// A task that has just heard of the logout may still hold what it last looked at.
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

fn an_app_server_forgets_what_it_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let mut secrets = stored_tokens(&world);
    assert_eq!(client.token().as_ref(), secrets.get(1));
    client.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
    secrets.extend(stored_tokens(&world));
    assert!(!find_tokens(client.pid(), &secrets).is_empty(), "it knows what it gives out");
    client.call("account/logout", json!({}));
    assert_forgotten(client.pid(), &secrets);
}

fn an_app_server_forgets_what_somebody_else_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let secrets = stored_tokens(&world);
    assert_eq!(client.token().as_ref(), secrets.get(1));
    assert!(!find_tokens(client.pid(), &secrets).is_empty());
    world.codex(["logout"]).run().expect(0);
    client.notification("account/updated");
    assert_forgotten(client.pid(), &secrets);
}

fn a_keeper_forgets_what_somebody_logged_out(machine: &mut Machine) {
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

fn a_keeper_forgets_an_expired_login_that_it_was_asked_about(machine: &mut Machine) {
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

fn a_watch_forgets_what_somebody_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut watch = world.codex(["watch", "--json"]).start();
    let lines = Lines::of(watch.stdout.take().unwrap());
    let watch = Guarded(watch);
    lines.next().expect("what there is");
    let secrets = stored_tokens(&world);
    assert!(!find_tokens(watch.0.id(), &secrets).is_empty());
    world.codex(["logout"]).run().expect(0);
    lines.next().expect("the logout");
    assert_forgotten(watch.0.id(), &secrets);
}
