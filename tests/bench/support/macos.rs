//! What only the kernel can tell, as macOS does.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};

/// The soonest notice that there is of a file that was renamed.
pub const SOONEST: &str = "a bare loop over FSEvents: the event";

/// Calls `heard` whenever a file of this name is changed in `folder`, after calling `begun` once it would hear of it.
pub fn hear(folder: &Path, name: &str, begun: impl FnOnce(), mut heard: impl FnMut()) -> ! {
    let (tell, told) = channel();
    let mut watcher = notify::recommended_watcher(tell).unwrap();
    watcher.watch(folder, RecursiveMode::NonRecursive).unwrap();
    begun();
    loop {
        let event = told.recv().unwrap().unwrap();
        if event.paths.iter().any(|path| path.ends_with(name)) {
            heard();
        }
    }
}

/// How long the threads of a process have had a processor, to the hundredth of a second.
pub fn work(pid: u32) -> Duration {
    let output = Command::new("ps").args(["-o", "time=", "-p", &pid.to_string()]).output().unwrap();
    let time = String::from_utf8(output.stdout).unwrap();
    let (minutes, seconds) = time.trim().rsplit_once(':').unwrap();
    Duration::from_secs_f64(minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap())
}
