//! Protects a program that holds secrets, and starts the user's own programs without that protection.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// A protection that [`harden`] could not apply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardeningError {
    /// A crash may write the memory of this process to a file.
    #[error("core dumps cannot be turned off")]
    CoreDumps {
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Other processes of this user may read its memory.
    #[error("this process cannot be closed to debuggers")]
    Inspection {
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// The settings before [`harden`] that children would otherwise not inherit.
#[derive(Debug, Clone, Copy)]
struct InheritedSettings {
    umask: Mode,
    core: Rlimit,
    file_size_signal: libc::sighandler_t,
}

static INHERITED: OnceLock<InheritedSettings> = OnceLock::new();

/// Protects the memory and files of this process for as long as it runs this program. Returns what could not be
/// applied.
///
/// - No core dumps; on Linux, other processes of the user cannot read its memory; on macOS, no debugger can attach.
/// - New files belong to their owner alone (umask 077).
/// - A write beyond the file size limit fails like one on a full disk instead of ending the process (SIGXFSZ).
///
/// For programs, at the start of `main`; a library must not change the whole process. On Linux, root owns `/proc/PID`
/// of the process afterwards. Children inherit the umask, the ignored signal and the core dump limit unless they are
/// started with [`restore_inherited_settings`].
pub fn harden() -> Vec<HardeningError> {
    let core = getrlimit(Resource::Core);
    let none = Rlimit { current: Some(0), maximum: core.maximum };
    let core_dumps =
        setrlimit(Resource::Core, none).map_err(|error| HardeningError::CoreDumps { source: error.into() });
    let inspection = imp::forbid_inspection().map_err(|source| HardeningError::Inspection { source });
    // SAFETY: no handler is installed, the signal is only ignored, and no other thread runs yet that could expect a
    // handler.
    let file_size_signal = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let found = InheritedSettings { umask: umask(Mode::RWXG | Mode::RWXO), core, file_size_signal };
    // Ignored on a second call: the first one found the user's own settings.
    let _ = INHERITED.set(found);
    [core_dumps, inspection].into_iter().filter_map(Result::err).collect()
}

/// Closes this process to other processes of the user and to core dumps, until it runs another program by `exec`. Unlike
/// [`harden`], it changes nothing that the other program inherits.
///
/// # Errors
/// The system does not allow it. On macOS there is no such protection, and this does nothing.
pub fn forbid_inspection_until_exec() -> io::Result<()> {
    imp::forbid_inspection_until_exec()
}

/// Makes the child start with the settings from before [`harden`], for the user's own programs and the files they
/// create.
pub fn restore_inherited_settings(command: &mut Command) -> &mut Command {
    let Some(found) = INHERITED.get().copied() else { return command };
    let restore = move || {
        umask(found.umask);
        // SAFETY: restores the disposition from the start of this program, in the child only, which has one thread.
        unsafe { libc::signal(libc::SIGXFSZ, found.file_size_signal) };
        setrlimit(Resource::Core, found.core).map_err(io::Error::from)
    };
    // SAFETY: only async-signal-safe code may run between fork and exec; these are three system calls, and an error
    // is a number that is not allocated.
    unsafe { command.pre_exec(restore) }
}

/// Calls `work` under the umask from before [`harden`], for files that others may read and for libraries that start
/// programs. Files that other threads create meanwhile get that umask too, unless they set a mode, as
/// [`private_file`](crate::private_file) does.
pub fn with_inherited_umask<T>(work: impl FnOnce() -> T) -> T {
    struct Restored(Mode);
    impl Drop for Restored {
        fn drop(&mut self) {
            umask(self.0);
        }
    }
    let _restored = INHERITED.get().map(|found| Restored(umask(found.umask)));
    work()
}

#[cfg(target_os = "linux")]
mod imp {
    use std::io;

    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    pub(super) fn forbid_inspection() -> io::Result<()> {
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }

    pub(super) fn forbid_inspection_until_exec() -> io::Result<()> {
        // The kernel resets it when a program is run.
        forbid_inspection()
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::io;

    pub(super) fn forbid_inspection() -> io::Result<()> {
        // SAFETY: this request uses no address and changes only who may trace this process.
        let outcome = unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) };
        if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the same function as on Linux, where it can fail")]
    pub(super) fn forbid_inspection_until_exec() -> io::Result<()> {
        Ok(())
    }
}
