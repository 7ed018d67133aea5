//! Sessions, process groups, what a child is started with, and what else of this user is running.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};

/// What is sent to a process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopSignal {
    /// SIGTERM: it may clean up, or not listen.
    Ask,
    /// SIGKILL: it ends.
    Force,
}

/// What became of a signal to a process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there was a group or there was not")]
pub enum Signalled {
    /// It was sent.
    Sent,
    /// There is no such group any more.
    Gone,
}

/// A process of this user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningProcess {
    /// Its process id.
    pub pid: u32,
    /// Its program file, even one that was replaced since; or the name that it was called by, where it is
    /// closed to us.
    pub executable: PathBuf,
    /// The environment variable that was asked for.
    pub variable: ProcessVariable,
}

/// An environment variable of another process, as it was when its program started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessVariable {
    /// Its value.
    Set(OsString),
    /// It has none.
    Unset,
    /// The system does not say: the process is closed to us, or this is macOS.
    Unreadable,
}

/// Why a process could not be signalled, or processes not be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number names no group of a child: it is 0, 1, our own group, or too large.
    #[error("{pid} is not the process group of a child; nothing was sent")]
    NotAGroup {
        /// The number.
        pid: u32,
    },
    /// The group was not signalled.
    #[error("cannot signal the process group {pid}")]
    Signal {
        /// The group.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no list of processes.
    #[error("cannot list the running processes; is /proc mounted?")]
    List {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Makes the child the leader of a session of its own: no terminal, and no signals from one. It leads a
/// process group of its own too, for [`end_group`]; not to be used with [`own_group`], after which it would
/// fail to start.
pub fn own_session(command: &mut Command) -> &mut Command {
    let start = || rustix::process::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec only what is safe in a signal handler may run; this is one system call,
    // and its error is a number that is not allocated.
    unsafe { command.pre_exec(start) }
}

/// Keeps what makes the dynamic loader load something else (`LD_*`, `DYLD_*`) from the child: it is to run what it is,
/// whatever was meant for somebody else.
pub fn without_loader_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"LD_") || bytes.starts_with(b"DYLD_") {
            command.env_remove(name);
        }
    }
    command
}

/// A command that runs the program of this process again, under the name it was called by.
///
/// On Linux it runs the same image even after the file on disk was replaced or removed. On macOS, and on Linux where a
/// loader was told to run this program, it runs what is at the path of this program now.
///
/// # Errors
/// The system does not say what this process runs: no `/proc` is mounted.
pub fn own_program() -> io::Result<Command> {
    let mut command = Command::new(imp::own_program()?);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    Ok(command)
}

/// The file that this process runs, by a path without links. The path may lead to another file by now, or to none.
///
/// # Errors
/// The system does not say what this process runs: no `/proc` is mounted.
pub fn own_file() -> io::Result<PathBuf> {
    imp::own_file()
}

/// Makes the child the leader of a process group of its own, in our session: for [`end_group`].
pub fn own_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Signals a child that leads its own group, and all of its descendants that stayed in the group. To be
/// called before the child is waited for: after that its number may belong to another.
///
/// # Errors
/// [`Error::NotAGroup`]; [`Error::Signal`].
pub fn end_group(pid: u32, how: StopSignal) -> Result<Signalled, Error> {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // The group 1 would be every process there is.
    let Some(group) = group.filter(|group| !group.is_init() && group.as_raw_pid() != our_group()) else {
        return Err(Error::NotAGroup { pid });
    };
    let signal = match how {
        StopSignal::Ask => rustix::process::Signal::TERM,
        StopSignal::Force => rustix::process::Signal::KILL,
    };
    match rustix::process::kill_process_group(group, signal) {
        Ok(()) => Ok(Signalled::Sent),
        Err(Errno::SRCH) => Ok(Signalled::Gone),
        Err(error) => Err(Error::Signal { pid, source: error.into() }),
    }
}

/// Waits until a child of this process has ended, and leaves it to be waited for: until then its number is its own, and its
/// group can still be signalled.
///
/// # Errors
/// It is no child of this process, or has been waited for.
pub fn await_end(pid: u32) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Zero where our group leads from outside of this container, which rustix cannot say.
fn our_group() -> libc::pid_t {
    // SAFETY: the call takes nothing, changes nothing and cannot fail.
    unsafe { libc::getpgrp() }
}

/// The processes of this user, other than this one, whose program file is called `program`, with the value
/// that the environment variable `variable` had when they started. Processes that come or go meanwhile may be
/// missed, and so are those of other containers and those that a hardened `/proc` hides.
///
/// # Errors
/// [`Error::List`].
pub fn running(program: &str, variable: &str) -> Result<Vec<RunningProcess>, Error> {
    imp::running(program, variable).map_err(|source| Error::List { source })
}

/// The effective user id of this process.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether there is a process of that number, be it another user's, or one that has ended and was not waited
/// for.
pub fn exists(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    matches!(rustix::process::test_kill_process(pid), Ok(()) | Err(Errno::PERM))
}

#[cfg(target_os = "linux")]
mod imp {
    use std::ffi::{OsStr, OsString};
    use std::fs;
    use std::io;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use super::{ProcessVariable, RunningProcess};

    /// Leads to the image that this process runs, even after its file was replaced or removed.
    const OWN_LINK: &str = "/proc/self/exe";

