//! The refresh before a command line is handed over: once for all, with its settings, and never given up half way.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use codex_auth::Lease;
use scripted_authority::{Ending, Endpoint, Moment, Step};

use super::hand_over::before;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Ended, Machine};

/// A program that prints the stored access token.
const READS: &str = r#"#!/bin/sh
sed -n 's/.*"access_token": "\(.*\)".*/\1/p' "$CODEX_HOME/auth.json"
"#;

fn is_refreshed_once(world: &World<'_>) {
    let read = || before(&world.machine.home, READS, world.codex(["exec"])).run().expect(0);
    let old = world.stored_token("access_token");
    let printed = read();
    assert_ne!(printed.out.trim_end(), old);
    assert_eq!((printed.out.trim_end(), printed.err.as_str()), (&*world.stored_token("access_token"), ""));
    assert_eq!(world.requests(), 1);
    assert_eq!(read().out, printed.out);
    assert_eq!(world.requests(), 1, "it is fresh now");
}

#[test]
fn a_stale_login_is_refreshed_before_and_a_fresh_one_left_alone() {
    is_refreshed_once(&World::stale(&mut Machine::with_file()));
    is_refreshed_once(&World::expired(&mut Machine::with_file()));
}

#[test]
fn the_next_program_runs_also_if_the_refresh_fails() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let home = &world.machine.home;
    let reads = || -> Ended { before(home, READS, world.codex(["exec"])).run().expect(0) };
    let old = world.stored_token("access_token");
    world.authority.script(Endpoint::Refresh, Step::status(503, "busy"));
    assert_eq!((reads().out.trim_end(), reads().err.as_str()), (&*old, ""));
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    fs::remove_file(home.file("codex-auth/state.json")).unwrap();
    assert_eq!((reads().out.trim_end(), reads().err.as_str()), (&*old, ""));
    let requests = world.requests();
    assert_eq!(reads().out.trim_end(), old);
    assert_eq!(world.requests(), requests, "a dead token is tried once");
    home.write("auth.json", "no document");
    assert_eq!((reads().out.as_str(), reads().err.as_str()), ("", ""));
    home.write("config.toml", "a = = 1");
    assert_eq!(reads().err, "");
    let lost = before(home, READS, world.codex(["exec"])).env("CODEX_AUTH_LOCK_TIMEOUT", "soon").run();
    assert_eq!(lost.expect(0).err, "");
}

/// Longer than the refresh waits for other processes.
const LONG: Duration = Duration::from_secs(11);

#[test]
fn a_request_that_was_sent_is_waited_for() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let mut child = before(&world.machine.home, READS, world.codex(["exec"])).start();
    hold.arrived(TEST_TIMEOUT).unwrap();
    let mut printed = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, "refreshing the login before codex starts\n");
    let (send, started) = mpsc::channel();
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        // The receiver is gone only if the test has failed.
        let _ = send.send(());
        text
    });
    // The next program would spend the same token.
    assert!(started.recv_timeout(LONG).is_err(), "the next program was started");
    hold.release();
    let text = reader.join().unwrap();
    assert_eq!(text.trim_end(), world.stored_token("access_token"));
    assert!(child.wait().unwrap().success());
    assert_eq!(world.requests(), 1);
    world.assert_no_token_reused_or_lost();
}

#[test]
fn a_process_that_holds_the_lease_delays_the_next_program_for_ten_seconds() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let old = world.stored_token("access_token");
    let stores = world.machine.home.stores();
    let lease = Lease::acquire(stores.home(), TEST_TIMEOUT, |_| {}).unwrap();
    let begun = Instant::now();
    let ended = before(&world.machine.home, READS, world.codex(["exec"])).run().expect(0);
    let took = begun.elapsed();
    drop(lease);
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(25), "{took:?}");
    assert_eq!(
        (ended.out.trim_end(), ended.err.as_str()),
        (&*old, "refreshing the login before codex starts\n")
    );
    assert_eq!(world.requests(), 0);
}

#[test]
fn nothing_is_refreshed_for_a_command_without_a_login() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    for words in [
        &["completion", "bash"][..],
        &["features", "list"],
        &["-m", "x", "features", "list"],
        &["update"],
        &["help", "exec"],
        &["exec", "--help"],
        &["--help"],
        &["--version"],
        &["-V", "exec"],
        &["app-server", "generate-ts", "--out", "x"],
    ] {
        before(&world.machine.home, READS, world.codex(words.iter().copied())).run().expect(0);
    }
    assert_eq!(world.requests(), 0);
}

#[test]
fn the_settings_of_a_command_line_count_for_the_refresh_before_it() {
    let (file, keyring) = ("cli_auth_credentials_store=file", "cli_auth_credentials_store=keyring");
    for (words, requests) in [
        (&["exec"][..], 0),
        (&["exec", "-c", file], 1),
        (&["-c", file, "exec"], 1),
        (&["exec", "--profile", "work"], 1),
        (&["-p", "work", "hi"], 1),
        (&["-p=work", "exec", "-c", keyring], 0),
        (&["-p", "../work", "exec"], 0),
    ] {
        let mut machine = Machine::with_file();
        let world = World::expired(&mut machine);
        let home = &world.machine.home;
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        home.write("work.config.toml", "model = \"x\"\ncli_auth_credentials_store = \"file\"\n");
        before(home, READS, world.codex(words.iter().copied())).run().expect(0);
        assert_eq!(world.requests(), requests, "{words:?}");
    }
}

#[test]
fn eight_programs_at_once_find_one_refreshed_login() {
    for _ in 0..5 {
        let mut machine = Machine::with_file();
        let world = World::expired(&mut machine);
        let home = &world.machine.home;
        let children: Vec<_> = (0..8).map(|_| before(home, READS, world.codex(["exec"])).start()).collect();
        let printed: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let token = format!("{}\n", world.stored_token("access_token"));
        for output in printed {
            assert_eq!(String::from_utf8_lossy(&output.stdout), token);
            assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        }
        assert_eq!(world.requests(), 1);
    }
}

#[test]
fn a_token_that_the_service_refuses_is_refreshed_once_before_unattended_runs() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let old = world.stored_token("access_token");
    let start = |word| before(&world.machine.home, READS, world.codex([word])).start();
    world.authority.end(world.grant.id, Ending::AccessInvalidated);
    // An interactive session is not delayed by a check.
    assert_eq!(printed(start("resume")), old);
    assert_eq!((world.requests(), world.authority.counters().of(Endpoint::Workspaces)), (0, 0));
    let runs: Vec<_> = (0..4).map(|_| start("exec")).collect();
    let tokens: Vec<_> = runs.into_iter().map(printed).collect();
    let new = world.stored_token("access_token");
    assert!(new != old && tokens.iter().all(|token| *token == new), "{tokens:?}");
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_service_that_does_not_respond_delays_an_unattended_run_for_three_seconds() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hold = world.authority.hold(Endpoint::Workspaces, Moment::Before);
    let begun = Instant::now();
    let old = printed(before(&world.machine.home, READS, world.codex(["exec"])).start());
    let took = begun.elapsed();
    drop(hold);
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(15), "{took:?}");
    assert_eq!((old, world.requests()), (world.stored_token("access_token"), 0));
}

/// What a run printed, which must succeed.
fn printed(child: std::process::Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
