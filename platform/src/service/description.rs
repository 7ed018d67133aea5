//! What a service manager needs to know of a service, and the commands that it is given.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::process;

/// A program that runs in the background while its user is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the caller makes it")]
pub struct Service {
    /// Its name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Its purpose, in one line.
    pub purpose: String,
    /// The absolute path of the program, and its arguments.
    pub command: Vec<OsString>,
    /// Environment variables besides the user's own.
    pub environment: Vec<(String, OsString)>,
    /// The folders that it writes to; systemd makes all others read-only.
    pub writable_folders: Vec<PathBuf>,
}

/// When an installed service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the next login, and at each one after.
    AtLogin,
    /// At once, and at each login.
    Now,
}

/// A command of a service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerCall(Vec<String>);

/// A service could not be described, installed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path or value that the description of a service cannot contain.
    #[error(
        "{text:?} cannot be used in a service description: it is not text, or contains line ends or quotes"
    )]
    Unwritable {
        /// The path or value.
        text: String,
    },
    /// The file could not be written or removed.
    #[error("cannot change {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The command of the service manager failed.
    #[error("`{call}` failed: {message}")]
    Call {
        /// The command.
        call: ManagerCall,
        /// The last line of its error output, or why it could not be run.
        message: String,
    },
}

impl ManagerCall {
    pub(super) fn new(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Runs the command to its end, without input.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn run(&self) -> Result<(), Error> {
        let failed = |message: String| Error::Call { call: self.clone(), message };
        let Some((program, arguments)) = self.0.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let ended = process::remove_loader_variables(&mut command)
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&ended.stderr);
        let last = message.lines().rev().find(|single_line| !single_line.trim().is_empty());
        Err(failed(
            last.map_or_else(|| ended.status.to_string(), |single_line| single_line.trim().to_owned()),
        ))
    }
}

impl fmt::Display for ManagerCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// Returns `text` if a file of lines can contain it.
pub(super) fn single_line(text: &OsStr) -> Result<&str, Error> {
    let unwritable = || Error::Unwritable { text: text.to_string_lossy().into_owned() };
    text.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(unwritable)
}
