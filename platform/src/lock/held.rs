//! Whether a lock is held, by what the system tells of locks, so that nothing has to be locked to find out.

use std::path::Path;

/// Whether a process that this one can see holds the lock at `path` exclusively.
///
/// Nothing is made, changed or locked, so that no other process finds the lock taken. A holder in another container, or one
/// that the system does not tell of, is not seen.
pub fn is_held(path: &Path) -> bool {
    imp::is_held(path).unwrap_or(false)
}

#[cfg(target_os = "linux")]
mod imp {
    //! Linux: the kernel lists the locks of all processes.

    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use crate::lock::holder;

    pub(super) fn is_held(path: &Path) -> Option<bool> {
        let found = std::fs::symlink_metadata(path).ok()?;
        let list = std::fs::read_to_string("/proc/locks").ok()?;
        let device = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
        let signed = holder(path).map(|holder| holder.pid);
        let is_it = |lock: Listed| {
            // Some file systems tell programs another device than they tell the kernel.
            lock.file == found.ino() && (lock.device == device || Some(lock.pid) == signed)
        };
        Some(list.lines().filter_map(Listed::read).any(is_it))
    }

    /// An exclusive `flock` that is held.
    #[derive(Debug, PartialEq, Eq)]
    struct Listed {
        pid: u32,
        device: (u32, u32),
        file: u64,
    }

    impl Listed {
        /// A line like `1: FLOCK  ADVISORY  WRITE 741 fe:00:8650785 0 EOF`; one who waits has an arrow after the number.
        fn read(line: &str) -> Option<Self> {
            let mut words = line.split_whitespace().skip(1);
            if (words.next()?, words.next()?, words.next()?) != ("FLOCK", "ADVISORY", "WRITE") {
                return None;
            }
            let pid = words.next()?.parse().ok()?;
            let mut file = words.next()?.split(':');
            let mut number = || u32::from_str_radix(file.next()?, 16).ok();
            let device = (number()?, number()?);
            Some(Self { pid, device, file: file.next()?.parse().ok()? })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_an_exclusive_lock_that_is_held_counts() {
            let listed = |line| Listed::read(line);
            let held = listed("1: FLOCK  ADVISORY  WRITE 741 fe:0a:8650785 0 EOF");
            assert_eq!(held, Some(Listed { pid: 741, device: (0xfe, 0x0a), file: 8_650_785 }));
            for other in [
                "1: -> FLOCK  ADVISORY  WRITE 742 fe:00:8650785 0 EOF",
                "2: FLOCK  ADVISORY  READ  741 fe:00:8650785 0 EOF",
                "3: POSIX  ADVISORY  WRITE 741 fe:00:8650785 0 EOF",
                "",
            ] {
                assert_eq!(listed(other), None, "{other}");
            }
        }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    //! macOS: locks of both kinds are in one list, and `F_GETLK` tells which one is in the way.

    use std::os::fd::AsRawFd;
    use std::path::Path;

    use crate::lock::attempt::opened;

    pub(super) fn is_held(path: &Path) -> Option<bool> {
        let file = opened(path).ok()??;
        let mut lock = libc::flock { l_start: 0, l_len: 0, l_pid: 0, l_type: libc::F_RDLCK, l_whence: 0 };
        // SAFETY: the descriptor is open, and the system reads and writes `lock` during the call only.
        let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
        (asked != -1).then_some(lock.l_type != libc::F_UNLCK)
    }
}
