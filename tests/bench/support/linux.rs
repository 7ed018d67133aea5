//! File events and processor times of Linux.

use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;

/// The name of [`on_rename`] in the report.
pub const FILE_EVENT: &str = "a bare loop over inotify: the event";

/// Calls `renamed` whenever a file `name` is renamed into `folder`. Calls `ready` once it is watching.
pub fn on_rename(folder: &Path, name: &str, ready: impl FnOnce(), mut renamed: impl FnMut()) -> ! {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&events, folder, inotify::WatchFlags::MOVED_TO).unwrap();
    ready();
    let mut buffer = [MaybeUninit::uninit(); 4_096];
    let mut reader = inotify::Reader::new(&events, &mut buffer);
    loop {
        let event = reader.next().unwrap();
        if event.file_name().is_some_and(|file| file.to_bytes() == name.as_bytes()) {
            renamed();
        }
    }
}

/// The processor time of a process's threads, in nanoseconds.
pub fn processor_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}
