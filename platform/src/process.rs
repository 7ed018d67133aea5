//! Sessions, process groups, the environment of children, and the running processes of this user.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// A process of this user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningProcess {
    /// Its process id.
    pub pid: u32,
    /// Its program file, even if that was replaced since; the name it was called by if the process is closed to
    /// inspection.
    pub executable: PathBuf,
    /// The environment variable that the caller asked for.
    pub variable: ProcessVariable,
    /// The home directory of its user, in `HOME`.
    pub user_home: ProcessVariable,
}

/// An environment variable of another process, as it was when its program started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessVariable {
    /// Its value.
    Set(OsString),
    /// The variable is not set.
    Unset,
    /// Not readable: the process is closed to inspection, or this is macOS.
    Unreadable,
}

/// A process could not be signalled, or the processes could not be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number is not the process group of a child: it is 0, 1, our own group, or too large.
    #[error("{pid} is not the process group of a child; no signal was sent")]
    NotAGroup {
        /// The number.
        pid: u32,
    },
    /// The signal could not be sent.
    #[error("cannot signal the process {pid} or its group")]
    Signal {
        /// The process, or the leader of the group.
        pid: u32,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The processes cannot be listed.
    #[error("cannot list the running processes; is /proc mounted?")]
    List {
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// Starts the child in a new session, where no terminal sends it signals, and in a new process group, for
/// [`kill_group`]. Do not combine with [`start_in_new_group`], which would make the child fail to start.
pub fn start_in_new_session(command: &mut Command) -> &mut Command {
    let start = || rustix::process::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: only async-signal-safe code may run between fork and exec; this is one system call, and its error is a
    // number that is not allocated.
    unsafe { command.pre_exec(start) }
}

/// Removes `LD_*` and `DYLD_*` from the child's environment, so that the dynamic loader loads nothing else into it.
pub fn remove_loader_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"LD_") || bytes.starts_with(b"DYLD_") {
            command.env_remove(name);
        }
    }
    command
}

/// Returns a command that runs the program of this process again, under the name it was called by.
///
/// On Linux it runs the same image even after the file on disk was replaced or removed. On macOS, and on Linux if this
/// program was started through the dynamic loader (`ld.so PROGRAM`), it runs the file now at this program's path.
///
/// # Errors
/// Fails if `/proc` is not mounted.
pub fn own_command() -> io::Result<Command> {
    let mut command = Command::new(imp::program_path()?);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    Ok(command)
}

/// Returns the path of the file that this process runs, with symbolic links resolved. Another file, or none, may be
/// there now.
///
/// # Errors
/// Fails if `/proc` is not mounted.
pub fn own_executable() -> io::Result<PathBuf> {
    imp::own_executable()
}

/// Starts the child in a new process group of our session, for [`kill_group`].
pub fn start_in_new_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Kills a child that leads its own group, and all of its descendants that stayed in the group, with SIGKILL. Call
/// this before waiting for the child: afterwards its process id may belong to another process. A group that has ended
/// is no error.
///
/// # Errors
/// [`Error::NotAGroup`]; [`Error::Signal`].
pub fn kill_group(pid: u32) -> Result<(), Error> {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // The group 1 would mean every process.
    let Some(group) = group.filter(|group| !group.is_init() && group.as_raw_pid() != our_group()) else {
        return Err(Error::NotAGroup { pid });
    };
    match rustix::process::kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(Error::Signal { pid, source: error.into() }),
    }
}

/// A signal that a parent passes on to its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassedSignal {
    /// SIGALRM.
    Alarm,
    /// SIGHUP.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTERM.
    Terminate,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

/// Sends `signal` to the process `pid`, a child that was not waited for yet.
///
/// # Errors
/// [`Error::Signal`].
pub fn send_signal(pid: u32, signal: PassedSignal) -> Result<(), Error> {
    let number = match signal {
        PassedSignal::Alarm => Signal::ALARM,
        PassedSignal::Hangup => Signal::HUP,
        PassedSignal::Interrupt => Signal::INT,
        PassedSignal::Quit => Signal::QUIT,
        PassedSignal::Terminate => Signal::TERM,
        PassedSignal::User1 => Signal::USR1,
        PassedSignal::User2 => Signal::USR2,
    };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL);
    let sent = process.and_then(|process| rustix::process::kill_process(process, number));
    sent.map_err(|error| Error::Signal { pid, source: error.into() })
}

