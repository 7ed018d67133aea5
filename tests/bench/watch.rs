//! How long after a rewrite of `auth.json` another process has the new token, compared with the bare file event.
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

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codex_auth::AuthDocument;
use codex_auth::manager::{AccountPolicy, AuthManager};
use codex_auth::watch::COALESCE_WINDOW;
use codex_auth::{Environment, store};
use scripted_authority::Account;

use self::support::{Limits, Times, World, header, line, system};

const ROUNDS: usize = 300;
/// Limit of the time that the library adds: reading, comparing, publishing.
const ADDED: Duration = Duration::from_millis(2);
/// The role of a helper process.
const ROLE: &str = "BENCH_ROLE";

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("bare") => bare(),
        Ok(_) => host(),
        Err(_) => return measure(),
    }
    ExitCode::SUCCESS
}

/// Rewrites the document, and compares the times at which both helper processes detected it.
fn measure() -> ExitCode {
    let world = World::fresh();
    let mut bare = Helper::start("bare", &world);
    let mut host = Helper::start("host", &world);
    let (mut soonest, mut library, mut added) = (Times::default(), Times::default(), Times::default());
    for round in 0..=ROUNDS {
        // Rewrites that are closer together are read as one.
        thread::sleep(COALESCE_WINDOW * 2);
        let new = world.path().join("new");
        fs::write(&new, world.authority.grant(Account::numbered(1)).auth_json()).unwrap();
        let started = now();
        fs::rename(&new, world.path().join("auth.json")).unwrap();
        let [first, second] = [&mut bare, &mut host].map(|helper| helper.next() - started);
        if round > 0 {
            soonest.push(first);
            library.push(second);
            added.push(second.saturating_sub(first));
        }
    }
    let mut limits = Limits::default();
    header(&format!("a rewrite by another process, {ROUNDS} rounds"));
    line(system::FILE_EVENT, &soonest, "");
    line("AuthManager::watch: the new token", &library, "");
    let verdict = limits.check(&added, ADDED);
    line("the difference in each round", &added, &verdict);
    limits.exit()
}

/// Helper process: prints the time of each file event of the document.
fn bare() {
    let home = PathBuf::from(std::env::var_os("CODEX_HOME").unwrap());
    system::on_rename(&home, "auth.json", || println!("0"), || println!("{}", now().as_nanos()));
}

/// Helper process: prints the time at which each new token was published.
fn host() {
    let environment = Environment::of_process().unwrap();
    let home = store::locate(&environment).unwrap();
    let manager = AuthManager::builder(home, environment).policy(AccountPolicy::Follow).open().unwrap();
    let mut snapshots = manager.subscribe();
    let watching = manager.watch();
    let token = || manager.current().document().and_then(AuthDocument::bearer).unwrap().fingerprint();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Waits for the first read.
    runtime.block_on(watching.reads().wait_for(|looks| *looks > 0)).unwrap();
    println!("0");
    let mut known = token();
    while runtime.block_on(snapshots.changed()).is_ok() {
        let at = now();
        assert_ne!(std::mem::replace(&mut known, token()), known);
        println!("{}", at.as_nanos());
    }
}

/// A helper process; killed on drop.
struct Helper {
    process: Child,
    times: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    /// Starts a helper process, and waits until it watches.
    fn start(role: &str, world: &World) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).envs(world.variables()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let times = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut helper = Self { process, times };
        helper.next();
        helper
    }

    fn next(&mut self) -> Duration {
        Duration::from_nanos(self.times.next().unwrap().unwrap().parse().unwrap())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The wall clock, which all processes share.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
