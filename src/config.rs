//! What the user has set: every environment variable in one table, and the keys of `config.toml` that concern a login.
//!
//! This is the only room that reads the environment. It parses and edits the text of `config.toml`; reading and
//! writing the file is the business of [`crate::store`].

mod environment;
mod line_ends;
mod network;
mod overrides;
mod passage;

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use toml_edit::{DocumentMut, Item};

#[cfg(feature = "failpoints")]
pub(crate) use self::environment::failpoint;
pub use self::environment::{Colour, Environment, Home, LogLevel, UserFolders, VARIABLES, Variable};
use self::line_ends::LineEnds;
pub use self::network::{Network, Setting};
pub use self::overrides::{KEYS, Overrides};
pub use self::passage::Passage;

/// Where a document lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// The keychain where it is usable, else the file, and it says which.
    Auto,
    /// The memory of this process; for embedders.
    Ephemeral,
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
            Self::Auto => "auto",
            Self::Ephemeral => "ephemeral",
            Self::File => "file",
            Self::Keychain => "keychain",
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

    /// The store that `word` names, in our words or Codex's.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "auto" => Self::Auto,
            "ephemeral" => Self::Ephemeral,
            "file" => Self::File,
            "keychain" | "keyring" => Self::Keychain,
            _ => return None,
        })
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const STORE_KEY: &str = "cli_auth_credentials_store";
const LEGACY_TOKEN_KEY: &str = "auth_token";

/// The keys of `config.toml` that concern a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `cli_auth_credentials_store`.
    pub store: Option<StoreKind>,
    /// Whether the `auth_token` of old builds is still there.
    pub legacy_token: LegacyToken,
}

/// Whether `config.toml` holds the `auth_token` of old builds, which nothing reads any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyToken {
    /// It does not.
    #[default]
    Absent,
    /// It does: a secret lies in a file that is no store.
    Present,
}

