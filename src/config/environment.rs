//! The table of all environment variables, and their values.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::{Error, Network, Overrides, TerminalEnv, duration};
use crate::secret::Secret;

/// An environment variable that this library or program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// The name.
    pub name: &'static str,
    /// The purpose, in one line.
    pub purpose: &'static str,
}

const HOME: Variable = Variable {
    name: "CODEX_HOME",
    purpose: "the folder of the login; it must exist (default: .codex in the home directory)",
};
const API_KEY: Variable = Variable {
    name: "CODEX_API_KEY",
    purpose: "an API key that `codex token` prints instead of the stored token",
};
const ACCESS_TOKEN: Variable = Variable {
    name: "CODEX_ACCESS_TOKEN",
    purpose: "a personal access token (at-…) or agent identity token, if CODEX_API_KEY is not set",
};
const LOCK_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_LOCK_TIMEOUT",
    purpose: "how long to wait for a process that is changing the login (default: 60s)",
};
const KEYCHAIN_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_KEYCHAIN_TIMEOUT",
    purpose: "how long one keychain call may take (default: 5s)",
};
pub(super) const REFRESH_URL: Variable = Variable {
    name: "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
    purpose: "the URL for refreshing tokens: https, or http to this machine",
};
pub(super) const REVOKE_URL: Variable = Variable {
    name: "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
    purpose: "the URL for revoking tokens (default: /oauth/revoke on the host of CODEX_REFRESH_TOKEN_URL_OVERRIDE)",
};
pub(super) const LOGIN_ISSUER: Variable = Variable {
    name: "CODEX_APP_SERVER_LOGIN_ISSUER",
    purpose: "the authority for new logins (default: https://auth.openai.com)",
};
pub(super) const AUTHAPI_URL: Variable = Variable {
    name: "CODEX_AUTHAPI_BASE_URL",
    purpose: "the base URL for checking personal access tokens (default: https://auth.openai.com/api/accounts)",
};
pub(super) const CA_CERTIFICATE: Variable = Variable {
    name: "CODEX_CA_CERTIFICATE",
    purpose: "a PEM file of certificates to trust in addition to those of the system",
};
pub(super) const SSL_CERT_FILE: Variable =
    Variable { name: "SSL_CERT_FILE", purpose: "the same, if CODEX_CA_CERTIFICATE is not set" };
pub(super) const SSL_CERT_DIR: Variable = Variable {
    name: "SSL_CERT_DIR",
    purpose: "a folder of certificates to trust in addition to those of the system; ignored on macOS",
};
pub(super) const HTTPS_PROXY: Variable =
    Variable { name: "HTTPS_PROXY", purpose: "the proxy for https requests: an http, https or socks5 URL" };
pub(super) const HTTPS_PROXY_LOWER: Variable =
    Variable { name: "https_proxy", purpose: "the same, if HTTPS_PROXY is not set" };
pub(super) const ALL_PROXY: Variable =
    Variable { name: "ALL_PROXY", purpose: "the same, if neither HTTPS_PROXY nor https_proxy is set" };
pub(super) const ALL_PROXY_LOWER: Variable =
    Variable { name: "all_proxy", purpose: "the same, if none of the three is set" };
pub(super) const NO_PROXY: Variable =
    Variable { name: "NO_PROXY", purpose: "hosts to connect to without a proxy, separated by commas" };
pub(super) const NO_PROXY_LOWER: Variable =
    Variable { name: "no_proxy", purpose: "the same, if NO_PROXY is not set" };
const SOCKET: Variable = Variable {
    name: "CODEX_AUTH_SOCKET",
    purpose: "the socket of the keeper that `codex token` asks (default: the one in CODEX_HOME)",
};
const LOG: Variable = Variable {
    name: "CODEX_AUTH_LOG",
    purpose: "the log level on stderr: error, warn, info, debug or trace; no level logs secrets",
};
const RUNTIME_FOLDER: Variable = Variable {
    name: "XDG_RUNTIME_DIR",
    purpose: "the folder of the keeper's socket if the path of CODEX_HOME is too long for one",
};
const NO_COLOR: Variable = Variable { name: "NO_COLOR", purpose: "turns colours off" };
pub(super) const CONFIG: Variable = Variable {
    name: "CODEX_AUTH_CONFIG",
    purpose: "overrides of config.toml, as TOML; -c sets it for the program's child processes",
};
pub(super) const VISITED: Variable = Variable {
    name: "CODEX_AUTH_VISITED",
    purpose: "the programs called codex that passed this command line on; set by the program itself",
};
pub(super) const PATH: Variable =
    Variable { name: "PATH", purpose: "the folders that are searched for other programs called codex" };

pub(super) const SSH_CONNECTION: Variable =
    Variable { name: "SSH_CONNECTION", purpose: "if set, the user is at another machine" };
pub(super) const SSH_TTY: Variable = Variable { name: "SSH_TTY", purpose: "the same" };
pub(super) const DISPLAY: Variable =
    Variable { name: "DISPLAY", purpose: "if set, a browser can open here, even over SSH" };
pub(super) const WAYLAND_DISPLAY: Variable = Variable { name: "WAYLAND_DISPLAY", purpose: "the same" };
pub(super) const TERM: Variable =
    Variable { name: "TERM", purpose: "the type of the terminal; `dumb` turns large graphics off" };
pub(super) const LC_ALL: Variable =
    Variable { name: "LC_ALL", purpose: "if it ends in UTF-8, the terminal shows Unicode" };
