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

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use self::support::{Limits, Times, World, header, line, resident, system};

const ROUNDS: usize = 300;
const IDLE: Duration = Duration::from_secs(60);
/// Limit of its processor time while it is idle.
const PROCESSOR_TIME: Duration = Duration::from_millis(5);
/// Limit of its resident memory, in KiB.
const MEMORY: u64 = 12 * 1_024;
/// How much longer a token from the socket may take than from the file: two processes have to be woken.
const WAKE_UPS: Duration = Duration::from_micros(200);

fn main() -> ExitCode {
    let world = World::fresh();
    let keeper = Keeper::start(&world);
    let mut limits = Limits::default();
    header(&format!("a keeper that is idle for {} s", IDLE.as_secs()));
    let before = keeper.processor_time();
    thread::sleep(IDLE);
    let mut processor_time = Times::default();
    processor_time.push(keeper.processor_time() - before);
    let verdict = limits.check(&processor_time, PROCESSOR_TIME);
    line("processor time", &processor_time, &verdict);
    let size = keeper.resident();
    println!(
        "{:<44} {:>10}  {}",
        "resident memory",
        format!("{size} KiB"),
        if size <= MEMORY { "within the limit" } else { "EXCEEDED" }
    );

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
