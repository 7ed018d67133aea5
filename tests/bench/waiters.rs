//! How long after a commit many processes that wait for the refresh have its token.
//!
//! The processes run this program again. One of them, the winner, gets the lease; the authority holds its request until
//! the others wait too.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark may panic and print, and has no public interface"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use codex_auth::manager::AuthManager;
use codex_auth::{Environment, store};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use scripted_authority::{Endpoint, Moment, Outcome};

use self::support::{Limits, Times, World, header, line};

const ROUNDS: usize = 10;
/// Set in a waiting process.
const WAITER: &str = "BENCH_WAITER";
/// Far longer than any step takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause after the last process has started to wait: by then the polling interval of each is at its maximum.
const SETTLE_TIME: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    if std::env::var_os(WAITER).is_some() {
        wait_for_a_token();
        return ExitCode::SUCCESS;
    }
    let mut limits = Limits::default();
    header(&format!("the last of several processes, {ROUNDS} rounds"));
    for processes in [1, 8, 64] {
        let (mut first, mut last) = (Times::default(), Times::default());
        for _ in 0..ROUNDS {
            let arrivals = round(processes);
            first.push(*arrivals.iter().min().unwrap());
            last.push(*arrivals.iter().max().unwrap());
        }
        let limit = Duration::from_millis(50) + Duration::from_millis(2) * u32::try_from(processes).unwrap();
        let verdict = limits.check(&last, limit);
        line(&format!("{processes} waiting: the first has the token"), &first, "");
        line(&format!("{processes} waiting: the last has it"), &last, &verdict);
    }
    limits.exit()
}

/// The waiting process: gets a token that is stale.
fn wait_for_a_token() {
    let environment = Environment::of_process().unwrap();
    let manager = AuthManager::builder(store::locate(&environment).unwrap(), environment).open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("waiting");
    let token = runtime.block_on(manager.token()).unwrap();
    println!("token {}", token.secret().fingerprint());
}

/// How long after the winner's commit each of the waiting processes had the token.
fn round(processes: usize) -> Vec<Duration> {
    let world = World::expired();
    let (sender, words) = channel();
    let held = world.authority.hold(Endpoint::Refresh, Moment::After);
    let mut winner = start(&world, &channel().0);
    held.arrived(PATIENCE).unwrap();
    let waiting: Vec<_> = (0..processes).map(|_| start(&world, &sender)).collect();
    for _ in 0..processes {
        assert_eq!(words.recv_timeout(PATIENCE).unwrap().1, "waiting");
    }
    thread::sleep(SETTLE_TIME);
    let (watcher, commits) = watch(&world);
    held.release();
    let committed = commits.recv_timeout(PATIENCE).unwrap();
    let arrivals: Vec<_> = (0..processes).map(|_| words.recv_timeout(PATIENCE).unwrap()).collect();
    drop(watcher);
    assert!(winner.wait().unwrap().success());
    for mut child in waiting {
        assert!(child.wait().unwrap().success());
    }
    let counters = world.authority.counters();
    assert_eq!(counters.of(Endpoint::Refresh), 1, "one request for all");
    assert_eq!(counters.ended(Endpoint::Refresh, Outcome::Granted), 1);
    assert!(arrivals.iter().all(|(_, word)| *word == arrivals[0].1), "one token for all");
    arrivals.into_iter().map(|(at, _)| at.saturating_duration_since(committed)).collect()
}

/// Starts a waiting process; its output lines are sent with the time at which they arrived.
fn start(world: &World, sender: &Sender<(Instant, String)>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.envs(world.variables()).env(WAITER, "1").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (words, sender) = (BufReader::new(child.stdout.take().unwrap()), sender.clone());
    thread::spawn(move || {
        for word in words.lines() {
            let _ = sender.send((Instant::now(), word.unwrap()));
        }
    });
    child
}

/// Watches for replacements of `auth.json`, whose times are received.
fn watch(world: &World) -> (RecommendedWatcher, Receiver<Instant>) {
    let (sender, times) = channel();
    let document = world.home().document();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.contains(&document)) {
            let _ = sender.send(Instant::now());
        }
    })
    .unwrap();
    watcher.watch(&world.path(), RecursiveMode::NonRecursive).unwrap();
    (watcher, times)
}
