//! The values of the environment variables.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::error::Error;
use super::network::Network;
use super::overrides::Overrides;
use super::terminal_env::TerminalEnv;
use super::variables::{
    ACCESS_TOKEN, ACCOUNT, API_KEY, CLICOLOR_FORCE, CONFIG, HISTORY, HOME, KEYCHAIN_TIMEOUT, LOCK_TIMEOUT,
    LOG, NO_COLOR, PAGER, PATH, RUNTIME_FOLDER, SERVICE_VARIABLES, SOCKET, VARIABLES, Variable,
};
use crate::secret::Secret;

const DEFAULT_LOCK_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_KEYCHAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The values of the environment variables, read once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Environment {
    /// The folder of the login.
    pub home: HomeSetting,
    /// The name of the account in `CODEX_AUTH_ACCOUNT`.
    pub account: Option<String>,
    /// The API key in `CODEX_API_KEY`.
    pub api_key: Option<Secret>,
    /// The access token in `CODEX_ACCESS_TOKEN`.
    pub access_token: Option<Secret>,
    /// How long to wait for the lease.
    pub lock_timeout: Duration,
    /// The time limit of one keychain call.
    pub keychain_timeout: Duration,
    /// The addresses, certificates and proxies of requests.
    pub network: Network,
    /// Whether colours are allowed.
    pub colour: Colour,
    /// The search path for programs.
    pub path: OsString,
    /// The location of the user and the abilities of their terminal.
    pub terminal: TerminalEnv,
    /// The program in `PAGER`.
    pub pager: Option<OsString>,
    /// Overrides of `config.toml`.
    pub overrides: Overrides,
    /// The socket in `CODEX_AUTH_SOCKET`.
    pub socket: Option<PathBuf>,
    /// The folder for short-lived files of this user.
    pub runtime_folder: Option<PathBuf>,
    /// The log level.
    pub log: Option<LogLevel>,
    /// Whether events are recorded.
    pub history: HistorySetting,
    /// The names of the variables of [`VARIABLES`] that are set.
    pub variables_set: Vec<&'static str>,
    /// The variables that a service manager set for this process, with their values.
    pub service_variables: Vec<(&'static str, OsString)>,
}

/// Folders of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserFolders {
    /// The home directory.
    pub home: PathBuf,
    /// The configuration folder: `XDG_CONFIG_HOME`, or `.config` in the home directory.
    pub config: PathBuf,
}

impl UserFolders {
    /// Returns the folders of the user of this process, if the system knows them. It may query system services.
    #[must_use]
    pub fn of_process() -> Option<Self> {
        let folders = directories::BaseDirs::new()?;
        Some(Self { home: folders.home_dir().to_owned(), config: folders.config_dir().to_owned() })
    }

    /// Returns the default home of logins: `.codex` in the home directory.
    #[must_use]
    pub fn codex_home(&self) -> PathBuf {
        self.home.join(".codex")
    }
}

/// How much is logged. No level logs secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LogLevel {
    /// Errors.
    Error,
    /// Errors and warnings.
    Warn,
    /// And actions.
    Info,
    /// And the reasons of actions.
    Debug,
    /// And every read of a store.
    Trace,
}

impl LogLevel {
    fn from_name(word: &OsStr) -> Option<Self> {
        Some(match word.to_str()?.to_ascii_lowercase().as_str() {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }
}

/// Whether the events of a login are recorded in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller chooses one of the two")]
pub enum HistorySetting {
    /// They are.
    On,
    /// `CODEX_AUTH_HISTORY` is `off`. What is recorded already stays readable.
    Off,
}

impl HistorySetting {
    fn from_name(word: &OsStr) -> Option<Self> {
        Some(match word.to_str()?.to_ascii_lowercase().as_str() {
            "on" => Self::On,
            "off" => Self::Off,
            _ => return None,
        })
    }
}

/// The folder of the login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HomeSetting {
    /// The folder in `CODEX_HOME`, which must exist.
    Named(PathBuf),
    /// `.codex` in the home directory, created when something is saved.
    Default(PathBuf),
    /// `CODEX_HOME` is not set and the user has no home directory, as in a container with an arbitrary user id.
    Unknown,
}

/// Whether colours are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Colour {
    /// `CLICOLOR_FORCE` is set.
    Always,
    /// On a terminal.
    Auto,
    /// `NO_COLOR` is set.
    Never,
}

impl Environment {
    /// Returns whether `CODEX_HOME` is not set.
    #[must_use]
    pub fn is_default_home(&self) -> bool {
        !matches!(self.home, HomeSetting::Named(_))
    }

    /// Returns the defaults for the login in `home`, without any variable of this process: no proxy, no overrides, the
    /// authority of the login. A host application sets the fields that it wants otherwise.
    #[must_use]
    pub fn for_home(home: impl Into<PathBuf>) -> Self {
        Self {
            home: HomeSetting::Named(home.into()),
            account: None,
            api_key: None,
            access_token: None,
            lock_timeout: DEFAULT_LOCK_TIMEOUT,
            keychain_timeout: DEFAULT_KEYCHAIN_TIMEOUT,
            network: Network::default(),
            colour: Colour::Auto,
            path: OsString::new(),
            terminal: TerminalEnv::read(|_| None),
            pager: None,
            overrides: Overrides::default(),
            socket: None,
            runtime_folder: None,
            log: None,
            history: HistorySetting::On,
            variables_set: Vec::new(),
            service_variables: Vec::new(),
        }
    }

