//! Rounds in which the token expires for every process at once: each round takes one request and has no failure.
//!
//! The processes run through all rounds. In each round two hours pass on their clocks and the authority's, so that the
//! token has expired and the damper does not apply.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use codex_auth::manager::AuthManager;
use codex_auth::store::locate;
use codex_auth::{Clock, Environment, Secret};
use jiff::{SignedDuration, Timestamp};
use scripted_authority::{Outcome, Reuse};

use super::world::World;
use crate::support::{HelperProcess, Machine, here, read_word, report, role};

/// Seconds that pass from one round to the next.
pub const ROUND: i64 = 2 * 3_600;

/// The processes and rules of a set of rounds.
#[derive(Clone, Copy)]
struct Rounds {
    rounds: i64,
    processes: usize,
    /// Tasks per process.
    tasks: usize,
    /// Processes start a round at random times within this.
    spread: Duration,
    reuse: Reuse,
}

const HUNDRED: Rounds =
    Rounds { rounds: 100, processes: 2, tasks: 1, spread: Duration::ZERO, reuse: Reuse::RefusesToken };

impl Rounds {
    const fn of(self, processes: usize) -> Self {
        Self { processes, ..self }
    }

    /// The authority revokes the family when a token is sent twice.
    const fn where_reuse_ends_the_family(self) -> Self {
        Self { reuse: Reuse::RevokesFamily, ..self }
    }

    fn in_the_file(self, test: &str) {
        match role() {
            Some(_) => play(),
            None => self.run(test, &mut Machine::with_file()),
        }
    }

    // Linux: keychain items of other programs.
    #[cfg(target_os = "linux")]
    fn in_the_keychain(self, test: &str) {
        match role() {
            Some(_) => play(),
            None => crate::support::session::inside(test, || self.run(test, &mut Machine::with_keychain())),
        }
    }

    fn run(self, test: &str, machine: &mut Machine) {
        let world = World::fresh(machine);
        world.authority.adjust(|policy| policy.reuse = self.reuse);
        let mut actors: Vec<_> =
            (0..self.processes).map(|_| HelperProcess::start(test, "process", &world.machine.home)).collect();
        for actor in &mut actors {
            actor.send(&world.authority.token_url());
        }
        actors.iter_mut().for_each(|actor| actor.await_word("ready"));
        for round in 1..=self.rounds {
            let passed = round * ROUND;
            world.authority.adjust(|policy| policy.clock_offset = passed);
            for (number, actor) in (0_u32..).zip(&mut actors) {
                let delay = self.spread * number / u32::try_from(self.processes).unwrap();
                actor.send(&format!("{passed} {} {}", delay.as_millis(), self.tasks));
            }
            let answers: Vec<_> = actors.iter_mut().map(HelperProcess::next_word).collect();
            let token = Secret::from(world.stored_token("access_token").as_str()).fingerprint().to_string();
            assert!(answers.iter().all(|answer| *answer == token), "round {round}: {answers:?}, not {token}");
            assert_eq!(world.requests(), round.unsigned_abs());
        }
        assert_eq!(world.requests_with(Outcome::Granted), self.rounds.unsigned_abs());
        assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
        assert!(!world.has_rescue());
        actors.into_iter().for_each(HelperProcess::finish);
    }
}

/// One process: in each round all its tasks request the token, and it prints their results.
pub fn play() {
    let url = read_word().unwrap();
    let home = locate(&Environment::of_process().unwrap()).unwrap();
    let environment = Environment::read(|name| match name {
        "CODEX_HOME" => Some(home.path().into()),
        "CODEX_REFRESH_TOKEN_URL_OVERRIDE" => Some((&url).into()),
        _ => None,
    });
    let passed = Arc::new(AtomicI64::new(0));
    let clock = Clock::from_fn({
        let passed = Arc::clone(&passed);
        move || Timestamp::now() + SignedDuration::from_secs(passed.load(Ordering::SeqCst))
    });
    let manager = AuthManager::builder(home, environment.unwrap()).clock(clock).open().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    report("ready");
    while let Some(round) = read_word() {
        let words: Vec<i64> = round.split(' ').map(|word| word.parse().unwrap()).collect();
        let [now, delay, tasks] = words[..] else { panic!("{round}") };
        passed.store(now, Ordering::SeqCst);
        // The test is about different start times.
        thread::sleep(Duration::from_millis(delay.unsigned_abs()));
        let token = |manager: AuthManager| async move {
            match manager.token().await {
                Ok(token) => token.secret().fingerprint().to_string(),
                Err(error) => error.to_string(),
            }
        };
        let tasks: Vec<_> = (0..tasks).map(|_| runtime.spawn(token(manager.clone()))).collect();
        let mut answers: Vec<_> = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).collect();
        answers.dedup();
        report(&answers.join(", "));
    }
    runtime.block_on(manager.wait_idle());
}

#[test]
fn two_processes_send_one_request_per_round() {
    HUNDRED.of(2).in_the_file(here!());
}

#[test]
fn eight_processes_send_one_request_per_round() {
    HUNDRED.of(8).in_the_file(here!());
}

#[test]
fn sixty_four_processes_send_one_request_per_round() {
    HUNDRED.of(64).in_the_file(here!());
}

#[test]
fn two_processes_send_one_request_per_round_if_reuse_revokes_the_family() {
    HUNDRED.of(2).where_reuse_ends_the_family().in_the_file(here!());
}

#[test]
fn eight_processes_send_one_request_per_round_if_reuse_revokes_the_family() {
    HUNDRED.of(8).where_reuse_ends_the_family().in_the_file(here!());
}

#[test]
fn sixty_four_processes_of_sixty_four_tasks_send_one_request_per_round_if_reuse_revokes_the_family() {
    Rounds { tasks: 64, ..HUNDRED.of(64).where_reuse_ends_the_family() }.in_the_file(here!());
}

// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[test]
fn two_processes_with_a_keychain_send_one_request_per_round() {
    HUNDRED.of(2).in_the_keychain(here!());
}

// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[test]
fn eight_processes_with_a_keychain_send_one_request_per_round_if_reuse_revokes_the_family() {
    HUNDRED.of(8).where_reuse_ends_the_family().in_the_keychain(here!());
}

// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[test]
fn sixty_four_processes_with_a_keychain_send_one_request_per_round_if_reuse_revokes_the_family() {
    HUNDRED.of(64).where_reuse_ends_the_family().in_the_keychain(here!());
}

/// Rounds on five machines in parallel, because the processes mostly wait.
#[test]
fn processes_that_start_within_a_second_send_one_request_per_round() {
    let test = here!();
    if role().is_some() {
        return play();
    }
    let rounds = Rounds { rounds: 20, spread: Duration::from_secs(1), ..HUNDRED.of(8) };
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| rounds.run(test, &mut Machine::with_file()));
        }
    });
}
