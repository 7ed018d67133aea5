//! File events and processor times of macOS.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};

/// The name of [`on_rename`] in the report.
pub const FILE_EVENT: &str = "a bare loop over FSEvents: the event";

/// Calls `renamed` whenever a file `name` is changed in `folder`. Calls `ready` once it is watching.
pub fn on_rename(folder: &Path, name: &str, ready: impl FnOnce(), mut renamed: impl FnMut()) -> ! {
    let (sender, events) = channel();
    let mut watcher = notify::recommended_watcher(sender).unwrap();
    watcher.watch(folder, RecursiveMode::NonRecursive).unwrap();
    ready();
    loop {
        let event = events.recv().unwrap().unwrap();
        if event.paths.iter().any(|path| path.ends_with(name)) {
            renamed();
        }
    }
}

/// The processor time of a process's threads, in hundredths of a second.
pub fn processor_time(pid: u32) -> Duration {
    let output = Command::new("ps").args(["-o", "time=", "-p", &pid.to_string()]).output().unwrap();
    let time = String::from_utf8(output.stdout).unwrap();
    let (minutes, seconds) = time.trim().rsplit_once(':').unwrap();
    Duration::from_secs_f64(minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap())
}
