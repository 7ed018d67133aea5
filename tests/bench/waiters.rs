//! How soon many processes that wait for one refresh have its token, counted from the winner's commit.
//!
//! The processes are this program once more. One of them, the winner, gets the lease; its request is held by the
//! authority until the others wait too.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark makes its own world, stops where it is not as made, and has no public face"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use codex_auth::manager::AuthManager;
use codex_auth::{Environment, Secret, store};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use scripted_authority::{Endpoint, Moment, Outcome};

use self::support::{Promise, Times, World, header, line};

const ROUNDS: usize = 10;
/// Set for a process that waits.
const WAITER: &str = "BENCH_WAITER";
/// Long enough for anything that a loaded machine does.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between the last one's word that it asks and the release of the winner: by then each of them waits, in the longest
/// of its pauses.
const SETTLING: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    if std::env::var_os(WAITER).is_some() {
        wait_for_a_token();
        return ExitCode::SUCCESS;
    }
    let mut promise = Promise::default();
    header(&format!("the last of several processes, {ROUNDS} rounds"));
    for processes in [1, 8, 64] {
        let (mut first, mut last) = (Times::default(), Times::default());
        for _ in 0..ROUNDS {
            let arrivals = round(processes);
            first.push(*arrivals.iter().min().unwrap());
            last.push(*arrivals.iter().max().unwrap());
        }
        let limit = Duration::from_millis(50) + Duration::from_millis(2) * u32::try_from(processes).unwrap();
        let judgement = promise.judge(&last, limit);
        line(&format!("{processes} waiting: the first has the token"), &first, "");
        line(&format!("{processes} waiting: the last has it"), &last, &judgement);
    }
    promise.exit()
}

/// What each of the waiting processes does: an embedder that finds its token stale.
fn wait_for_a_token() {
    let environment = Environment::of_process().unwrap();
    let manager = AuthManager::builder(store::locate(&environment).unwrap(), environment).open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("asks");
    let token = runtime.block_on(manager.token()).unwrap();
    println!("has {}", token.secret().map(Secret::fingerprint).unwrap());
}

/// How long after the winner's commit each of so many waiting processes has had the token.
fn round(processes: usize) -> Vec<Duration> {
    let world = World::expired();
    let (tell, told) = channel();
    let held = world.authority.hold(Endpoint::Refresh, Moment::After);
    let mut winner = start(&world, &channel().0);
    held.arrived(PATIENCE).unwrap();
    let waiting: Vec<_> = (0..processes).map(|_| start(&world, &tell)).collect();
    for _ in 0..processes {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap().1, "asks");
    }
    thread::sleep(SETTLING);
    let (watcher, commits) = watch(&world);
    held.release();
    let committed = commits.recv_timeout(PATIENCE).unwrap();
    let arrivals: Vec<_> = (0..processes).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    drop(watcher);
    assert!(winner.wait().unwrap().success());
    for mut child in waiting {
        assert!(child.wait().unwrap().success());
    }
    let counters = world.authority.counters();
    assert_eq!(counters.of(Endpoint::Refresh), 1, "one request for all of them");
    assert_eq!(counters.ended(Endpoint::Refresh, Outcome::Granted), 1);
    assert!(arrivals.iter().all(|(_, word)| *word == arrivals[0].1), "one token for all of them");
    arrivals.into_iter().map(|(at, _)| at.saturating_duration_since(committed)).collect()
}

/// Starts a process in `world`; its words are told with the time at which they came.
fn start(world: &World, tell: &Sender<(Instant, String)>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.envs(world.variables()).env(WAITER, "1").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (words, tell) = (BufReader::new(child.stdout.take().unwrap()), tell.clone());
    thread::spawn(move || {
        for word in words.lines() {
            let _ = tell.send((Instant::now(), word.unwrap()));
        }
    });
    child
}

/// The moments at which `auth.json` is replaced.
fn watch(world: &World) -> (RecommendedWatcher, Receiver<Instant>) {
    let (tell, told) = channel();
    let document = world.home().document();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.contains(&document)) {
            let _ = tell.send(Instant::now());
        }
    })
    .unwrap();
    watcher.watch(&world.path(), RecursiveMode::NonRecursive).unwrap();
    (watcher, told)
}
