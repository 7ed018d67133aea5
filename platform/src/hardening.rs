//! What a program that holds secrets does to itself at its start, and how it starts a program of the user's all the same.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Something that [`harden`] could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Weakness {
    /// A crash may write the memory of this process to a file.
    #[error("core dumps cannot be turned off")]
    CoreDumps {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Other processes of this user may read its memory.
    #[error("this process cannot be closed to debuggers")]
    Inspection {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What [`harden`] changed and children inherit, as it was found.
#[derive(Debug, Clone, Copy)]
struct InheritedSettings {
    umask: Mode,
    core: Rlimit,
    file_size_signal: libc::sighandler_t,
}

static FOUND: OnceLock<InheritedSettings> = OnceLock::new();

/// Keeps the memory and the files of this process to itself for as long as it runs this program. Returns what could not be
/// done.
///
/// - No core dumps; on Linux no reading by other processes of the user, on macOS no debugger.
/// - Files are made for their owner alone (umask 077).
/// - A write beyond the limit on the size of files fails as one on a full disk does, where it would end the process
///   (SIGXFSZ).
///
/// For programs, at the start of `main`; a library has no business with the whole process. On Linux `/proc/PID` of the
/// process belongs to root afterwards. Children inherit the umask, the ignored signal and the limit on core dumps:
/// [`as_found`] spares them that.
pub fn harden() -> Vec<Weakness> {
    let core = getrlimit(Resource::Core);
    let none = Rlimit { current: Some(0), maximum: core.maximum };
    let core_dumps =
        setrlimit(Resource::Core, none).map_err(|error| Weakness::CoreDumps { source: error.into() });
    let inspection = imp::forbid_inspection().map_err(|source| Weakness::Inspection { source });
    // SAFETY: no handler of ours is installed, only the system's own way to ignore the signal, and no other thread runs
    // yet that could expect another.
    let file_size_signal = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let found = InheritedSettings { umask: umask(Mode::RWXG | Mode::RWXO), core, file_size_signal };
    // Of a second call nothing is kept: the first found what the user had set.
    let _ = FOUND.set(found);
    [core_dumps, inspection].into_iter().filter_map(Result::err).collect()
}

/// Has the child start as it would have without [`harden`]: for a program that is the user's business and not ours, the
/// files it makes among it.
pub fn as_found(command: &mut Command) -> &mut Command {
    let Some(found) = FOUND.get().copied() else { return command };
    let restore = move || {
        umask(found.umask);
        // SAFETY: what the signal did when this program was started; only the child is concerned, which has one thread.
        unsafe { libc::signal(libc::SIGXFSZ, found.file_size_signal) };
        setrlimit(Resource::Core, found.core).map_err(io::Error::from)
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may run; these are three system calls, and an
    // error is a number that is not allocated.
    unsafe { command.pre_exec(restore) }
}

/// Does `work` under the umask that [`harden`] found: for files that are meant to be seen, and for libraries that start
/// programs. What other threads make meanwhile has that mode too, unless they ask for one, as
/// [`private_file`](crate::private_file) does.
pub fn with_found_umask<T>(work: impl FnOnce() -> T) -> T {
    struct Restored(Mode);
    impl Drop for Restored {
        fn drop(&mut self) {
            umask(self.0);
        }
    }
    let _restored = FOUND.get().map(|found| Restored(umask(found.umask)));
    work()
}

#[cfg(target_os = "linux")]
mod imp {
    use std::io;

    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    pub(super) fn forbid_inspection() -> io::Result<()> {
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::io;

    pub(super) fn forbid_inspection() -> io::Result<()> {
        // SAFETY: this request looks at no address and changes nothing but who may trace us.
        let outcome = unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) };
        if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
