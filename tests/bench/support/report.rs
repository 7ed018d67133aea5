//! Times as a table: the median and the worst of each, and what was promised of the median.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Several runs of one thing.
#[derive(Default)]
pub struct Times(Vec<Duration>);

#[allow(dead_code, reason = "not every benchmark reports by itself")]
impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Does `work` and notes how long it took.
    pub fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.push(begun.elapsed());
        done
    }

    /// The time that half of the runs stay within; other users of the machine leave it alone, and not the mean.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[sorted.len() / 2]
    }

    pub fn worst(&self) -> Duration {
        self.0.iter().copied().max().unwrap()
    }
}

/// What was promised, kept until shown otherwise.
#[derive(Default)]
pub struct Promise(Kept);

#[derive(Clone, Copy, Default)]
enum Kept {
    #[default]
    Kept,
    Broken,
}

#[allow(dead_code, reason = "not every benchmark reports by itself")]
impl Promise {
    /// Says in words whether `times` keep within `limit`.
    pub fn judge(&mut self, times: &Times, limit: Duration) -> String {
        if times.median() <= limit {
            return format!("kept: {} at most", shown(limit));
        }
        self.0 = Kept::Broken;
        format!("BROKEN: {} at most", shown(limit))
    }

    /// What the benchmark ends with.
    pub fn exit(&self) -> ExitCode {
        match self.0 {
            Kept::Kept => ExitCode::SUCCESS,
            Kept::Broken => ExitCode::FAILURE,
        }
    }
}

#[allow(dead_code, reason = "not every benchmark reports by itself")]
pub fn header(what: &str) {
    println!("{what:<44} {:>10} {:>10}  promise", "median", "worst");
}

/// One line of the table; `promise` is empty where nothing was promised.
#[allow(dead_code, reason = "not every benchmark reports by itself")]
pub fn line(what: &str, times: &Times, promise: &str) {
    println!("{what:<44} {:>10} {:>10}  {promise}", shown(times.median()), shown(times.worst()));
}

fn shown(time: Duration) -> String {
    format!("{time:.1?}")
}
