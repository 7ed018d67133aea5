//! The cost of an idle keeper, and the time of a token from its socket.
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
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use scripted_authority::Account;

use self::support::{Limits, Times, World, header, line, resident, system};

const ROUNDS: usize = 300;
const IDLE: Duration = Duration::from_secs(60);
/// How long it is left alone before.
const SETTLING: Duration = Duration::from_secs(40);
const ACCOUNTS: u32 = 50;
/// Limit of its processor time while it is idle.
const PROCESSOR_TIME: Duration = Duration::from_millis(5);
/// Limit of its resident memory, in KiB.
const MEMORY: u64 = 12 * 1_024;
/// How much longer a token from the socket may take than from the file: two processes have to be woken.
const WAKE_UPS: Duration = Duration::from_micros(200);

fn main() -> ExitCode {
    let (world, crowd) = (World::fresh(), World::fresh());
    (2..=ACCOUNTS).for_each(|number| import(&crowd, number));
    let keepers = [("a keeper", Keeper::start(&world)), ("a keeper of 50 accounts", Keeper::start(&crowd))];
    thread::sleep(SETTLING);
    let mut limits = Limits::default();
    header(&format!("idle for {} s", IDLE.as_secs()));
    let before = keepers.each_ref().map(|(_, keeper)| keeper.processor_time());
    thread::sleep(IDLE);
    let mut size = 0;
    for ((name, keeper), before) in keepers.iter().zip(before) {
        let mut processor_time = Times::default();
        processor_time.push(keeper.processor_time() - before);
        let verdict = limits.check(&processor_time, PROCESSOR_TIME);
        line(&format!("{name}: processor time"), &processor_time, &verdict);
        let resident = keeper.resident();
        println!(
            "{:<44} {:>10}  {}",
            format!("{name}: resident memory"),
            format!("{resident} KiB"),
            if resident <= MEMORY { "within the limit" } else { "EXCEEDED" }
        );
        size = size.max(resident);
    }

    let without_keeper = World::fresh();
    let (mut socket, mut file) = (Times::default(), Times::default());
    for round in 0..=ROUNDS {
        if round == 1 {
            (socket, file) = (Times::default(), Times::default());
        }
        // Alternately, so that other load on the machine affects both.
        socket.of(|| token(&world));
        file.of(|| token(&without_keeper));
    }
    header(&format!("codex token, {ROUNDS} rounds"));
    line("from the file", &file, "");
    let verdict = limits.check(&socket, file.median() + WAKE_UPS);
    line("from a keeper's socket", &socket, &verdict);
    if size > MEMORY { ExitCode::FAILURE } else { limits.exit() }
}

/// The program in this world, without a keychain.
fn codex(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codex"));
    command.env_clear().envs(world.variables()).args(arguments);
    command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
    command
}

fn token(world: &World) {
    let output = codex(world, &["token"]).output().unwrap();
    assert!(output.status.success() && output.stdout.len() > 100);
}

/// Makes an account of another login.
fn import(world: &World, number: u32) {
    let file = world.path().with_file_name("import.json");
    fs::write(&file, world.authority.grant(Account::numbered(number)).auth_json()).unwrap();
    let words = ["account", "import", file.to_str().unwrap()];
    assert!(codex(world, &words).output().unwrap().status.success());
}

/// A running keeper; killed on drop.
struct Keeper(Child);

impl Keeper {
    fn start(world: &World) -> Self {
        let mut child = codex(world, &["sync", "run"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        while !log.next().unwrap().unwrap().contains("keeping the login fresh") {}
        // The first response shows that its start is complete.
        let keeper = Self(child);
        token(world);
        keeper
    }

    /// The processor time of its threads.
    fn processor_time(&self) -> Duration {
        system::processor_time(self.0.id())
    }

    /// The resident memory, in KiB.
    fn resident(&self) -> u64 {
        resident(self.0.id())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
