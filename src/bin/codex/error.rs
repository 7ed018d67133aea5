//! The error of a command: one line, its hints and the exit code.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::process::ExitCode;

use codex_auth::accounts::{AccountName, AccountSet};
use codex_auth::error::Remedy;
use codex_auth::keeper::ExportError;
use codex_auth::manager::JobFailure;
use codex_auth::store::DocumentLocation;
use codex_auth::{ErrorKind, Home, config, login, manager, store};

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Failed, or not logged in.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Only a new login helps.
    LogInAgain = 3,
    /// The same command may succeed later.
    TryAgain = 4,
    /// No keychain, locked, not writable.
    StoreUnavailable = 5,
    /// Gave up waiting for a lock.
    LockTimeout = 6,
    /// A signal ended it.
    Interrupted = 130,
}

impl Exit {
    /// Each code with its meaning; 0 is not among them.
    pub(crate) const MEANINGS: [(Self, &str); 7] = [
        (Self::Failed, "failed, or not logged in"),
        (Self::Usage, "wrong usage"),
        (Self::LogInAgain, "log in again: the login is expired, revoked, refused or of another account"),
        (Self::TryAgain, "try again: the network or the server failed"),
        (
            Self::StoreUnavailable,
            "the store is unavailable: no keychain, a locked one, or a folder that cannot be written",
        ),
        (Self::LockTimeout, "gave up waiting for a lock that another process holds"),
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

/// The hint where no login is stored.
const EXPORT_OUTSIDE: &str = "export it on the machine of that keeper: codex sync export";
pub(crate) const LOG_IN_FIRST: &str = "log in first: codex login";

/// The hint where a keeper elsewhere should have replaced the login.
pub(crate) const KEEPER_ELSEWHERE: &str =
    "check the keeper on the machine that exports this login: codex sync status";

/// The command that hands in an access token.
pub(crate) const PIPE_AN_ACCESS_TOKEN: &str = "printenv CODEX_ACCESS_TOKEN | codex login --with-access-token";
/// The command that hands in an API key.
pub(crate) const PIPE_AN_API_KEY: &str = "printenv OPENAI_API_KEY | codex login --with-api-key";

/// Why a command failed. `Display` is one line.
#[derive(Debug)]
pub(crate) struct CommandError {
    exit: Exit,
    message: String,
    hints: Vec<String>,
    causes: Vec<String>,
    reported: bool,
    /// The exit code of a command that was run, instead of that of `exit`.
    code: Option<u8>,
}

/// The result of a command.
pub(crate) type CommandOutcome = Result<(), CommandError>;

impl CommandError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hints: Vec::new(),
            causes: Vec::new(),
            reported: false,
            code: None,
        }
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
            // Some messages include their cause.
            if !above.contains(&cause) {
                failed.causes.push(cause.clone());
            }
            above = cause;
        }
        match (kind, remedy.map(advice)) {
            (ErrorKind::NotLoggedIn, _) => failed.hint(LOG_IN_FIRST),
            (_, Some(advice)) => failed.hint(advice),
            (_, None) => failed,
        }
    }

    /// A failure that the output of the command shows already.
    pub(crate) fn reported(exit: Exit) -> Self {
        Self { reported: true, ..Self::new(exit, "") }
    }

    /// The end of a command that was run for the user, whose exit code is passed on.
    pub(crate) fn exited(code: u8) -> Self {
        Self::reported(Exit::Failed).with_code(code)
    }

    /// Sets the exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Adds a hint before the others.
    pub(crate) fn first_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.insert(0, hint.into());
        self
    }

    /// The error for a part of the program that cannot be started.
    pub(crate) fn cannot_start(what: &str, error: &io::Error) -> Self {
        Self::new(Exit::Failed, format!("cannot start {what}: {error}"))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Names `command` in hints that show other ways of `codex login`.
    pub(crate) fn for_command(mut self, command: &str) -> Self {
        for hint in &mut self.hints {
            for way in ["--with-", "--device-auth", "--no-browser"] {
                *hint = hint.replace(&format!("codex login {way}"), &format!("{command} {way}"));
            }
        }
        self
    }

    /// Replaces the hints.
    pub(crate) fn only_hint(self, hint: impl Into<String>) -> Self {
        Self { hints: vec![hint.into()], ..self }
    }

    pub(crate) fn kind(&self) -> Exit {
        self.exit
    }

    pub(crate) fn exit(&self) -> ExitCode {
        self.code().into()
    }

    pub(crate) fn code(&self) -> u8 {
        self.code.unwrap_or(self.exit as u8)
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

    pub(crate) fn is_reported(&self) -> bool {
        self.reported
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
        let hint = match &error {
            login::Error::PortsTaken(_) => {
                "end one of them, or log in with a device code: codex login --device-auth"
            }
            login::Error::NotAToken => PIPE_AN_ACCESS_TOKEN,
            login::Error::Store(store::Error::AnotherUser { .. }) => {
                "to keep both logins: codex account add NAME"
            }
            login::Error::Store(store::Error::LoggedInAlready { location }) => {
                let replace = match account_at(location) {
                    Some(name) => format!("codex login --account {name}"),
                    None => "codex login".to_owned(),
                };
                let hint = "to log in as another user, log out in the browser first; to replace that login";
                return Self::from(codex_auth::Error::from(error)).hint(format!("{hint}: {replace}"));
            }
            _ => return codex_auth::Error::from(error).into(),
        };
        Self::from(codex_auth::Error::from(error)).hint(hint)
    }
}

impl From<ExportError> for CommandError {
    fn from(error: ExportError) -> Self {
        let (exit, hint) = match &error {
            ExportError::NotLoggedIn => (Exit::Failed, Some(LOG_IN_FIRST)),
            ExportError::HandedIn => (Exit::Failed, Some(EXPORT_OUTSIDE)),
            ExportError::NotExported { .. } => {
                (Exit::Failed, Some("to see the exports: codex sync export list"))
            }
            ExportError::Lock(_) => (Exit::LockTimeout, None),
            ExportError::File(_) => (Exit::StoreUnavailable, None),
            _ => (Exit::Failed, None),
        };
        hint.into_iter().fold(Self::new(exit, error.to_string()), Self::hint)
    }
}

impl From<manager::Error> for CommandError {
    fn from(error: manager::Error) -> Self {
        codex_auth::Error::from(error).into()
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

/// Returns the name of the account whose login is at `location`.
fn account_at(location: &DocumentLocation) -> Option<AccountName> {
    let DocumentLocation::File(path) = location else { return None };
    let (_, account) = AccountSet::outer(&Home::at(path.parent()?).ok()?).ok()??;
    Some(account.name)
}

fn advice(remedy: Remedy) -> Cow<'static, str> {
    let advice = match remedy {
        Remedy::ChangeDisk => "set CODEX_HOME to a folder on a disk of this machine",
        Remedy::ChooseStore => "choose a store that keeps it: codex login --store file",
        Remedy::EndExport => {
            "on the machine of that keeper, log out, or end the export: codex sync export list"
        }
        Remedy::ForceLogout => "to remove it without revoking its tokens: codex logout --force",
        Remedy::FreeSpace => "free some space; the stored login is unchanged",
        Remedy::JoinAgain => {
            "on a host that has the new key: codex fleet invite; then here: codex fleet join"
        }
        Remedy::ResumeFleet => "to return to the fleet: codex fleet resume",
        Remedy::TryAgainSoon => "try again in about 20 seconds",
        Remedy::LogInOutside => "log in on the machine of the keeper, outside: codex login",
        Remedy::LogInAgain => "log in again to replace it: codex login",
        Remedy::LogOutThere => {
            "log out of the one that you do not want, or log in again: codex login --store STORE"
        }
        Remedy::MakeWritable => "make the folder and the file writable for this user",
        Remedy::MountFolder => "mount the folder into the container, not the file",
        Remedy::MountVolume => "mount the volume that the link leads to, or correct the link",
        Remedy::RestoreLink => {
            "mount the volume that it leads to, or remove the link; with accounts, replace it: codex account use NAME"
        }
        Remedy::ShareFile => {
            "store a login in a file, which both programs can read: codex login --store file"
        }
        Remedy::UnlockKeychain => {
            return "unlock the keychain, or store the login in a file: codex login --store file".into();
        }
        Remedy::UseFileStore => "without a keychain, store the login in a file: codex login --store file",
        Remedy::Wait => "wait until the other process has finished, then try again",
        _ => "see codex --help",
    };
    advice.into()
}
