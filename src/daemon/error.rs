//! Why a daemon was not asked or not restarted.

use std::io;
use std::path::PathBuf;

/// An error of a request to Codex's daemon, or of its restart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket does not accept a connection, or another user listens there.
    #[error("cannot connect to Codex's daemon at {}: {source}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// There was no complete answer in time.
    #[error("Codex's daemon at {} does not respond", socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
    },
    /// The answer is not one of Codex's app-server, or is too large.
    #[error("invalid response from Codex's daemon at {}: {problem}", socket.display())]
    InvalidAnswer {
        /// The socket.
        socket: PathBuf,
        /// What is invalid.
        problem: String,
    },
    /// The process that listens at the socket is not Codex.
    #[error("{} (pid {pid}) listens at {}, the socket of Codex's daemon", executable.display(), socket.display())]
    NotCodex {
        /// The socket.
        socket: PathBuf,
        /// The process.
        pid: u32,
        /// Its program.
        executable: PathBuf,
    },
    /// The process was not started by Codex's command for its daemon, so that command does not restart it.
    #[error("the app-server at {} was not started as Codex's daemon", socket.display())]
    NotManaged {
        /// The socket.
        socket: PathBuf,
    },
    /// The folder and environment of the process cannot be read, so that it cannot be restarted as it was started.
    #[error("cannot read the environment of Codex's daemon (pid {pid}): {source}")]
    Unreadable {
        /// The daemon.
        pid: u32,
        /// The error of the system; of kind `Unsupported` on macOS.
        source: io::Error,
    },
    /// Codex's command cannot be run.
    #[error("cannot run {}: {source}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Codex's command failed.
    #[error("`{} app-server daemon restart` failed ({status})", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its exit status.
        status: String,
    },
    /// Codex's command has not ended; it goes on.
    #[error("`{} app-server daemon restart` has not ended after {seconds} s", program.display())]
    Unfinished {
        /// The program.
        program: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
}
