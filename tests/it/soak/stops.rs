//! Refreshes that are stopped at random moments for longer than their timeout, while the authority responds or fails.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Outcome, Reuse, Step};

use super::{Random, Soak};
use crate::manager::world::World;
use crate::support::{Machine, children, here, session};

/// Number of concurrent refreshes; the last login is in a keychain.
const LOGINS: usize = 6;
/// How long a process is stopped: shorter than a request's timeout, longer, and longer than two.
const STOPS: [Duration; 3] = [Duration::from_secs(20), Duration::from_secs(34), Duration::from_secs(65)];
/// Divisor of all times in a short run.
const SHORTER: u32 = 20;
/// How long a process may run after its stop: the rest of a request and one retry.
const AFTERWARDS: Duration = Duration::from_secs(45);

/// The schedule of one refresh.
#[derive(Clone, Debug)]
struct Round {
    stop: Duration,
    /// Time from the start of the command to the stop.
    after: Duration,
    fault: Option<&'static str>,
    /// Latency of the authority.
    delay: Duration,
}

impl Round {
    fn draw(random: &mut Random, shorter: u32) -> Self {
        let millis = |number: usize| Duration::from_millis(number.try_into().unwrap());
        Self {
            stop: random.one_of(&STOPS) / shorter,
            after: millis(random.below(300)),
            fault: random.one_of(&[None, None, None, None, Some("busy"), Some("closed")]),
            delay: millis(random.below(600)),
        }
    }

    fn step(&self) -> Step {
        let step = match self.fault {
            Some("busy") => Step::status(503, "busy"),
            Some(_) => Step::closed_before(),
            None => Step::default(),
        };
        step.delayed(self.delay)
    }
}

/// The outcome of a round.
struct Ended {
    round: Round,
    /// The process was still running and was stopped.
    was_stopped: bool,
    in_flight: bool,
    is_alive: bool,
    was_refused: bool,
    afterwards: Duration,
    code: Option<i32>,
}

fn signal(pids: &[u32], name: &str) -> bool {
    let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
    let kill = Command::new("kill").arg(name).args(&pids).output();
    !pids.is_empty() && kill.unwrap().status.success()
}

fn play(machine: &mut Machine, round: Round) -> Ended {
    let world = World::expired(machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    world.authority.script(Endpoint::Refresh, round.step());
    let command = world.codex(["refresh"]).start();
    thread::sleep(round.after);
    // The transaction runs in a child of the command.
    let pids: Vec<u32> = children(command.id());
    let was_stopped = signal(&pids, "-STOP");
    let in_flight = world.requests() == 1;
    if was_stopped {
        thread::sleep(round.stop);
        signal(&pids, "-CONT");
    }
    let started = Instant::now();
    let code = command.wait_with_output().unwrap().status.code();
    let afterwards = started.elapsed();
    // The next command completes the rescue.
    let next = world.codex(["refresh"]).run();
    let is_alive =
        next.code == Some(0) && Some(world.stored_token("refresh_token")) == world.live_refresh_token();
    let was_refused = world.requests_with(Outcome::Refused) > 0;
    world.codex(["logout", "--local"]).run().expect(0);
    Ended { round, was_stopped, in_flight, is_alive, was_refused, afterwards, code }
}

#[test]
fn keeps_its_promises() {
    session::inside(here!(), || {
        let mut soak = Soak::begin(&["dead logins", "refused", "too long"]);
        let shorter = if std::env::var_os("SOAK_MINUTES").is_some() { 1 } else { SHORTER };
        let mut machines: Vec<_> = (1..LOGINS).map(|_| Machine::with_file()).collect();
        machines.push(Machine::with_keychain());
        while soak.has_time() {
            let rounds: Vec<_> = machines.iter().map(|_| Round::draw(&mut soak.random, shorter)).collect();
            let ended: Vec<_> = thread::scope(|scope| {
                let playing: Vec<_> = machines
                    .iter_mut()
                    .zip(rounds)
                    .map(|(machine, round)| scope.spawn(move || play(machine, round)))
                    .collect();
                playing.into_iter().map(|playing| playing.join().unwrap()).collect()
            });
            for ended in ended {
                let detail =
                    || format!("{:?}: exit {:?} after {:?}", ended.round, ended.code, ended.afterwards);
                soak.count("refreshes", 1);
                soak.count("stops", usize::from(ended.was_stopped));
                soak.count("stops in flight", usize::from(ended.was_stopped && ended.in_flight));
                soak.count("faults", usize::from(ended.round.fault.is_some()));
                soak.hold("dead logins", ended.is_alive, detail);
                soak.hold("refused", !ended.was_refused, detail);
                soak.hold("too long", ended.afterwards < AFTERWARDS, detail);
            }
        }
        soak.finish();
    });
}
