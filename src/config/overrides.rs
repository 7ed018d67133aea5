//! Overrides of `config.toml` for one run, as `-c key=value` on the command line.

use std::fmt;

use toml_edit::{DocumentMut, Value};

use super::error::Error;
use super::file::{Config, STORE_KEY, toml};
use super::restrictions::{METHOD_KEY, WORKSPACE_KEY};
use super::store::StoreSelection;
use super::variables::CONFIG;

/// The keys of `config.toml` that can be overridden.
pub const OVERRIDE_KEYS: &[&str] = &[STORE_KEY, METHOD_KEY, WORKSPACE_KEY];

/// Overrides of `config.toml`. `Display` writes TOML, as in `CODEX_AUTH_CONFIG`.
#[derive(Clone, Debug, Default)]
pub struct Overrides(DocumentMut);

impl Overrides {
    /// The variable that passes the overrides to child processes.
    pub const VARIABLE: &str = CONFIG.name;

    /// Returns whether `assignment`, of the form `key=value`, sets one of [`OVERRIDE_KEYS`].
    #[must_use]
    pub fn is_override(assignment: &str) -> bool {
        assignment.split_once('=').is_some_and(|(key, _)| OVERRIDE_KEYS.contains(&key.trim()))
    }

    /// Parses assignments. As in Codex, a value is TOML, or a string if it is not valid TOML. The last of several
    /// assignments to a key is used.
    ///
    /// # Errors
    /// [`Error::Key`]: the key is not in [`OVERRIDE_KEYS`], or the value is invalid.
    pub fn from_assignments<'a>(assignments: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut document = DocumentMut::new();
        for assignment in assignments {
            let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
            let key = OVERRIDE_KEYS.iter().find(|known| **known == key.trim());
            let key = key
                .ok_or(Error::Key { key: "-c", expected: "KEY=VALUE with a key that concerns the login" })?;
            let value = value.trim();
            document[key] = toml_edit::value(value.parse::<Value>().unwrap_or_else(|_| value.into()));
        }
        Self::checked(document)
    }

    /// Returns these overrides with the store set to `store`.
    #[must_use]
    pub fn with_store(mut self, store: StoreSelection) -> Self {
        self.0[STORE_KEY] = toml_edit::value(store.codex_name());
        self
    }

    /// Returns whether the store is set.
    #[must_use]
    pub fn set_store(&self) -> bool {
        self.0.contains_key(STORE_KEY)
    }

    /// Returns whether there are no overrides.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses the value of [`Self::VARIABLE`].
    ///
    /// # Errors
    /// [`Error::Toml`], [`Error::Key`].
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        Self::checked(toml(text)?)
    }

    /// Parses `text`, that of a `config.toml`, with these overrides applied.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn apply_to(&self, text: &str) -> Result<Config, Error> {
        let mut document = toml(text)?;
        for (key, item) in self.0.iter() {
            document.insert(key, item.clone());
        }
        Config::parse(&document.to_string())
    }

    /// Adds the settings of `profile`, the text of a profile's file, which these overrides take precedence over.
    ///
    /// # Errors
    /// [`Error::Toml`], [`Error::Key`].
    pub fn over_profile(&self, profile: &str) -> Result<Self, Error> {
        let profile = toml(profile)?;
        let mut document = self.0.clone();
        for key in OVERRIDE_KEYS.iter().filter(|key| !self.0.contains_key(key)) {
            if let Some(item) = profile.get(key) {
                document.insert(key, item.clone());
            }
        }
        Self::checked(document)
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
    fn a_value_is_toml_or_a_string_and_the_last_assignment_is_used() {
        for value in ["file", "\"file\"", " 'file' "] {
            let overrides = Overrides::from_assignments([&*format!("{STORE_KEY} ={value}")]).unwrap();
            assert_eq!(
                Config::parse(&overrides.to_string()).unwrap().store,
                StoreSetting::Selected(StoreSelection::File),
                "{value}"
            );
        }
        let twice = ["cli_auth_credentials_store=file", "cli_auth_credentials_store=keyring"];
        let overrides = Overrides::from_assignments(twice).unwrap();
        let text = "# mine\ncli_auth_credentials_store = \"auto\"\nauth_token = \"s\"\n[tools]\nweb = true\n";
        let config = overrides.apply_to(text).unwrap();
        assert_eq!(config.store, StoreSetting::Selected(StoreSelection::Keychain));
        assert_eq!(
            Config { store: StoreSetting::Selected(StoreSelection::Auto), ..config },
            Config::parse(text).unwrap()
        );
        let again = Overrides::parse(&overrides.to_string()).unwrap();
        assert_eq!(again.to_string(), overrides.to_string());
        assert!(Overrides::default().apply_to("a = = 1").is_err());
        let profile = "cli_auth_credentials_store = \"file\"\nforced_login_method = \"api\"\nmodel = \"x\"\n";
        let layered = overrides.over_profile(profile).unwrap().to_string();
        assert_eq!(layered, "cli_auth_credentials_store = \"keyring\"\nforced_login_method = \"api\"\n");
    }

    #[test]
    fn other_keys_and_invalid_values_are_refused() {
        assert!(
            Overrides::is_override("cli_auth_credentials_store=x")
                && Overrides::is_override(" forced_login_method = a")
        );
        for other in ["model=o3", "cli_auth_credentials_store", "cli_auth_credentials_store.x=1", "=file", ""]
        {
            assert!(
                !Overrides::is_override(other) && Overrides::from_assignments([other]).is_err(),
                "{other}"
            );
        }
        for wrong in ["cli_auth_credentials_store=floppy", "cli_auth_credentials_store=1"] {
            let error = Overrides::from_assignments([wrong]).unwrap_err();
            assert!(error.to_string().starts_with("cli_auth_credentials_store must be one of"), "{error}");
        }
    }
}