    /// Reads the variables of this process.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn of_process() -> Result<Self, Error> {
        // Each lookup by the system searches the whole environment, so all variables are read at once.
        let known = |name: &OsString| VARIABLES.iter().any(|variable| name == variable.name);
        let set: Vec<_> = std::env::vars_os().filter(|(name, _)| known(name)).collect();
        Self::read(|name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
    }

    /// Reads the variables from `lookup`. An empty variable counts as unset.
    ///
    /// # Errors
    /// - [`Error::Duration`]: a time limit is not a duration.
    /// - [`Error::LogLevel`]: `CODEX_AUTH_LOG` is not a log level.
    /// - [`Error::Switch`]: `CODEX_AUTH_HISTORY` is neither `on` nor `off`.
    /// - [`Error::Overrides`]: `CODEX_AUTH_CONFIG` cannot be parsed.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let value = |variable: Variable| lookup(variable.name).filter(|value| !value.is_empty());
        let limit = |variable: Variable, default: Duration| match value(variable) {
            Some(text) => duration(&text).ok_or(Error::Duration { name: variable.name }),
            None => Ok(default),
        };
        let home = match value(HOME) {
            Some(path) => HomeSetting::Named(path.into()),
            None => UserFolders::of_process()
                .map_or(HomeSetting::Unknown, |user| HomeSetting::Default(user.codex_home())),
        };
        let overrides = value(CONFIG).map(|text| Overrides::parse(&text.to_string_lossy())).transpose();
        let credential = |variable: Variable| {
            let text = value(variable)?.into_string().ok()?;
            Some(Secret::from(text.trim())).filter(|credential| !credential.is_empty())
        };
        Ok(Self {
            home,
            overrides: overrides.map_err(|error| Error::Overrides(Box::new(error)))?.unwrap_or_default(),
            account: value(ACCOUNT).map(|name| name.to_string_lossy().into_owned()),
            api_key: credential(API_KEY),
            access_token: credential(ACCESS_TOKEN),
            lock_timeout: limit(LOCK_TIMEOUT, DEFAULT_LOCK_TIMEOUT)?,
            keychain_timeout: limit(KEYCHAIN_TIMEOUT, DEFAULT_KEYCHAIN_TIMEOUT)?,
            network: Network::read(value),
            colour: match (value(NO_COLOR), value(CLICOLOR_FORCE)) {
                (Some(_), _) => Colour::Never,
                (None, Some(force)) if force != OsStr::new("0") => Colour::Always,
                _ => Colour::Auto,
            },
            path: value(PATH).unwrap_or_default(),
            terminal: TerminalEnv::read(value),
            pager: value(PAGER),
            socket: value(SOCKET).map(PathBuf::from),
            // The XDG specification requires relative paths to be ignored.
            runtime_folder: value(RUNTIME_FOLDER).map(PathBuf::from).filter(|path| path.is_absolute()),
            log: match value(LOG) {
                Some(word) => Some(LogLevel::from_name(&word).ok_or(Error::LogLevel { name: LOG.name })?),
                None => None,
            },
            history: match value(HISTORY) {
                Some(word) => HistorySetting::from_name(&word).ok_or(Error::Switch { name: HISTORY.name })?,
                None => HistorySetting::On,
            },
            variables_set: VARIABLES
                .iter()
                .filter(|known| value(**known).is_some())
                .map(|known| known.name)
                .collect(),
            service_variables: SERVICE_VARIABLES
                .iter()
                .filter_map(|known| Some((known.name, value(*known)?)))
                .collect(),
        })
    }
}

fn duration(text: &OsStr) -> Option<Duration> {
    let text = text.to_str()?.trim();
    let span = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text.parse().ok()?,
    };
    Duration::try_from(span).ok()
}

/// Returns the step at which a test stops this process, and the action there.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(crate) fn failpoint() -> Option<(String, String)> {
    let text = std::env::var("CODEX_AUTH_FAILPOINT").ok()?;
    text.split_once('=').map(|(step, action)| (step.to_owned(), action.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_that_is_read_is_in_the_table() {
        let asked = std::cell::RefCell::new(Vec::new());
        let _ = Environment::read(|name| {
            asked.borrow_mut().push(name.to_owned());
            None
        });
        let asked = asked.into_inner();
        assert!(asked.len() >= 20, "{asked:?}");
        for name in asked {
            assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
        }
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::read(|name| match name {
            "CODEX_HOME" => Some("/place".into()),
            "CODEX_AUTH_LOCK_TIMEOUT" => Some("2m".into()),
            "CODEX_AUTH_KEYCHAIN_TIMEOUT" => Some("7".into()),
            "NO_COLOR" => Some("".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(environment.home, HomeSetting::Named("/place".into()));
        assert_eq!(environment.lock_timeout, Duration::from_secs(120));
        assert_eq!(environment.keychain_timeout, Duration::from_secs(7));
        assert_eq!(environment.colour, Colour::Auto);
        for wrong in ["soon", "-1s", "1e9 years"] {
            let read = Environment::read(|name| (name == "CODEX_AUTH_LOCK_TIMEOUT").then(|| wrong.into()));
            assert!(matches!(read, Err(Error::Duration { name: "CODEX_AUTH_LOCK_TIMEOUT" })), "{wrong}");
        }
    }
}
