//! What a keeper costs while it has nothing to do, and what it saves those who ask it.
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
use std::thread;
use std::time::Duration;

use self::support::{Promise, Times, World, header, line, resident, system};

const ROUNDS: usize = 300;
const IDLE: Duration = Duration::from_secs(60);
/// Of the processor, while it is idle.
const WORK: Duration = Duration::from_millis(5);
/// Resident, in KiB.
const SIZE: u64 = 12 * 1_024;
/// What asking another process may take longer than reading a file: it has to be woken, and so has the one who asked.
const WOKEN: Duration = Duration::from_micros(200);

fn main() -> ExitCode {
    let world = World::fresh();
    let keeper = Keeper::start(&world);
    let mut promise = Promise::default();
    header(&format!("a keeper that is idle for {} s", IDLE.as_secs()));
    let before = keeper.work();
    thread::sleep(IDLE);
    let mut work = Times::default();
    work.push(keeper.work() - before);
    let kept = promise.judge(&work, WORK);
    line("its share of the processor", &work, &kept);
    let size = keeper.resident();
    println!(
        "{:<44} {:>10}  {}",
        "its resident size",
        format!("{size} KiB"),
        if size <= SIZE { "kept" } else { "BROKEN" }
    );

    let alone = World::fresh();
    let (mut socket, mut file) = (Times::default(), Times::default());
    for round in 0..=ROUNDS {
        if round == 1 {
            (socket, file) = (Times::default(), Times::default());
        }
        // In turns, so that other users of the machine are in the way of both.
        socket.of(|| token(&world));
        file.of(|| token(&alone));
    }
    header(&format!("codex token, {ROUNDS} rounds"));
    line("from the file", &file, "");
    let kept = promise.judge(&socket, file.median() + WOKEN);
    line("from a keeper's socket", &socket, &kept);
    if size > SIZE { ExitCode::FAILURE } else { promise.exit() }
}

/// The program in this world, with no keychain to look into.
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

/// A keeper at work; killed on drop.
struct Keeper(Child);

impl Keeper {
    fn start(world: &World) -> Self {
        let mut child = codex(world, &["sync", "run"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        while !log.next().unwrap().unwrap().contains("keeping the login fresh") {}
        // Whoever asks is answered when it has settled down.
        let keeper = Self(child);
        token(world);
        keeper
    }

    /// How long its threads have had a processor.
    fn work(&self) -> Duration {
        system::work(self.0.id())
    }

    /// In KiB.
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