    /// Where a loader was told to run this program, the link leads to the loader.
    pub(super) fn own_program() -> io::Result<PathBuf> {
        let file = own_file()?;
        Ok(if fs::read_link(OWN_LINK)? == file { PathBuf::from(OWN_LINK) } else { file })
    }

    /// The file that this very code was mapped from.
    pub(super) fn own_file() -> io::Result<PathBuf> {
        let here = (own_file as *const ()).addr();
        let maps = fs::read("/proc/self/maps")?;
        let found = maps.split(|byte| *byte == b'\n').find_map(|line| file_at(line, here));
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The file of a mapping that `address` lies in: `start-end mode offset device inode   path`.
    fn file_at(line: &[u8], address: usize) -> Option<PathBuf> {
        let hex = |bytes: &[u8]| usize::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok();
        let range = line.split(|byte| *byte == b' ').next()?;
        let dash = range.iter().position(|byte| *byte == b'-')?;
        let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
        // A device or an inode has no slash, so the first one begins the path.
        let path = &line[line.iter().position(|byte| *byte == b'/')?..];
        (start <= address && address < end).then(|| PathBuf::from(OsStr::from_bytes(path)))
    }

    pub(super) fn running(program: &str, variable: &str) -> io::Result<Vec<RunningProcess>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if pid == std::process::id() {
                continue;
            }
            let folder = Path::new("/proc").join(name);
            // What has ended since is none of ours.
            if let Some(executable) = is_ours(&folder).then(|| executable(&folder)).flatten()
                && executable.file_name() == Some(OsStr::new(program))
            {
                found.push(RunningProcess { pid, executable, variable: value_of(&folder, variable) });
            }
        }
        Ok(found)
    }

    /// Whether a process of ours lives there. Asked of `status`, which stays readable when all else is
    /// root's.
    fn is_ours(folder: &Path) -> bool {
        let Ok(status) = fs::read_to_string(folder.join("status")) else { return false };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let effective = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1));
        let ended = field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
        !ended && effective.and_then(|id| id.parse().ok()) == Some(super::user())
    }

    fn executable(folder: &Path) -> Option<PathBuf> {
        if let Ok(path) = fs::read_link(folder.join("exe")) {
            let path = path.into_os_string().into_vec();
            let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
            return Some(PathBuf::from(OsStr::from_bytes(path)));
        }
        let arguments = fs::read(folder.join("cmdline")).ok()?;
        let first = arguments.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
        Some(PathBuf::from(OsStr::from_bytes(first)))
    }

    fn value_of(folder: &Path, variable: &str) -> ProcessVariable {
        let Ok(environment) = fs::read(folder.join("environ")) else { return ProcessVariable::Unreadable };
        let value = environment
            .split(|byte| *byte == 0)
            .find_map(|pair| pair.strip_prefix(variable.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")));
        value.map_or(ProcessVariable::Unset, |value| ProcessVariable::Set(OsString::from_vec(value.to_vec())))
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::ffi::{OsStr, OsString};
    use std::io;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use libc::{c_int, pid_t};

    use super::{ProcessVariable, RunningProcess};

    pub(super) fn own_program() -> io::Result<PathBuf> {
        own_file()
    }

    pub(super) fn own_file() -> io::Result<PathBuf> {
        std::env::current_exe()?.canonicalize()
    }

    /// For processes that start between the count and the list.
    const ROOM: usize = 64;

    pub(super) fn running(program: &str, _: &str) -> io::Result<Vec<RunningProcess>> {
        let mut found = Vec::new();
        for number in numbers()? {
            let Ok(pid) = u32::try_from(number) else { continue };
            if pid == std::process::id() || owner(number) != Some(super::user()) {
                continue;
            }
            if let Some(executable) = executable(number)
                && executable.file_name() == Some(OsStr::new(program))
            {
                found.push(RunningProcess { pid, executable, variable: ProcessVariable::Unreadable });
            }
        }
        Ok(found)
    }

    fn numbers() -> io::Result<Vec<pid_t>> {
        // SAFETY: without a buffer the call only counts.
        let count = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let mut numbers: Vec<pid_t> = vec![0; count + ROOM];
        let size = c_int::try_from(size_of_val(numbers.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the buffer is of `size` bytes and outlives the call.
        let count = unsafe { libc::proc_listallpids(numbers.as_mut_ptr().cast(), size) };
        numbers.truncate(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
        Ok(numbers)
    }

    fn owner(pid: pid_t) -> Option<u32> {
        let mut found = std::mem::MaybeUninit::<libc::proc_bsdinfo>::zeroed();
        let size = c_int::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
        // SAFETY: the buffer is of `size` bytes and outlives the call.
        let filled =
            unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, found.as_mut_ptr().cast(), size) };
        // SAFETY: it is made of numbers, for which zero is valid, and was filled in whole.
        (filled == size).then(|| unsafe { found.assume_init() }.pbi_uid)
    }

    fn executable(pid: pid_t) -> Option<PathBuf> {
        let size = u32::try_from(libc::PROC_PIDPATHINFO_MAXSIZE).ok()?;
        let mut path = vec![0_u8; usize::try_from(size).ok()?];
        // SAFETY: the buffer is of `size` bytes and outlives the call.
        let length = unsafe { libc::proc_pidpath(pid, path.as_mut_ptr().cast(), size) };
        path.truncate(usize::try_from(length).ok().filter(|length| *length > 0)?);
        Some(PathBuf::from(OsString::from_vec(path)))
    }
}
