//! Reports of times as a table: median, maximum, and whether the median is within its limit.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The times of several runs.
#[derive(Default)]
pub struct Times(Vec<Duration>);

#[allow(dead_code, reason = "not every benchmark uses it")]
impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Calls `work` and adds the time that it took.
    pub fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.push(started.elapsed());
        result
    }

    /// The median, which other load on the machine affects less than the mean.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[sorted.len() / 2]
    }

    pub fn maximum(&self) -> Duration {
        self.0.iter().copied().max().unwrap()
    }
}

/// Whether all limits were met so far.
#[derive(Default)]
pub struct Limits(LimitStatus);

#[derive(Clone, Copy, Default)]
enum LimitStatus {
    #[default]
    Met,
    Exceeded,
}

#[allow(dead_code, reason = "not every benchmark uses it")]
impl Limits {
    /// Compares the median with `limit`, and returns the result as text.
    pub fn check(&mut self, times: &Times, limit: Duration) -> String {
        if times.median() <= limit {
            return format!("met: {} at most", shown(limit));
        }
        self.0 = LimitStatus::Exceeded;
        format!("EXCEEDED: {} at most", shown(limit))
    }

    /// The exit code of the benchmark.
    pub fn exit(&self) -> ExitCode {
        match self.0 {
            LimitStatus::Met => ExitCode::SUCCESS,
            LimitStatus::Exceeded => ExitCode::FAILURE,
        }
    }
}

#[allow(dead_code, reason = "not every benchmark uses it")]
pub fn header(what: &str) {
    println!("{what:<44} {:>10} {:>10}  limit", "median", "maximum");
}

/// Prints one line of the table; `verdict` is empty if there is no limit.
#[allow(dead_code, reason = "not every benchmark uses it")]
pub fn line(what: &str, times: &Times, verdict: &str) {
    println!("{what:<44} {:>10} {:>10}  {verdict}", shown(times.median()), shown(times.maximum()));
}

fn shown(time: Duration) -> String {
    format!("{time:.1?}")
}
