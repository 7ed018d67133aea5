//! What only the kernel can tell, as Linux does.

use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;

/// The soonest notice that there is of a file that was renamed.
pub const SOONEST: &str = "a bare loop over inotify: the event";

/// Calls `heard` whenever a file of this name is renamed into `folder`, after calling `begun` once it would hear of it.
pub fn hear(folder: &Path, name: &str, begun: impl FnOnce(), mut heard: impl FnMut()) -> ! {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&events, folder, inotify::WatchFlags::MOVED_TO).unwrap();
    begun();
    let mut buffer = [MaybeUninit::uninit(); 4_096];
    let mut reader = inotify::Reader::new(&events, &mut buffer);
    loop {
        let event = reader.next().unwrap();
        if event.file_name().is_some_and(|told| told.to_bytes() == name.as_bytes()) {
            heard();
        }
    }
}

/// How long the threads of a process have had a processor, to the nanosecond.
pub fn work(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}
