//! Every environment variable that is honoured, in one table, and what they say.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::{Error, Network, Overrides, TerminalEnv, duration};
use crate::secret::Secret;

/// A variable that is honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub purpose: &'static str,
}

const HOME: Variable = Variable {
    name: "CODEX_HOME",
    purpose: "the folder of the login; it must exist (default: .codex in the home directory)",
};
const API_KEY: Variable = Variable {
    name: "CODEX_API_KEY",
    purpose: "an API key that `codex token` gives out in place of what is stored",
};
const ACCESS_TOKEN: Variable = Variable {
    name: "CODEX_ACCESS_TOKEN",
    purpose: "a personal access token (at-…) or agent identity token, where CODEX_API_KEY is not set",
};
const LOCK_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_LOCK_TIMEOUT",
    purpose: "how long to wait for another process that holds the login (default: 60s)",
};
const KEYCHAIN_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_KEYCHAIN_TIMEOUT",
    purpose: "how long one keychain call may take (default: 5s)",
};
pub(super) const REFRESH_URL: Variable = Variable {
    name: "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
    purpose: "where tokens are refreshed: an https address, or an http one of this machine",
};
pub(super) const REVOKE_URL: Variable = Variable {
    name: "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
    purpose: "where tokens are revoked (default: /oauth/revoke on the host of the variable above)",
};
pub(super) const LOGIN_ISSUER: Variable = Variable {
    name: "CODEX_APP_SERVER_LOGIN_ISSUER",
    purpose: "the authority that a new login is made at (default: https://auth.openai.com)",
};
pub(super) const AUTHAPI_URL: Variable = Variable {
    name: "CODEX_AUTHAPI_BASE_URL",
    purpose: "where personal access tokens are looked up (default: https://auth.openai.com/api/accounts)",
};
pub(super) const CA_CERTIFICATE: Variable = Variable {
    name: "CODEX_CA_CERTIFICATE",
    purpose: "a PEM file of certificates to trust besides those of the system",
};
pub(super) const SSL_CERT_FILE: Variable =
    Variable { name: "SSL_CERT_FILE", purpose: "the same, where CODEX_CA_CERTIFICATE is not set" };
pub(super) const SSL_CERT_DIR: Variable = Variable {
    name: "SSL_CERT_DIR",
    purpose: "a folder of certificates to trust besides those of the system; macOS ignores it",
};
pub(super) const HTTPS_PROXY: Variable =
    Variable { name: "HTTPS_PROXY", purpose: "the way to the authority: an http, https or socks5 address" };
pub(super) const HTTPS_PROXY_LOWER: Variable =
    Variable { name: "https_proxy", purpose: "the same, where HTTPS_PROXY is not set" };
pub(super) const ALL_PROXY: Variable =
    Variable { name: "ALL_PROXY", purpose: "the same, where neither of the two is set" };
pub(super) const ALL_PROXY_LOWER: Variable =
    Variable { name: "all_proxy", purpose: "the same, where none of the three is set" };
pub(super) const NO_PROXY: Variable =
    Variable { name: "NO_PROXY", purpose: "hosts that are reached without a proxy, separated by commas" };
pub(super) const NO_PROXY_LOWER: Variable =
    Variable { name: "no_proxy", purpose: "the same, where NO_PROXY is not set" };
const SOCKET: Variable = Variable {
    name: "CODEX_AUTH_SOCKET",
    purpose: "the socket of a keeper to ask for tokens, and for nothing else (default: that of the folder above)",
};
const LOG: Variable = Variable {
    name: "CODEX_AUTH_LOG",
    purpose: "what to log on stderr: error, warn, info, debug or trace, no secrets in any",
};
const RUNTIME_FOLDER: Variable = Variable {
    name: "XDG_RUNTIME_DIR",
    purpose: "where the keeper's socket is when the path of CODEX_HOME is too long for one",
};
const NO_COLOR: Variable =
    Variable { name: "NO_COLOR", purpose: "no colour on a terminal when it is not empty" };
pub(super) const CONFIG: Variable = Variable {
    name: "CODEX_AUTH_CONFIG",
    purpose: "keys of config.toml that count before the file, as TOML; set by -c for the program's own children",
};
pub(super) const VISITED: Variable = Variable {
    name: "CODEX_AUTH_VISITED",
    purpose: "the programs called codex that handed this command line on; set by the program itself",
};
pub(super) const PATH: Variable =
    Variable { name: "PATH", purpose: "where other programs called codex are looked for" };

pub(super) const SSH_CONNECTION: Variable =
    Variable { name: "SSH_CONNECTION", purpose: "says that the person is at another machine" };
pub(super) const SSH_TTY: Variable = Variable { name: "SSH_TTY", purpose: "the same" };
pub(super) const DISPLAY: Variable =
    Variable { name: "DISPLAY", purpose: "a screen on which a browser can open, over SSH too" };
pub(super) const WAYLAND_DISPLAY: Variable = Variable { name: "WAYLAND_DISPLAY", purpose: "the same" };
pub(super) const TERM: Variable = Variable { name: "TERM", purpose: "what the terminal can show" };
pub(super) const LC_ALL: Variable =
    Variable { name: "LC_ALL", purpose: "whether the terminal shows Unicode: a name that ends in UTF-8" };
