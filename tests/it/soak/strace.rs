//! The system calls of one run, and the same run with one of them killed or failed by `strace`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::Run;

/// Calls on files, locks, sockets and processes. The question mark marks calls that some machines lack.
const CALLS: &str = "?open,openat,?openat2,read,pread64,readv,write,pwrite64,writev,fsync,fdatasync,ftruncate,\
    fallocate,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,linkat,symlinkat,fchmod,fchown,?chmod,flock,fcntl,\
    ?stat,?lstat,newfstatat,fstat,statx,lseek,?access,faccessat,faccessat2,?readlink,readlinkat,getdents64,fstatfs,\
    statfs,socket,connect,bind,sendto,sendmsg,recvfrom,recvmsg,shutdown,getsockopt,setsockopt,getsockname,\
    getpeername,close,clone,clone3,execve,wait4,exit_group";
/// Calls that do not fail on real systems, or whose failure the caller cannot see.
const NEVER_FAIL: [&str; 7] = ["close", "exit_group", "execve", "clone", "clone3", "wait4", "lseek"];
/// Calls that change the state that a kill leaves, beside those of [`FILE_CHANGES`].
const OTHER_CHANGES: [&str; 8] =
    ["fsync", "fdatasync", "fchmod", "flock", "connect", "sendto", "sendmsg", "recvfrom"];

/// Calls that change what is in a folder or a file.
const FILE_CHANGES: [&str; 15] = [
    "write",
    "pwrite64",
    "writev",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "linkat",
    "symlinkat",
    "fchown",
];

fn is_change(name: &str) -> bool {
    FILE_CHANGES.contains(&name) || OTHER_CHANGES.contains(&name)
}

/// One system call of a run: the `number`th of its name in its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub number: usize,
    /// The call as `strace` printed it.
    pub line: String,
    /// The previous call changed something, so a kill here leaves another state.
    pub is_after_change: bool,
}

impl Call {
    pub fn can_fail(&self) -> bool {
        let is_ours = ["pipe:", "anon_inode"].iter().any(|kind| self.line.contains(kind));
        !NEVER_FAIL.contains(&self.name.as_str()) && !is_ours
    }

    /// Whether a kill before it and one after it leave different files.
    pub fn changes_files(&self) -> bool {
        let is_file =
            !["pipe:", "socket:", "anon_inode", "/dev/"].iter().any(|kind| self.line.contains(kind));
        (FILE_CHANGES.contains(&self.name.as_str()) && is_file) || self.line.contains("O_CREAT")
    }

    /// Whether it changes a file or a lock, or makes a connection.
    pub fn is_change(&self) -> bool {
        let is_message = ["sendto", "sendmsg", "recvfrom"].contains(&self.name.as_str());
        (is_change(&self.name) && !is_message) || self.line.contains("O_CREAT")
    }
}

/// The calls that a trace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traced {
    /// From the lease on.
    UnderLease,
    All,
}

/// Runs `run`, and returns its calls from the lease on.
pub fn calls_under_lease(run: Run, trace: &Path) -> Vec<Call> {
    calls(run, trace, Traced::UnderLease)
}

/// Runs `run`, and returns its calls.
pub fn calls(run: Run, trace: &Path, traced: Traced) -> Vec<Call> {
    let option = format!("trace={CALLS}");
    let ended = run.through(["strace", "-f", "-yy", "-e", &option, "-o", trace.to_str().unwrap()]).run();
    assert_eq!(ended.code, Some(0), "{ended}");
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    let mut calls: Vec<Call> = Vec::new();
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap()).into_owned();
    let (mut is_leased, mut is_after_change) = (traced == Traced::All, true);
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim();
        let Some((name, _)) = call.split_once('(').filter(|(name, _)| is_name(name)) else { continue };
        let number = counts.entry((thread, name)).or_default();
        *number += 1;
        is_leased |= name == "flock" && call.contains("refresh.lock");
        let seen = |known: &Call| known.name == name && known.number == *number;
        if is_leased && !calls.iter().any(seen) {
            calls.push(Call {
                name: name.to_owned(),
                number: *number,
                line: call.to_owned(),
                is_after_change,
            });
        }
        is_after_change = is_change(name) || call.contains("O_CREAT");
    }
    assert!(!calls.is_empty(), "it never took the lease:\n{text}");
    calls
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The fault at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill,
    /// The process stops at the call until it gets SIGCONT.
    Stop,
    /// The call fails with this error and does nothing.
    Error(&'static str),
}

/// `run` with `fault` at `call`.
pub fn inject(run: Run, call: &Call, fault: Fault, trace: &Path) -> Run {
    let what = match fault {
        Fault::Kill => "signal=KILL".to_owned(),
        Fault::Stop => "signal=STOP".to_owned(),
        Fault::Error(name) => format!("error={name}"),
    };
    let option = format!("inject={}:{what}:when={}", call.name, call.number);
    let trace_option = format!("trace={}", call.name);
    let trace = trace.to_str().unwrap();
    run.through(["strace", "-f", "-yy", "-e", &trace_option, "-e", &option, "-o", trace])
}

/// The calls that were hit in the run that left `trace`.
pub fn injected(trace: &Path, fault: Fault) -> Vec<String> {
    let Ok(bytes) = fs::read(trace) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mark = match fault {
        Fault::Kill => "killed by SIGKILL",
        Fault::Stop => "stopped by SIGSTOP",
        Fault::Error(_) => "(INJECTED)",
    };
    text.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
}
