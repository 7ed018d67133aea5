//! The process that holds a lock by the kernel's list, for programs that write no note.

use std::path::Path;

use super::note::Holder;

/// Returns the process that holds the lock on the file at `path`, where the system lists it: not if it runs in another
/// container.
pub fn holder(path: &Path) -> Option<Holder> {
    imp::holder(path)
}

#[cfg(target_os = "linux")]
mod imp {
    //! Linux: `/proc/locks`.

    use std::os::unix::fs::MetadataExt as _;

    use super::{Holder, Path};
    use crate::text::printable;

    pub(super) fn holder(path: &Path) -> Option<Holder> {
        let file = std::fs::symlink_metadata(path).ok()?;
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let pid = locks
            .lines()
            .find_map(|line| flock_of(line, &format!("{major:02x}:{minor:02x}:{}", file.ino())))?;
        let process = Path::new("/proc").join(pid.to_string());
        let name = std::fs::read_to_string(process.join("comm")).ok()?;
        let user = std::fs::metadata(process).ok()?.uid();
        let user = (user != rustix::process::geteuid().as_raw()).then_some(user);
        Some(Holder { pid, program: printable(name.trim_end(), 64), user })
    }

    /// Returns the process of a line such as `4: FLOCK  ADVISORY  WRITE 812 fe:00:5632 0 EOF`, if it is for this file. A
    /// process that waits for a lock has `->` after the number.
    fn flock_of(line: &str, file: &str) -> Option<u32> {
        let mut words = line.split_whitespace().skip(1);
        let is_flock = words.next()? == "FLOCK";
        let pid = words.nth(2)?.parse().ok().filter(|pid| *pid != 0);
        if is_flock && words.next()? == file { pid } else { None }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_the_holder_of_a_flock_on_the_file_is_found() {
            let file = "fe:00:5632";
            assert_eq!(flock_of("4: FLOCK  ADVISORY  WRITE 812 fe:00:5632 0 EOF", file), Some(812));
            for other in [
                "4: -> FLOCK  ADVISORY  WRITE 812 fe:00:5632 0 EOF",
                "4: POSIX  ADVISORY  WRITE 812 fe:00:5632 0 EOF",
                "4: FLOCK  ADVISORY  WRITE 0 fe:00:5632 0 EOF",
                "4: FLOCK  ADVISORY  WRITE 812 fe:00:56321 0 EOF",
                "",
            ] {
                assert_eq!(flock_of(other, file), None, "{other}");
            }
        }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    //! macOS has no list of locks.

    use super::{Holder, Path};

    pub(super) fn holder(_: &Path) -> Option<Holder> {
        None
    }
}
