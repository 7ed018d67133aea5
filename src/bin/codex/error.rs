//! How a command fails: one line, the hints that go with it, and the exit code.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::process::ExitCode;

use codex_auth::error::Remedy;
use codex_auth::manager::JobFailure;
use codex_auth::{ErrorKind, config, login, store};

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Failed, or not logged in.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Only a new login helps.
    LogInAgain = 3,
    /// The same again may work.
    TryAgain = 4,
    /// No keychain, locked, not writable.
    StoreUnavailable = 5,
    /// Gave up waiting for a lock.
    LockTimeout = 6,
    /// A person, or whoever ends processes, wanted it to end.
    Interrupted = 130,
}

impl Exit {
    /// Each of them, with what it means; success is none of them.
    pub(crate) const MEANINGS: [(Self, &str); 7] = [
        (Self::Failed, "failed, or not logged in"),
        (Self::Usage, "the command line makes no sense"),
        (
            Self::LogInAgain,
            "only a new login helps: the one there is expired, revoked, refused or of another account",
        ),
        (
            Self::TryAgain,
            "the same again may work: the network, or the authority, did not answer as it should",
        ),
        (
            Self::StoreUnavailable,
            "the store is unavailable: no keychain, a locked one, or nothing can be written",
        ),
        (Self::LockTimeout, "gave up waiting for another process that holds the login"),
        (Self::Interrupted, "interrupted"),
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::LogInAgain => "log-in-again",
            Self::TryAgain => "try-again",
            Self::StoreUnavailable => "store-unavailable",
            Self::LockTimeout => "lock-timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed. `Display` is the one line.
#[derive(Debug)]
pub(crate) struct CommandError {
    exit: Exit,
    message: String,
    hints: Vec<String>,
    causes: Vec<String>,
    told: bool,
}

/// The result of a command.
pub(crate) type CommandOutcome = Result<(), CommandError>;

impl CommandError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new(), causes: Vec::new(), told: false }
    }

    fn sorted(
        kind: ErrorKind,
        message: String,
        causes: impl IntoIterator<Item = String>,
        remedy: Option<Remedy>,
    ) -> Self {
        let exit = match kind {
            ErrorKind::LockTimeout => Exit::LockTimeout,
            ErrorKind::LogInAgain => Exit::LogInAgain,
            ErrorKind::StoreUnavailable => Exit::StoreUnavailable,
            ErrorKind::TryAgain => Exit::TryAgain,
            _ => Exit::Failed,
        };
        let mut failed = Self::new(exit, message);
        let mut above = failed.message.clone();
        for cause in causes {
            // A message may already tell its own cause.
            if !above.contains(&cause) {
                failed.causes.push(cause.clone());
            }
            above = cause;
        }
        match remedy.map(advice) {
            Some(advice) => failed.hint(advice),
            None => failed,
        }
    }

    /// A failure that the command's own report has told already.
    pub(crate) fn told(exit: Exit) -> Self {
        Self { told: true, ..Self::new(exit, "") }
    }

    /// The system refused something that the command needs from its beginning on.
    pub(crate) fn cannot_start(what: &str, error: &io::Error) -> Self {
        Self::new(Exit::Failed, format!("cannot start {what}: {error}"))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn kind(&self) -> Exit {
        self.exit
    }

    pub(crate) fn exit(&self) -> ExitCode {
        self.exit.into()
    }

    pub(crate) fn code(&self) -> u8 {
        self.exit as u8
    }

    pub(crate) fn word(&self) -> &'static str {
        self.exit.word()
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    pub(crate) fn causes(&self) -> &[String] {
        &self.causes
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<codex_auth::Error> for CommandError {
    fn from(error: codex_auth::Error) -> Self {
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        Self::sorted(error.kind(), error.to_string(), causes.map(ToString::to_string), error.remedy())
    }
}

impl From<JobFailure> for CommandError {
    fn from(failure: JobFailure) -> Self {
        Self::sorted(failure.kind, failure.message, failure.causes, failure.remedy)
    }
}

impl From<login::Error> for CommandError {
    fn from(error: login::Error) -> Self {
        let needs_no_port = matches!(error, login::Error::PortsTaken(_));
        let error = Self::from(codex_auth::Error::from(error));
        if needs_no_port {
            return error.hint("end one of them, or sign in with a code instead: codex login --device-auth");
        }
        error
    }
}

impl From<store::Error> for CommandError {
    fn from(error: store::Error) -> Self {
        codex_auth::Error::from(error).into()
    }
}

impl From<config::Error> for CommandError {
    fn from(error: config::Error) -> Self {
        codex_auth::Error::from(error).into()
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, format!("cannot write the output: {error}"))
    }
}

fn advice(remedy: Remedy) -> Cow<'static, str> {
    let advice = match remedy {
        Remedy::ChangeDisk => "set CODEX_HOME to a folder on a disk of this machine",
        Remedy::ChooseStore => "name one that lasts, for example: codex login --store file",
        Remedy::ForceLogout => "to remove it without revoking its tokens: codex logout --force",
        Remedy::FreeSpace => "free some space; the login that was there is untouched",
        Remedy::LogInAgain => "log in again to replace it: codex login",
        Remedy::LogOutThere => {
            "remove the one that is not wanted, or log in again where you want it: codex login --store STORE"
        }
        Remedy::MakeWritable => "make the folder and the file writable for this user",
        Remedy::MountFolder => "mount the folder of the login into the container, not the file",
        Remedy::UnlockKeychain => {
            return "unlock the keychain, or keep the login in a file: codex login --store file".into();
        }
        Remedy::UseFileStore => {
            "where there is no keychain, keep the login in a file: codex login --store file"
        }
        Remedy::Wait => "wait until the other program has finished, then try again",
        _ => "see `codex --help`",
    };
    advice.into()
}
