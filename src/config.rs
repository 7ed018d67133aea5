//! What the user has set: every environment variable in one table, and the keys of `config.toml` that concern a login.
//!
//! This is the only module that reads the environment. It parses and edits the text of `config.toml`; reading and
//! writing the file is the business of [`crate::store`].

mod line_ends;
mod network;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use toml_edit::{DocumentMut, Item};

use self::line_ends::LineEnds;
pub use self::network::{Network, Setting};

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
const LOCK_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_LOCK_TIMEOUT",
    purpose: "how long to wait for another process that holds the login (default: 60s)",
};
const KEYCHAIN_TIMEOUT: Variable = Variable {
    name: "CODEX_AUTH_KEYCHAIN_TIMEOUT",
    purpose: "how long one keychain call may take (default: 5s)",
};
const REFRESH_URL: Variable = Variable {
    name: "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
    purpose: "where tokens are refreshed: an https address, or an http one of this machine",
};
const REVOKE_URL: Variable = Variable {
    name: "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
    purpose: "where tokens are revoked (default: /oauth/revoke on the host of the variable above)",
};
const CA_CERTIFICATE: Variable = Variable {
    name: "CODEX_CA_CERTIFICATE",
    purpose: "a PEM file of certificates to trust besides those of the system",
};
const SSL_CERT_FILE: Variable =
    Variable { name: "SSL_CERT_FILE", purpose: "the same, where CODEX_CA_CERTIFICATE is not set" };
const SSL_CERT_DIR: Variable = Variable {
    name: "SSL_CERT_DIR",
    purpose: "a folder of certificates to trust besides those of the system; macOS ignores it",
};
const HTTPS_PROXY: Variable =
    Variable { name: "HTTPS_PROXY", purpose: "the way to the authority: an http, https or socks5 address" };
const HTTPS_PROXY_LOWER: Variable =
    Variable { name: "https_proxy", purpose: "the same, where HTTPS_PROXY is not set" };
const ALL_PROXY: Variable =
    Variable { name: "ALL_PROXY", purpose: "the same, where neither of the two is set" };
const ALL_PROXY_LOWER: Variable =
    Variable { name: "all_proxy", purpose: "the same, where none of the three is set" };
const NO_PROXY: Variable =
    Variable { name: "NO_PROXY", purpose: "hosts that are reached without a proxy, separated by commas" };
const NO_PROXY_LOWER: Variable =
    Variable { name: "no_proxy", purpose: "the same, where NO_PROXY is not set" };
const NO_COLOR: Variable =
    Variable { name: "NO_COLOR", purpose: "no colour on a terminal when it is not empty" };
const PATH: Variable = Variable { name: "PATH", purpose: "where other programs called codex are looked for" };

/// Every variable that is honoured.
pub const VARIABLES: &[Variable] = &[
    HOME,
    LOCK_TIMEOUT,
    KEYCHAIN_TIMEOUT,
    REFRESH_URL,
    REVOKE_URL,
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
    PATH,
];

/// The environment of the process, read once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Environment {
    /// Where the login belongs.
    pub home: Home,
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
}

/// Which folder the user means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Home {
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
        matches!(self.home, Home::Default(_))
    }

    /// Reads the variables of this process.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn of_process() -> Result<Self, Error> {
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads the variables that `lookup` answers for. An empty variable counts as unset.
    ///
    /// # Errors
    /// - [`Error::Duration`]: a time limit cannot be read.
    /// - [`Error::NoHome`]: neither `CODEX_HOME` nor a home directory is known.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let value = |variable: Variable| lookup(variable.name).filter(|value| !value.is_empty());
        let limit = |variable: Variable, default: Duration| match value(variable) {
            Some(text) => duration(&text).ok_or(Error::Duration { name: variable.name }),
            None => Ok(default),
        };
        let home = match value(HOME) {
            Some(path) => Home::Named(path.into()),
            None => {
                let base = directories::BaseDirs::new().ok_or(Error::NoHome)?;
                Home::Default(base.home_dir().join(".codex"))
            }
        };
        Ok(Self {
            home,
            lock_timeout: limit(LOCK_TIMEOUT, Duration::from_secs(60))?,
            keychain_timeout: limit(KEYCHAIN_TIMEOUT, Duration::from_secs(5))?,
            network: Network::read(value),
            colour: if value(NO_COLOR).is_some() { Colour::Never } else { Colour::Auto },
            path: value(PATH).unwrap_or_default(),
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