pub(super) const LC_CTYPE: Variable =
    Variable { name: "LC_CTYPE", purpose: "the same, if LC_ALL is not set" };
pub(super) const LANG: Variable =
    Variable { name: "LANG", purpose: "the same, if neither LC_ALL nor LC_CTYPE is set" };

/// The variables that a service manager sets for the processes it starts.
const SERVICE_VARIABLES: [Variable; 3] = [
    Variable {
        name: "NOTIFY_SOCKET",
        purpose: "the socket on which the keeper notifies systemd that it is ready; set by systemd",
    },
    Variable { name: "SYSTEMD_EXEC_PID", purpose: "the process that systemd started; set by systemd" },
    Variable { name: "XPC_SERVICE_NAME", purpose: "the agent that launchd started; set by launchd" },
];

/// All variables that this library and program read.
pub const VARIABLES: &[Variable] = &[
    HOME,
    API_KEY,
    ACCESS_TOKEN,
    LOCK_TIMEOUT,
    KEYCHAIN_TIMEOUT,
    SOCKET,
    LOG,
    RUNTIME_FOLDER,
    REFRESH_URL,
    REVOKE_URL,
    LOGIN_ISSUER,
    AUTHAPI_URL,
    CA_CERTIFICATE,
    SSL_CERT_FILE,
    SSL_CERT_DIR,
    HTTPS_PROXY,
    HTTPS_PROXY_LOWER,
    ALL_PROXY,
    ALL_PROXY_LOWER,
    NO_PROXY,
    NO_PROXY_LOWER,
    NO_COLOR,
    CONFIG,
    VISITED,
    PATH,
    SSH_CONNECTION,
    SSH_TTY,
    DISPLAY,
    WAYLAND_DISPLAY,
    TERM,
    LC_ALL,
    LC_CTYPE,
    LANG,
    SERVICE_VARIABLES[0],
    SERVICE_VARIABLES[1],
    SERVICE_VARIABLES[2],
];

/// The variables that hold a credential. Token commands do not inherit them.
pub const CREDENTIAL_VARIABLES: &[Variable] = &[API_KEY, ACCESS_TOKEN];

/// The values of the environment variables, read once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Environment {
    /// The folder of the login.
    pub home: HomeSetting,
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
    /// Overrides of `config.toml`.
    pub overrides: Overrides,
    /// The socket in `CODEX_AUTH_SOCKET`.
    pub socket: Option<PathBuf>,
    /// The folder for short-lived files of this user.
    pub runtime_folder: Option<PathBuf>,
    /// The log level.
    pub log: Option<LogLevel>,
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

/// The folder of the login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HomeSetting {
    /// The folder in `CODEX_HOME`, which must exist.
    Named(PathBuf),
    /// `.codex` in the home directory, created when something is saved.
    Default(PathBuf),
}

/// Whether colours are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// `NO_COLOR` is set.
    Never,
}

impl Environment {
    /// Returns whether `CODEX_HOME` is not set.
    #[must_use]
    pub fn is_default_home(&self) -> bool {
        matches!(self.home, HomeSetting::Default(_))
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
    /// - [`Error::Overrides`]: `CODEX_AUTH_CONFIG` cannot be parsed.
    /// - [`Error::NoHome`]: `CODEX_HOME` is not set and the user has no home directory.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let value = |variable: Variable| lookup(variable.name).filter(|value| !value.is_empty());
        let limit = |variable: Variable, default: Duration| match value(variable) {
            Some(text) => duration(&text).ok_or(Error::Duration { name: variable.name }),
            None => Ok(default),
        };
        let home = match value(HOME) {
            Some(path) => HomeSetting::Named(path.into()),
            None => {
                let base = directories::BaseDirs::new().ok_or(Error::NoHome)?;
                HomeSetting::Default(base.home_dir().join(".codex"))
            }
        };
        let overrides = value(CONFIG).map(|text| Overrides::parse(&text.to_string_lossy())).transpose();
        let credential = |variable: Variable| {
            let text = value(variable)?.into_string().ok()?;
            Some(Secret::from(text.trim())).filter(|credential| !credential.is_empty())
        };
        Ok(Self {
            home,
            overrides: overrides.map_err(|error| Error::Overrides(Box::new(error)))?.unwrap_or_default(),
            api_key: credential(API_KEY),
            access_token: credential(ACCESS_TOKEN),
            lock_timeout: limit(LOCK_TIMEOUT, Duration::from_secs(60))?,
            keychain_timeout: limit(KEYCHAIN_TIMEOUT, Duration::from_secs(5))?,
            network: Network::read(value),
            colour: if value(NO_COLOR).is_some() { Colour::Never } else { Colour::Auto },
            path: value(PATH).unwrap_or_default(),
            terminal: TerminalEnv::read(value),
            socket: value(SOCKET).map(PathBuf::from),
            // The XDG specification requires relative paths to be ignored.
            runtime_folder: value(RUNTIME_FOLDER).map(PathBuf::from).filter(|path| path.is_absolute()),
            log: match value(LOG) {
                Some(word) => Some(LogLevel::from_name(&word).ok_or(Error::LogLevel { name: LOG.name })?),
                None => None,
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

/// Returns the step at which a test stops this process, and the action there.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(crate) fn failpoint() -> Option<(String, String)> {
    let text = std::env::var("CODEX_AUTH_FAILPOINT").ok()?;
    text.split_once('=').map(|(step, action)| (step.to_owned(), action.to_owned()))
}