pub(super) const LC_CTYPE: Variable =
    Variable { name: "LC_CTYPE", purpose: "the same, where LC_ALL is not set" };
pub(super) const LANG: Variable =
    Variable { name: "LANG", purpose: "the same, where neither of the two is set" };

/// By these a service manager marks the processes that it starts.
const SERVICE: [Variable; 3] = [
    Variable {
        name: "NOTIFY_SOCKET",
        purpose: "where the keeper tells systemd that it is ready; set by systemd",
    },
    Variable { name: "SYSTEMD_EXEC_PID", purpose: "the process that systemd has started; set by systemd" },
    Variable { name: "XPC_SERVICE_NAME", purpose: "the agent that launchd has started; set by launchd" },
];

/// Every variable that is honoured.
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
    SERVICE[0],
    SERVICE[1],
    SERVICE[2],
];

/// Those that hold a credential; a command that gives tokens does not inherit them.
pub const CREDENTIALS: &[Variable] = &[API_KEY, ACCESS_TOKEN];

/// The environment of the process, read once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Environment {
    /// Where the login belongs.
    pub home: HomeSetting,
    /// The API key that the user has set.
    pub api_key: Option<Secret>,
    /// The access token that the user has set.
    pub access_token: Option<Secret>,
    /// How long to wait for the lease.
    pub lock_timeout: Duration,
    /// How long one keychain call may take.
    pub keychain_timeout: Duration,
    /// How the authority is reached.
    pub network: Network,
    /// Whether the user asked for no colour.
    pub colour: Colour,
    /// The search path for programs.
    pub path: OsString,
    /// Where the person is, and what they can be shown.
    pub surroundings: TerminalEnv,
    /// What counts before `config.toml`.
    pub overrides: Overrides,
    /// The keeper to ask, where the user names one.
    pub socket: Option<PathBuf>,
    /// Where short-lived files of this user belong.
    pub runtime_folder: Option<PathBuf>,
    /// What is to be logged.
    pub log: Option<LogLevel>,
    /// The names of the variables in the table that are set.
    pub set: Vec<&'static str>,
    /// The variables by which a service manager marks the processes that it starts, with their values.
    pub service: Vec<(&'static str, OsString)>,
}

/// Folders of the user, whatever place is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserFolders {
    /// The home directory.
    pub home: PathBuf,
    /// Where configuration belongs: `.config` in it, or what XDG says.
    pub config: PathBuf,
}

impl UserFolders {
    /// Those of the user whom this process runs as, if the system knows them. It may have to ask services of the system.
    #[must_use]
    pub fn of_process() -> Option<Self> {
        let folders = directories::BaseDirs::new()?;
        Some(Self { home: folders.home_dir().to_owned(), config: folders.config_dir().to_owned() })
    }
}

/// How much is logged. Nothing secret is at any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// And what may.
    Warn,
    /// And what was done.
    Info,
    /// And why.
    Debug,
    /// And every look.
    Trace,
}

impl LogLevel {
    fn named(word: &OsStr) -> Option<Self> {
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

/// Which folder the user means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HomeSetting {
    /// `CODEX_HOME` names it, so it must exist.
    Named(PathBuf),
    /// `.codex` in the home directory, made when something is saved.
    Default(PathBuf),
}

/// Whether colour may be used where there is a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// `NO_COLOR` is set.
    Never,
}

impl Environment {
    /// Whether the login is the one that programs without `CODEX_HOME` use.
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
        // Each lookup by the system walks through the whole environment; this is one walk for all of them.
        let known = |name: &OsString| VARIABLES.iter().any(|variable| name == variable.name);
        let set: Vec<_> = std::env::vars_os().filter(|(name, _)| known(name)).collect();
        Self::read(|name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
    }

    /// Reads the variables that `lookup` answers for. An empty variable counts as unset.
    ///
    /// # Errors
    /// - [`Error::Duration`]: a time limit cannot be read.
    /// - [`Error::LogLevel`]: it is none.
    /// - [`Error::Overrides`]: `CODEX_AUTH_CONFIG` cannot be read.
    /// - [`Error::NoHome`]: neither `CODEX_HOME` nor a home directory is known.
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
            surroundings: TerminalEnv::read(value),
            socket: value(SOCKET).map(PathBuf::from),
            // The specification has relative paths ignored.
            runtime_folder: value(RUNTIME_FOLDER).map(PathBuf::from).filter(|path| path.is_absolute()),
            log: match value(LOG) {
                Some(word) => Some(LogLevel::named(&word).ok_or(Error::LogLevel { name: LOG.name })?),
                None => None,
            },
            set: VARIABLES.iter().filter(|known| value(**known).is_some()).map(|known| known.name).collect(),
            service: SERVICE.iter().filter_map(|known| Some((known.name, value(*known)?))).collect(),
        })
    }
}

/// The step at which a test stops this process, and how.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(crate) fn failpoint() -> Option<(String, String)> {
    let text = std::env::var("CODEX_AUTH_FAILPOINT").ok()?;
    text.split_once('=').map(|(step, action)| (step.to_owned(), action.to_owned()))
}
