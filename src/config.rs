//! What the user has set: every environment variable in one table, and the keys of `config.toml` that concern a login.
//!
//! This is the only room that reads the environment. It parses and edits the text of `config.toml`; reading and
//! writing the file is the business of [`crate::store`].

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
    CREDENTIALS, Colour, Environment, HomeSetting, LogLevel, UserFolders, VARIABLES, Variable,
};
pub use self::exec_chain::ExecChain;
pub use self::file::{Config, LegacyToken};
pub use self::network::{Network, NetworkSetting};
pub use self::overrides::{KEYS, Overrides};
pub use self::provider::{ModelProvider, OpenAiAuth, ProviderCommand, model_provider, provider_command};
pub use self::restrictions::{ForbiddenLogin, LoginMethod, Restrictions};
pub use self::terminal_env::{TerminalEnv, TerminalKind, UserLocation};

/// A store that a document lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every store is the caller's to handle")]
pub enum StoreKind {
    /// A locked `auth.json`, mode 0600.
    File,
    /// The macOS Keychain or the Linux Secret Service.
    Keychain,
}

impl StoreKind {
    /// Our word for it, as `--store` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Keychain => "keychain",
        }
    }

    /// The store that `word` names, in our words or Codex's.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match StoreSelection::named(word)? {
            StoreSelection::File => Some(Self::File),
            StoreSelection::Keychain => Some(Self::Keychain),
            StoreSelection::Auto => None,
        }
    }

    /// The other one.
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

/// What a user selects: a store, or that one is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreSelection {
    /// The keychain where it is usable, else the file.
    Auto,
    /// [`StoreKind::File`].
    File,
    /// [`StoreKind::Keychain`].
    Keychain,
}

impl StoreSelection {
    /// Our word for it, as `--store` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::File => StoreKind::File.as_str(),
            Self::Keychain => StoreKind::Keychain.as_str(),
        }
    }

    /// Codex's word for it, as `config.toml` has it.
    #[must_use]
    pub fn config_word(self) -> &'static str {
        match self {
            Self::Keychain => "keyring",
            other => other.as_str(),
        }
    }

    /// The selection that `word` names, in our words or Codex's.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
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

/// What `cli_auth_credentials_store` of `config.toml` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreSetting {
    /// Nothing.
    #[default]
    Unset,
    /// A selection.
    Selected(StoreSelection),
    /// Codex keeps its login in its own memory; there is none on the machine.
    Ephemeral,
}

impl StoreSetting {
    /// The selection, if there is one.
    #[must_use]
    pub fn selection(self) -> Option<StoreSelection> {
        match self {
            Self::Selected(selection) => Some(selection),
            Self::Unset | Self::Ephemeral => None,
        }
    }
}

/// What is wrong with a setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable that should be a time span is not one.
    #[error("{name} is not a time span such as 5s, 500ms or 2m")]
    Duration {
        /// The variable.
        name: &'static str,
    },
    /// A variable that should be a log level is not one.
    #[error("{name} is not one of error, warn, info, debug and trace")]
    LogLevel {
        /// The variable.
        name: &'static str,
    },
    /// What should count before `config.toml` cannot be read.
    #[error("CODEX_AUTH_CONFIG cannot be understood: {0}")]
    Overrides(#[source] Box<Self>),
    /// No command gives tokens to the model provider that was named.
    #[error("{}", no_provider(known))]
    NoProvider {
        /// The providers for which there is one.
        known: Vec<String>,
    },
    /// A key of a model provider with a value that means nothing.
    #[error("{key} of the model provider must be {expected}")]
    Provider {
        /// The key, below the provider.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Nobody says where the login belongs.
    #[error("no home directory is known; set CODEX_HOME to the folder of the login")]
    NoHome,
    /// Not TOML.
    #[error("line {line} is not valid TOML: {problem}")]
    Toml {
        /// Counted from one.
        line: usize,
        /// What the parser says, without the text.
        problem: String,
    },
    /// A key of ours with a value that means nothing.
    #[error("{key} must be {expected}")]
    Key {
        /// The key.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

fn no_provider(known: &[String]) -> String {
    match known {
        [] => "no model provider has a token command; add a [model_providers.NAME.auth] with one".to_owned(),
        known => format!("no such model provider has a token command; these have one: {}", known.join(", ")),
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
    fn a_store_is_known_by_our_word_and_by_codexs() {
        assert_eq!(StoreKind::named("keychain"), Some(StoreKind::Keychain));
        assert_eq!(StoreKind::named("keyring"), Some(StoreKind::Keychain));
        assert_eq!(StoreKind::named("Keychain"), None);
        assert_eq!(StoreSelection::Keychain.config_word(), "keyring");
    }

    #[test]
    fn every_variable_that_is_looked_up_is_in_the_table() {
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
    fn the_environment_is_read_once_and_empty_means_unset() {
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