/// Waits until a child of this process has ended, without collecting it: its process id stays its own, and its group
/// can still be signalled.
///
/// # Errors
/// Fails if it is not a child of this process, or was collected already.
pub fn wait_for_exit(pid: u32) -> io::Result<()> {
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

/// Returns the process group of this process; 0 if its leader is outside this container, which rustix cannot
/// express.
fn our_group() -> libc::pid_t {
    // SAFETY: the call takes nothing, changes nothing and cannot fail.
    unsafe { libc::getpgrp() }
}

/// Returns the processes of this user, except this one, whose program file is called `program`, with the value that
/// the environment variable `variable` had when they started. Processes that start or end meanwhile may be missing;
/// so are those of other containers and those that a hardened `/proc` hides.
///
/// # Errors
/// [`Error::List`].
pub fn running_programs(program: &str, variable: &str) -> Result<Vec<RunningProcess>, Error> {
    imp::running(program, variable).map_err(|source| Error::List { source })
}

/// Returns the program file of a process of this user, even if that was replaced since; the name it was called by if the
/// process is closed to inspection. `None` if there is no such process.
#[must_use]
pub fn executable_of(pid: u32) -> Option<PathBuf> {
    imp::executable_of(pid)
}

/// Returns the effective user id of this process.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
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

    /// Returns the path that runs this program again. The link leads to the dynamic loader if that started the program.
    pub(super) fn program_path() -> io::Result<PathBuf> {
        let file = own_executable()?;
        Ok(if fs::read_link(OWN_LINK)? == file { PathBuf::from(OWN_LINK) } else { file })
    }

    /// Returns the file that this code was mapped from.
    pub(super) fn own_executable() -> io::Result<PathBuf> {
        let here = (own_executable as *const ()).addr();
        let maps = fs::read("/proc/self/maps")?;
        let found = maps.split(|byte| *byte == b'\n').find_map(|line| file_at(line, here));
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the file of a mapping that contains `address`: `start-end mode offset device inode   path`.
    fn file_at(line: &[u8], address: usize) -> Option<PathBuf> {
        let hex = |bytes: &[u8]| usize::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok();
        let range = line.split(|byte| *byte == b' ').next()?;
        let dash = range.iter().position(|byte| *byte == b'-')?;
        let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
        // Devices and inodes contain no slash, so the first one begins the path.
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
            // Skips processes that have ended meanwhile.
            if let Some(executable) = is_live_and_ours(&folder).then(|| executable(&folder)).flatten()
                && executable.file_name() == Some(OsStr::new(program))
            {
                let (variable, user_home) = (value_of(&folder, variable), value_of(&folder, "HOME"));
                found.push(RunningProcess { pid, executable, variable, user_home });
            }
        }
        Ok(found)
    }

    /// Returns whether a live process of this user has this folder. Reads `status`, which stays readable when root
    /// owns the rest.
    fn is_live_and_ours(folder: &Path) -> bool {
        let Ok(status) = fs::read_to_string(folder.join("status")) else { return false };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let effective = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1));
        let ended = field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
        !ended && effective.and_then(|id| id.parse().ok()) == Some(super::effective_uid())
    }

    pub(super) fn executable_of(pid: u32) -> Option<PathBuf> {
        let folder = Path::new("/proc").join(pid.to_string());
        is_live_and_ours(&folder).then(|| executable(&folder)).flatten()
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

    pub(super) fn program_path() -> io::Result<PathBuf> {
        own_executable()
    }

    pub(super) fn own_executable() -> io::Result<PathBuf> {
        std::env::current_exe()?.canonicalize()
    }

    /// Extra entries for processes that start between the count and the list.
    const SPARE_ENTRIES: usize = 64;

    pub(super) fn running(program: &str, _: &str) -> io::Result<Vec<RunningProcess>> {
        let mut found = Vec::new();
        for number in process_ids()? {
            let Ok(pid) = u32::try_from(number) else { continue };
            if pid == std::process::id() || owner(number) != Some(super::effective_uid()) {
                continue;
            }
            if let Some(executable) = executable(number)
                && executable.file_name() == Some(OsStr::new(program))
            {
                let (variable, user_home) = (ProcessVariable::Unreadable, ProcessVariable::Unreadable);
                found.push(RunningProcess { pid, executable, variable, user_home });
            }
        }
        Ok(found)
    }

    pub(super) fn executable_of(pid: u32) -> Option<PathBuf> {
        let pid = pid_t::try_from(pid).ok()?;
        (owner(pid) == Some(super::effective_uid())).then(|| executable(pid)).flatten()
    }

    fn process_ids() -> io::Result<Vec<pid_t>> {
        // SAFETY: without a buffer the call only counts.
        let count = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let mut process_ids: Vec<pid_t> = vec![0; count + SPARE_ENTRIES];
        let size = c_int::try_from(size_of_val(process_ids.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the buffer is of `size` bytes and outlives the call.
        let count = unsafe { libc::proc_listallpids(process_ids.as_mut_ptr().cast(), size) };
        process_ids.truncate(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
        Ok(process_ids)
    }

    fn owner(pid: pid_t) -> Option<u32> {
        let mut found = std::mem::MaybeUninit::<libc::proc_bsdinfo>::zeroed();
        let size = c_int::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
        // SAFETY: the buffer is of `size` bytes and outlives the call.
        let filled =
            unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, found.as_mut_ptr().cast(), size) };
        // SAFETY: the struct consists of numbers, for which zero is valid, and was filled in whole.
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
