//! A wrong wall clock, which a test can set while programs use it.

use std::fs;
use std::process::Command;

use super::Run;
use super::machine::now;

/// The library that replaces the wall clock of a program; the loader fills in the folder.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// The wall clock of the programs that it is applied to. The monotonic clock, which measures waits, is unchanged.
pub struct WallClock {
    folder: tempfile::TempDir,
}

impl WallClock {
    /// A clock that is ahead by this many seconds; negative is behind.
    pub fn ahead_by(seconds: i64) -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        clock.set(seconds);
        let date = Command::new("date").arg("+%s").envs(clock.variables()).output().unwrap().stdout;
        let date: i64 = String::from_utf8(date).unwrap().trim_end().parse().unwrap();
        assert!((date - now() - seconds).abs() < 60, "libfaketime is not installed");
        clock
    }

    /// Sets the clock of all these programs.
    pub fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(new, self.folder.path().join("clock")).unwrap();
    }

    /// `run` with this clock.
    pub fn apply_to(&self, run: Run) -> Run {
        self.variables().into_iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    fn variables(&self) -> [(&'static str, String); 5] {
        let yes = "1".to_owned();
        [
            ("LD_PRELOAD", FAKETIME.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.folder.path().join("clock").display().to_string()),
            ("FAKETIME_NO_CACHE", yes.clone()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", yes.clone()),
            ("NO_FAKE_STAT", yes),
        ]
    }
}