impl Config {
    /// Reads the text of a `config.toml`; keys of others are none of our business.
    ///
    /// # Errors
    /// [`Error::Toml`] or [`Error::Key`]. None of the text is in the message: the file may hold secrets of others.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document = toml(text)?;
        let store = match document.get(STORE_KEY) {
            None => None,
            Some(item) => Some(item.as_str().and_then(StoreKind::named).ok_or(Error::Key {
                key: STORE_KEY,
                expected: "one of \"file\", \"keyring\", \"auto\", \"ephemeral\"",
            })?),
        };
        let legacy_token =
            if document.contains_key(LEGACY_TOKEN_KEY) { LegacyToken::Present } else { LegacyToken::Absent };
        Ok(Self { store, legacy_token })
    }

    /// `text` with the store set to `kind` in Codex's words, everything else as it was.
    ///
    /// # Errors
    /// [`Error::Toml`].
    pub fn with_store(text: &str, kind: StoreKind) -> Result<String, Error> {
        let mut document = toml(text)?;
        let ends = LineEnds::of(text);
        match document.get_mut(STORE_KEY) {
            Some(Item::Value(value)) => {
                let decor = value.decor().clone();
                *value = kind.config_word().into();
                *value.decor_mut() = decor;
            }
            _ => {
                document[STORE_KEY] = toml_edit::value(kind.config_word());
            }
        }
        Ok(ends.restored(&document.to_string()))
    }

    /// `text` without the `auth_token` of old builds, everything else as it was.
    ///
    /// # Errors
    /// [`Error::Toml`].
    pub fn without_legacy_token(text: &str) -> Result<String, Error> {
        let mut document = toml(text)?;
        let ends = LineEnds::of(text);
        // Comments above a key belong to it in toml_edit; they are the user's and stay.
        let comments = document
            .key(LEGACY_TOKEN_KEY)
            .and_then(|key| key.leaf_decor().prefix())
            .and_then(|prefix| prefix.as_str())
            .map(str::to_owned)
            .unwrap_or_default();
        let next = document.iter().skip_while(|(key, _)| *key != LEGACY_TOKEN_KEY).nth(1);
        let next = next.map(|(key, _)| key.to_owned());
        document.remove(LEGACY_TOKEN_KEY);
        let before = |own: Option<&str>| format!("{comments}{}", own.unwrap_or_default());
        match next.and_then(|next| document.as_table_mut().get_key_value_mut(&next)) {
            Some((_, Item::Table(table))) => {
                let own = table.decor().prefix().and_then(|prefix| prefix.as_str()).map(str::to_owned);
                table.decor_mut().set_prefix(before(own.as_deref()));
            }
            Some((mut key, Item::Value(_))) => {
                let own = key.leaf_decor().prefix().and_then(|prefix| prefix.as_str()).map(str::to_owned);
                key.leaf_decor_mut().set_prefix(before(own.as_deref()));
            }
            _ => {
                let own = document.trailing().as_str().map(str::to_owned);
                document.set_trailing(before(own.as_deref()));
            }
        }
        Ok(ends.restored(&document.to_string()))
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

fn toml(text: &str) -> Result<DocumentMut, Error> {
    text.parse::<DocumentMut>().map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        // Only the first line: the parser's later lines may quote the file.
        let problem = error.message().lines().next().unwrap_or("not understood").to_owned();
        Error::Toml { line, problem }
    })
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

    const TEXT: &str = "# mine\nmodel = \"o\" # why\n\n[tools]\nweb = true\n";

    #[test]
    fn a_store_is_known_by_our_word_and_by_codexs() {
        assert_eq!(StoreKind::named("keychain"), Some(StoreKind::Keychain));
        assert_eq!(StoreKind::named("keyring"), Some(StoreKind::Keychain));
        assert_eq!(StoreKind::named("Keychain"), None);
        assert_eq!(StoreKind::Keychain.config_word(), "keyring");
    }

    #[test]
    fn setting_the_store_keeps_comments_and_layout() {
        let set = Config::with_store(TEXT, StoreKind::Keychain).unwrap();
        assert!(set.starts_with("# mine\nmodel = \"o\" # why\n"), "{set}");
        assert!(set.ends_with("\n[tools]\nweb = true\n"), "{set}");
        assert_eq!(Config::parse(&set).unwrap().store, Some(StoreKind::Keychain));
        let text = "cli_auth_credentials_store = 'file'   # shared\nother = 1\n";
        let set = Config::with_store(text, StoreKind::Auto).unwrap();
        assert_eq!(set, "cli_auth_credentials_store = \"auto\"   # shared\nother = 1\n");
        assert_eq!(
            Config::with_store("", StoreKind::Keychain).unwrap(),
            "cli_auth_credentials_store = \"keyring\"\n"
        );
    }

    #[test]
    fn removing_the_old_token_keeps_everything_else() {
        for (text, rest) in [
            ("# a\nauth_token = \"s\"\nmodel = \"o\" # why\n", "# a\nmodel = \"o\" # why\n"),
            (
                "model = \"o\"\n# a\nauth_token = \"s\"\n# b\nother = 1\n",
                "model = \"o\"\n# a\n# b\nother = 1\n",
            ),
            ("auth_token = \"s\"\n\n[tools] # t\nweb = true\n", "\n[tools] # t\nweb = true\n"),
            (
                "model = \"o\"\n# a\nauth_token = \"s\"\n\n# t\n[tools]\n",
                "model = \"o\"\n# a\n\n# t\n[tools]\n",
            ),
            ("model = \"o\"\n# a\nauth_token = \"s\"\n# end\n", "model = \"o\"\n# a\n# end\n"),
            (TEXT, TEXT),
        ] {
            assert_eq!(Config::without_legacy_token(text).unwrap(), rest, "{text}");
        }
        assert_eq!(Config::parse("auth_token = 1").unwrap().legacy_token, LegacyToken::Present);
    }

    #[test]
    fn a_file_that_is_no_toml_is_named_by_line_and_not_quoted() {
        let error = Config::parse("a = 1\nauth_token = \"marked\nb = 2\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2 is not valid TOML: "), "{error}");
        assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        let error = Config::parse("cli_auth_credentials_store = \"marked\"").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
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
        assert_eq!(environment.home, Home::Named("/place".into()));
        assert_eq!(environment.lock_timeout, Duration::from_secs(120));
        assert_eq!(environment.keychain_timeout, Duration::from_secs(7));
        assert_eq!(environment.colour, Colour::Auto);
        for wrong in ["soon", "-1s", "1e9 years"] {
            let read = Environment::read(|name| (name == "CODEX_AUTH_LOCK_TIMEOUT").then(|| wrong.into()));
            assert!(matches!(read, Err(Error::Duration { name: "CODEX_AUTH_LOCK_TIMEOUT" })), "{wrong}");
        }
    }
}
