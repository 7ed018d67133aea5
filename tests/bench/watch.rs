//! How soon another process has a token that somebody has put there, beside the soonest that anything could notice it.
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

use self::support::{Promise, Times, World, header, line, system};

const ROUNDS: usize = 300;
/// What the library may add: reading, comparing, publishing.
const ADDED: Duration = Duration::from_millis(2);
/// The part that a process of this program plays.
const PART: &str = "BENCH_PART";

fn main() -> ExitCode {
    match std::env::var(PART).as_deref() {
        Ok("bare") => bare(),
        Ok(_) => host(),
        Err(_) => return measure(),
    }
    ExitCode::SUCCESS
}

/// Rewrites the document as another program does, and hears from both when they knew.
fn measure() -> ExitCode {
    let world = World::fresh();
    let mut bare = Part::start("bare", &world);
    let mut host = Part::start("host", &world);
    let (mut soonest, mut library, mut added) = (Times::default(), Times::default(), Times::default());
    for round in 0..=ROUNDS {
        // Apart from one another, as refreshes are: what comes closer is one look.
        thread::sleep(COALESCE_WINDOW * 2);
        let new = world.path().join("new");
        fs::write(&new, world.authority.grant(Account::numbered(1)).auth_json()).unwrap();
        let begun = now();
        fs::rename(&new, world.path().join("auth.json")).unwrap();
        let [first, second] = [&mut bare, &mut host].map(|part| part.next() - begun);
        if round > 0 {
            soonest.push(first);
            library.push(second);
            added.push(second.saturating_sub(first));
        }
    }
    let mut promise = Promise::default();
    header(&format!("a rewrite by another process, {ROUNDS} rounds"));
    line(system::SOONEST, &soonest, "");
    line("AuthManager::watch: the new token", &library, "");
    let within = promise.judge(&added, ADDED);
    line("the difference, round by round", &added, &within);
    promise.exit()
}

/// Says when each event of the document came, and does nothing else.
fn bare() {
    let home = PathBuf::from(std::env::var_os("CODEX_HOME").unwrap());
    system::hear(&home, "auth.json", || println!("0"), || println!("{}", now().as_nanos()));
}

/// Says when each new token was there for everybody in this process.
fn host() {
    let environment = Environment::of_process().unwrap();
    let home = store::locate(&environment).unwrap();
    let manager = AuthManager::builder(home, environment).policy(AccountPolicy::Follow).open().unwrap();
    let mut news = manager.subscribe();
    let watching = manager.watch();
    let token = || manager.current().document().and_then(AuthDocument::bearer).unwrap().fingerprint();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Its own first look is over.
    runtime.block_on(watching.reads().wait_for(|looks| *looks > 0)).unwrap();
    println!("0");
    let mut known = token();
    while runtime.block_on(news.changed()).is_ok() {
        let at = now();
        assert_ne!(std::mem::replace(&mut known, token()), known);
        println!("{}", at.as_nanos());
    }
}

/// A process that plays a part; killed on drop.
struct Part {
    process: Child,
    told: Lines<BufReader<ChildStdout>>,
}

impl Part {
    /// Starts one, and waits until it is listening.
    fn start(part: &str, world: &World) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(PART, part).envs(world.variables()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let told = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut part = Self { process, told };
        part.next();
        part
    }

    fn next(&mut self) -> Duration {
        Duration::from_nanos(self.told.next().unwrap().unwrap().parse().unwrap())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// By the one clock that all processes have.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
