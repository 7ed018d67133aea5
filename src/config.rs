//! The settings of the user: environment variables, and the keys of `config.toml` that concern a login.
//!
//! No other module reads the environment. This one parses and edits the text of `config.toml`; [`crate::store`] reads
//! and writes the file.

mod environment;
mod exec_chain;
mod file;
mod line_ends;
mod network;
mod overrides;
mod provider;
mod restrictions;
mod terminal_env;

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

#[cfg(feature = "failpoints")]
pub(crate) use self::environment::failpoint;
pub use self::environment::{
    CREDENTIAL_VARIABLES, Colour, Environment, HomeSetting, LogLevel, UserFolders, VARIABLES, Variable,
};
pub use self::exec_chain::ExecChain;
pub use self::file::{Config, LegacyToken};
pub use self::network::{Network, NetworkSetting};
pub use self::overrides::{OVERRIDE_KEYS, Overrides};
pub use self::provider::{ModelProvider, OpenAiAuth, ProviderCommand, model_provider, provider_command};
pub use self::restrictions::{ForbiddenLogin, LoginMethod, Restrictions};
pub use self::terminal_env::{TerminalEnv, TerminalKind, UserLocation};

/// A kind of store for the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every store")]
pub enum StoreKind {
    /// A locked `auth.json`, mode 0600.
    File,
    /// The macOS Keychain or the Linux Secret Service.
    Keychain,
}

impl StoreKind {
    /// Returns the name of the store, as `--store` accepts it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Keychain => "keychain",
        }
    }

    /// Returns the store called `word` by this program or by Codex.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        match StoreSelection::from_name(word)? {
            StoreSelection::File => Some(Self::File),
            StoreSelection::Keychain => Some(Self::Keychain),
            StoreSelection::Auto => None,
        }
    }

    /// Returns the other store.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::File => Self::Keychain,
            Self::Keychain => Self::File,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The user's selection of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreSelection {
    /// The keychain if it is usable, else the file.
    Auto,
    /// [`StoreKind::File`].
    File,
    /// [`StoreKind::Keychain`].
    Keychain,
}

impl StoreSelection {
    /// Returns the name of the selection, as `--store` accepts it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::File => StoreKind::File.as_str(),
            Self::Keychain => StoreKind::Keychain.as_str(),
        }
    }

    /// Returns Codex's name of the selection, as in `config.toml`.
    #[must_use]
    pub fn codex_name(self) -> &'static str {
        match self {
            Self::Keychain => "keyring",
            other => other.as_str(),
        }
    }

    /// Returns the selection called `word` by this program or by Codex.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        Some(match word {
            "auto" => Self::Auto,
            "file" => Self::File,
            "keychain" | "keyring" => Self::Keychain,
            _ => return None,
        })
    }
}

impl From<StoreKind> for StoreSelection {
    fn from(kind: StoreKind) -> Self {
        match kind {
            StoreKind::File => Self::File,
            StoreKind::Keychain => Self::Keychain,
        }
    }
}

impl fmt::Display for StoreSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of `cli_auth_credentials_store` in `config.toml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreSetting {
    /// The key is not set.
    #[default]
    Unset,
    /// The key selects a store.
    Selected(StoreSelection),
    /// Codex keeps its login in memory, so there is no stored one.
    Ephemeral,
}

impl StoreSetting {
    /// Returns the selection, if the key makes one.
    #[must_use]
    pub fn selection(self) -> Option<StoreSelection> {
        match self {
            Self::Selected(selection) => Some(selection),
            Self::Unset | Self::Ephemeral => None,
        }
    }
}

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value of a variable is not a duration.
    #[error("{name} must be a duration such as 5s, 500ms or 2m")]
    Duration {
        /// The variable.
        name: &'static str,
    },
    /// The value of a variable is not a log level.
    #[error("{name} must be one of error, warn, info, debug and trace")]
    LogLevel {
        /// The variable.
        name: &'static str,
    },
    /// `CODEX_AUTH_CONFIG` cannot be parsed.
    #[error("CODEX_AUTH_CONFIG is invalid: {0}")]
    Overrides(#[source] Box<Self>),
    /// The named model provider does not exist or has no token command.
    #[error("{}", no_provider(known))]
    NoProvider {
        /// The providers that have a token command.
        known: Vec<String>,
    },
    /// A key of a model provider has an invalid value.
    #[error("{key} of the model provider must be {expected}")]
    Provider {
        /// The key, relative to the provider.
        key: &'static str,
        /// The required value.
        expected: &'static str,
    },
    /// `CODEX_HOME` is not set and the user has no home directory.
    #[error("cannot find the home directory of this user; set CODEX_HOME to the folder of the login")]
    NoHome,
    /// The text is not TOML.
    #[error("line {line} is not valid TOML: {problem}")]
    Toml {
        /// The line number, from one.
        line: usize,
        /// The message of the parser, which does not quote the text.
        problem: String,
    },
    /// A key that concerns the login has an invalid value.
    #[error("{key} must be {expected}")]
    Key {
        /// The key.
        key: &'static str,
        /// The required value.
        expected: &'static str,
    },
}

fn no_provider(known: &[String]) -> String {
    match known {
        [] => "no model provider has a token command; add one as [model_providers.NAME.auth]".to_owned(),
        known => format!("this model provider has no token command; these have one: {}", known.join(", ")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_known_by_both_names() {
        assert_eq!(StoreKind::from_name("keychain"), Some(StoreKind::Keychain));
        assert_eq!(StoreKind::from_name("keyring"), Some(StoreKind::Keychain));
        assert_eq!(StoreKind::from_name("Keychain"), None);
        assert_eq!(StoreSelection::Keychain.codex_name(), "keyring");
    }

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
