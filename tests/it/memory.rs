//! What is left in the memory of a program that goes on after a logout: no token, in no part of it that a core would hold.
//!
//! The program is closed to its user and makes no core by itself, so its memory is read as a debugger of root's reads it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use serde_json::json;

use crate::app_server::client::Client;
use crate::keeper::process::Process;
use crate::manager::world::World;
use crate::support::{Guarded, Lines, Machine, eventually, over_both_stores};

over_both_stores![
    an_app_server_forgets_what_it_logged_out,
    an_app_server_forgets_what_somebody_else_logged_out,
    a_keeper_forgets_what_somebody_logged_out,
    a_watch_forgets_what_somebody_logged_out,
];

/// Parts of a token of which each gives it away, at every place of it.
const PART: usize = 24;

/// The memory of a process that it could have written to: what a core has of it besides its program files.
fn image(pid: u32) -> Vec<u8> {
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
            image.append(&mut part);
        }
    }
    image
}

/// How many of the parts of `tokens` are in the memory of a process.
fn traces(pid: u32, tokens: &[String]) -> usize {
    let parts = tokens.iter().flat_map(|token| {
        // Every JWT begins alike.
        let secret = token.split_once('.').map_or(token.as_str(), |(_, secret)| secret);
        secret.as_bytes().chunks_exact(PART)
    });
    let wanted: HashSet<_> = parts.collect();
    assert!(wanted.len() >= tokens.len());
    // Nearly everything is told apart from a token by how it begins.
    let beginnings: HashSet<_> = wanted.iter().map(|part| [part[0], part[1]]).collect();
    let mut begins = vec![false; 1 << 16];
    for beginning in beginnings {
        begins[usize::from(u16::from_be_bytes(beginning))] = true;
    }
    let begins = |window: &[u8]| begins[usize::from(u16::from_be_bytes([window[0], window[1]]))];
    image(pid).windows(PART).filter(|window| begins(window) && wanted.contains(window)).count()
}

fn tokens(world: &World<'_>) -> Vec<String> {
    ["id_token", "access_token", "refresh_token"].map(|token| world.kept(token)).into()
}

/// A task that has just heard of the logout may still hold what it last looked at.
#[track_caller]
fn is_forgotten(pid: u32, tokens: &[String]) {
    eventually("the tokens are gone from its memory", || traces(pid, tokens) == 0);
}

fn an_app_server_forgets_what_it_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::by(world.codex(["app-server"]));
    let mut secrets = tokens(&world);
    assert_eq!(client.token().as_ref(), secrets.get(1));
    client.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
    secrets.extend(tokens(&world));
    assert!(traces(client.pid(), &secrets) > 0, "it knows what it gives out");
    client.call("account/logout", json!({}));
    is_forgotten(client.pid(), &secrets);
}

fn an_app_server_forgets_what_somebody_else_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut client = Client::by(world.codex(["app-server"]));
    let secrets = tokens(&world);
    assert_eq!(client.token().as_ref(), secrets.get(1));
    assert!(traces(client.pid(), &secrets) > 0);
    world.codex(["logout"]).run().expect(0);
    client.told("account/updated");
    is_forgotten(client.pid(), &secrets);
}

fn a_keeper_forgets_what_somebody_logged_out(machine: &mut Machine) {
    let world = World::stale(machine);
    let mut secrets = tokens(&world);
    let keeper = Process::of(&world);
    keeper.until("refreshed");
    secrets.extend(tokens(&world));
    world.codex(["token"]).run().expect(0);
    assert!(traces(keeper.pid(), &secrets) > 0);
    world.codex(["logout"]).run().expect(0);
    is_forgotten(keeper.pid(), &secrets);
}

fn a_watch_forgets_what_somebody_logged_out(machine: &mut Machine) {
    let world = World::fresh(machine);
    let mut watch = world.codex(["watch", "--json"]).start();
    let lines = Lines::of(watch.stdout.take().unwrap());
    let watch = Guarded(watch);
    lines.next().expect("what there is");
    let secrets = tokens(&world);
    assert!(traces(watch.0.id(), &secrets) > 0);
    world.codex(["logout"]).run().expect(0);
    lines.next().expect("the logout");
    is_forgotten(watch.0.id(), &secrets);
}
