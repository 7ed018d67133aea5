//! Random schedules, run for as long as `tests/soak NAME [--minutes N] [--seed S]` says; twenty seconds in `tests/run`.
//!
//! A scenario is a file here whose one test, `keeps_its_promises`, draws its operations from a [`Soak`].

use std::time::{Duration, Instant};

mod accounts;
// Linux: mounts and procfs.
#[cfg(target_os = "linux")]
mod containers;
mod fleet;
mod fleet_model;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod foreign;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod group;
mod keeper;
// Linux: strace.
#[cfg(target_os = "linux")]
mod kills;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod plan;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
pub mod publish;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod reads;
mod rounds;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod scene;
// Linux: strace.
#[cfg(target_os = "linux")]
pub mod strace;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod stops;
// Linux: strace.
#[cfg(target_os = "linux")]
mod sweep;
// Linux: procfs.
#[cfg(target_os = "linux")]
mod switches;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod writers;

/// The default without `SOAK_MINUTES`.
const SHORT: Duration = Duration::from_secs(20);

/// A deterministic random number generator (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let end = u64::try_from(end).unwrap();
        usize::try_from((mixed ^ (mixed >> 31)) % end).unwrap()
    }

    /// Returns a generator seeded from this one.
    // Linux: strace.
    #[cfg(target_os = "linux")]
    pub fn split(&mut self) -> Self {
        self.below(1);
        Self(self.0 ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Returns one of `choices`.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// One run of a scenario: random numbers, time limit, and result table.
pub struct Soak {
    pub random: Random,
    seed: u64,
    began: Instant,
    time: Duration,
    counts: Vec<(&'static str, u64)>,
    broken: Vec<(&'static str, u64)>,
}

impl Soak {
    /// Reads seed and time limit from the environment. `promises` are the names that [`Soak::hold`] accepts.
    pub fn begin(promises: &[&'static str]) -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
        let seed = number("SOAK_SEED").unwrap_or(1);
        let time = number("SOAK_MINUTES").map_or(SHORT, |minutes| Duration::from_secs(minutes * 60));
        let broken = promises.iter().map(|promise| (*promise, 0)).collect();
        Self { random: Random(seed), seed, began: Instant::now(), time, counts: Vec::new(), broken }
    }

    /// Whether `tests/soak` runs it, and not `tests/run`.
    pub fn is_long(&self) -> bool {
        self.time > SHORT
    }

    /// Whether there is time for another operation.
    pub fn has_time(&self) -> bool {
        !self.time_left().is_zero()
    }

    pub fn time_left(&self) -> Duration {
        self.time.saturating_sub(self.began.elapsed())
    }

    /// Adds to a row of the table. The rows are in the order of their first call.
    pub fn count(&mut self, what: &'static str, times: usize) {
        let times = u64::try_from(times).unwrap();
        match self.counts.iter_mut().find(|(row, _)| *row == what) {
            Some((_, sum)) => *sum += times,
            None => self.counts.push((what, times)),
        }
    }

    /// Counts a promise as broken unless it holds, and prints `detail` then.
    pub fn hold(&mut self, promise: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            self.broken.iter_mut().find(|(name, _)| *name == promise).expect(promise).1 += 1;
            println!("{promise}: {}", detail());
        }
    }

    /// Prints the table, and fails if a promise was broken.
    #[track_caller]
    pub fn finish(self) {
        println!("\nseed {}, {} s\n", self.seed, self.began.elapsed().as_secs());
        println!("| what | times |\n|---|---|");
        for (what, times) in self.counts.iter().chain(&self.broken) {
            println!("| {what} | {times} |");
        }
        assert!(self.broken.iter().all(|(_, times)| *times == 0), "a promise was broken");
    }
}

#[test]
fn the_same_seed_draws_the_same_numbers() {
    let draw = |seed| {
        let mut random = Random(seed);
        (0..100).map(|_| random.below(1_000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}
