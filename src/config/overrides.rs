//! Keys of `config.toml` that count for one run only, as `-c key=value` sets them on the command line.

use std::fmt;

use toml_edit::{DocumentMut, Value};

use super::environment::CONFIG;
use super::file::{STORE_KEY, toml};
use super::restrictions::{METHOD_KEY, WORKSPACE_KEY};
use super::{Config, Error};

/// The keys of `config.toml` that concern a login, and can be set for one run.
pub const KEYS: &[&str] = &[STORE_KEY, METHOD_KEY, WORKSPACE_KEY];

/// Settings that count before those of the file. `Display` is TOML, as `CODEX_AUTH_CONFIG` holds it.
#[derive(Clone, Debug, Default)]
pub struct Overrides(DocumentMut);

impl Overrides {
    /// The variable that carries them to children of the program.
    pub const VARIABLE: &str = CONFIG.name;

    /// Whether `assignment`, as in `key=value`, sets a key that concerns a login.
    #[must_use]
    pub fn concern(assignment: &str) -> bool {
        assignment.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key.trim()))
    }

    /// Reads assignments. A value is TOML, and text where it is none, as Codex reads it; of two for one key the later
    /// counts.
    ///
    /// # Errors
    /// [`Error::Key`]: not a key that concerns a login, or a value that means nothing there.
    pub fn read<'a>(assignments: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut document = DocumentMut::new();
        for assignment in assignments {
            let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
            let key = KEYS.iter().find(|known| **known == key.trim());
            let key = key.ok_or(Error::Key { key: "-c", expected: "a key of a login, as key=value" })?;
            let value = value.trim();
            document[key] = toml_edit::value(value.parse::<Value>().unwrap_or_else(|_| value.into()));
        }
        Self::checked(document)
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// [`Error::Toml`], [`Error::Key`].
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        Self::checked(toml(text)?)
    }

    /// What `text`, that of a `config.toml`, comes to with these on top.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn over(&self, text: &str) -> Result<Config, Error> {
        let mut document = toml(text)?;
        for (key, item) in self.0.iter() {
            document.insert(key, item.clone());
        }
        Config::parse(&document.to_string())
    }

    fn checked(document: DocumentMut) -> Result<Self, Error> {
        Config::parse(&document.to_string())?;
        Ok(Self(document))
    }
}

impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{StoreSelection, StoreSetting};

    #[test]
    fn a_value_is_toml_or_text_and_the_later_counts() {
        for value in ["file", "\"file\"", " 'file' "] {
            let overrides = Overrides::read([&*format!("{STORE_KEY} ={value}")]).unwrap();
            assert_eq!(
                Config::parse(&overrides.to_string()).unwrap().store,
                StoreSetting::Selected(StoreSelection::File),
                "{value}"
            );
        }
        let twice = ["cli_auth_credentials_store=file", "cli_auth_credentials_store=keyring"];
        let overrides = Overrides::read(twice).unwrap();
        let text = "# mine\ncli_auth_credentials_store = \"auto\"\nauth_token = \"s\"\n[tools]\nweb = true\n";
        let config = overrides.over(text).unwrap();
        assert_eq!(config.store, StoreSetting::Selected(StoreSelection::Keychain));
        assert_eq!(
            Config { store: StoreSetting::Selected(StoreSelection::Auto), ..config },
            Config::parse(text).unwrap()
        );
        let again = Overrides::parse(&overrides.to_string()).unwrap();
        assert_eq!(again.to_string(), overrides.to_string());
        assert!(Overrides::default().over("a = = 1").is_err());
    }

    #[test]
    fn keys_of_others_and_values_that_mean_nothing_are_refused() {
        assert!(
            Overrides::concern("cli_auth_credentials_store=x")
                && Overrides::concern(" forced_login_method = a")
        );
        for other in ["model=o3", "cli_auth_credentials_store", "cli_auth_credentials_store.x=1", "=file", ""]
        {
            assert!(!Overrides::concern(other) && Overrides::read([other]).is_err(), "{other}");
        }
        for wrong in ["cli_auth_credentials_store=floppy", "cli_auth_credentials_store=1"] {
            let error = Overrides::read([wrong]).unwrap_err();
            assert!(error.to_string().starts_with("cli_auth_credentials_store must be one of"), "{error}");
        }
    }
}
