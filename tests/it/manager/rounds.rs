//! Round after round the token ends for every process at once, and each round costs one request and no failure.
//!
//! The processes live through all rounds. A round lets two hours pass, on the clock of each of them and on the
//! authority's, so that a token of an hour has ended for everybody, and nobody is held back for having received one a
//! moment ago.

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
use crate::support::{Actor, Machine, hear, here, part, tell};

/// By how many seconds the clocks go on from one round to the next.
pub const ROUND: i64 = 2 * 3_600;

/// Who takes part in a set of rounds, and under which rules.
#[derive(Clone, Copy)]
struct Rounds {
    rounds: i64,
    processes: usize,
    /// In each process.
    tasks: usize,
    /// The starts of one round are spread over this.
    spread: Duration,
    reuse: Reuse,
}

const HUNDRED: Rounds =
    Rounds { rounds: 100, processes: 2, tasks: 1, spread: Duration::ZERO, reuse: Reuse::RefusesToken };

impl Rounds {
    const fn of(self, processes: usize) -> Self {
        Self { processes, ..self }
    }

    /// Where one token that is sent twice ends the login for everybody, and so every round after it.
    const fn where_reuse_ends_the_family(self) -> Self {
        Self { reuse: Reuse::RevokesFamily, ..self }
    }

    fn in_the_file(self, test: &str) {
        match part() {
            Some(_) => play(),
            None => self.run(test, &mut Machine::with_file()),
        }
    }

    // Linux: items of others.
    #[cfg(target_os = "linux")]
    fn in_the_keychain(self, test: &str) {
        match part() {
            Some(_) => play(),
            None => crate::support::session::inside(test, || self.run(test, &mut Machine::with_keychain())),
        }
    }

    fn run(self, test: &str, machine: &mut Machine) {
        let world = World::fresh(machine);
        world.authority.adjust(|policy| policy.reuse = self.reuse);
        let mut actors: Vec<_> =
            (0..self.processes).map(|_| Actor::start(test, "process", &world.machine.home)).collect();
        for actor in &mut actors {
            actor.say(&world.authority.token_url());
        }
        actors.iter_mut().for_each(|actor| actor.await_word("ready"));
        for round in 1..=self.rounds {
            let passed = round * ROUND;
            world.authority.adjust(|policy| policy.clock_offset = passed);
            for (number, actor) in (0_u32..).zip(&mut actors) {
                let delay = self.spread * number / u32::try_from(self.processes).unwrap();
                actor.say(&format!("{passed} {} {}", delay.as_millis(), self.tasks));
            }
            let answers: Vec<_> = actors.iter_mut().map(Actor::next_word).collect();
            let token = Secret::from(world.kept("access_token").as_str()).fingerprint().to_string();
            assert!(answers.iter().all(|answer| *answer == token), "round {round}: {answers:?}, not {token}");
            assert_eq!(world.requests(), round.unsigned_abs());
        }
        assert_eq!(world.ended(Outcome::Granted), self.rounds.unsigned_abs());
        assert_eq!(Some(world.kept("refresh_token")), world.live());
        assert!(!world.has_rescue());
        actors.into_iter().for_each(Actor::finish);
    }
}

/// One process: in each round its tasks ask for the token all at once, and it tells whatever they got.
pub fn play() {
    let url = hear().unwrap();
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
    tell("ready");
    while let Some(round) = hear() {
        let words: Vec<i64> = round.split(' ').map(|word| word.parse().unwrap()).collect();
        let [now, delay, tasks] = words[..] else { panic!("{round}") };
        passed.store(now, Ordering::SeqCst);
        // The law is about starts at different times.
        thread::sleep(Duration::from_millis(delay.unsigned_abs()));
        let token = |manager: AuthManager| async move {
            match manager.token().await {
                Ok(token) => token.secret().unwrap().fingerprint().to_string(),
                Err(error) => error.to_string(),
            }
        };
        let tasks: Vec<_> = (0..tasks).map(|_| runtime.spawn(token(manager.clone()))).collect();
        let mut answers: Vec<_> = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).collect();
        answers.dedup();
        tell(&answers.join(", "));
    }
    runtime.block_on(manager.wait_idle());
}

#[test]
fn two_processes_send_one_request_a_round() {
    HUNDRED.of(2).in_the_file(here!());
}

#[test]
fn eight_processes_send_one_request_a_round() {
    HUNDRED.of(8).in_the_file(here!());
}

#[test]
fn sixty_four_processes_send_one_request_a_round() {
    HUNDRED.of(64).in_the_file(here!());
}

#[test]
fn two_processes_send_one_request_a_round_where_reuse_ends_the_family() {
    HUNDRED.of(2).where_reuse_ends_the_family().in_the_file(here!());
}

#[test]
fn eight_processes_send_one_request_a_round_where_reuse_ends_the_family() {
    HUNDRED.of(8).where_reuse_ends_the_family().in_the_file(here!());
}

#[test]
fn sixty_four_processes_of_sixty_four_tasks_send_one_request_a_round_where_reuse_ends_the_family() {
    Rounds { tasks: 64, ..HUNDRED.of(64).where_reuse_ends_the_family() }.in_the_file(here!());
}

// Linux: items of others.
#[cfg(target_os = "linux")]
#[test]
fn two_processes_with_a_keychain_send_one_request_a_round() {
    HUNDRED.of(2).in_the_keychain(here!());
}

// Linux: items of others.
#[cfg(target_os = "linux")]
#[test]
fn eight_processes_with_a_keychain_send_one_request_a_round_where_reuse_ends_the_family() {
    HUNDRED.of(8).where_reuse_ends_the_family().in_the_keychain(here!());
}

// Linux: items of others.
#[cfg(target_os = "linux")]
#[test]
fn sixty_four_processes_with_a_keychain_send_one_request_a_round_where_reuse_ends_the_family() {
    HUNDRED.of(64).where_reuse_ends_the_family().in_the_keychain(here!());
}

/// A hundred rounds on five machines side by side, since most of the time everybody waits for the next to start.
#[test]
fn processes_that_start_within_a_second_send_one_request_a_round() {
    let test = here!();
    if part().is_some() {
        return play();
    }
    let rounds = Rounds { rounds: 20, spread: Duration::from_secs(1), ..HUNDRED.of(8) };
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| rounds.run(test, &mut Machine::with_file()));
        }
    });
}
