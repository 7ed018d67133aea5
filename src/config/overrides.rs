//! Overrides of `config.toml` for one run, as `-c key=value` on the command line.

use std::fmt;

use toml_edit::{DocumentMut, Item, Table, Value};

use super::error::Error;
use super::file::{CHATGPT_URL_KEY, Config, ENCRYPTION_KEY, STORE_KEY, toml};
use super::restrictions::{METHOD_KEY, WORKSPACE_KEY};
use super::store::StoreSelection;
use super::variables::CONFIG;

/// The keys of `config.toml` that can be overridden.
pub const OVERRIDE_KEYS: &[&str] = &[STORE_KEY, METHOD_KEY, WORKSPACE_KEY, CHATGPT_URL_KEY, ENCRYPTION_KEY];

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
            set(&mut document, key, value.parse::<Value>().unwrap_or_else(|_| value.into()));
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

    /// Returns whether the feature is set by which Codex encrypts its login.
    #[must_use]
    pub fn set_encryption(&self) -> bool {
        get(&self.0, ENCRYPTION_KEY).is_some()
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
        for key in OVERRIDE_KEYS {
            if let Some(value) = get(&self.0, key) {
                set(&mut document, key, value.clone());
            }
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
        for key in OVERRIDE_KEYS.iter().filter(|key| get(&self.0, key).is_none()) {
            if let Some(value) = get(&profile, key) {
                set(&mut document, key, value.clone());
            }
        }
        Self::checked(document)
    }

    fn checked(document: DocumentMut) -> Result<Self, Error> {
        Config::parse(&document.to_string())?;
        Ok(Self(document))
    }
}

/// The value of `key`, which may be one of a table: `table.name`.
fn get<'a>(document: &'a DocumentMut, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => document.get(key)?.as_value(),
        Some((table, name)) => document.get(table)?.as_table_like()?.get(name)?.as_value(),
    }
}

/// Sets `key`, which may be one of a table, on a line of its own.
fn set(document: &mut DocumentMut, key: &str, value: Value) {
    let Some((table, name)) = key.split_once('.') else {
        document[key] = toml_edit::value(value);
        return;
    };
    let dotted = || {
        let mut table = Table::new();
        table.set_dotted(true);
        Item::Table(table)
    };
    let entry = document.entry(table).or_insert_with(dotted);
    if entry.as_table_like().is_none() {
        *entry = dotted();
    }
    if let Some(table) = entry.as_table_like_mut() {
        table.insert(name, toml_edit::value(value));
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
    use crate::config::{KeychainEncryption, StoreSelection, StoreSetting};

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
    fn a_feature_is_set_in_its_table_and_passed_on_in_one_line() {
        let set =
            |value: &str| Overrides::from_assignments([&*format!("{ENCRYPTION_KEY} = {value}")]).unwrap();
        for text in
            ["", "[features]\nx = true\n", "features = {x = true}\n", "features = 1\n", "features.x = true\n"]
        {
            for (value, expected) in
                [("true", KeychainEncryption::Enabled), ("false", KeychainEncryption::Disabled)]
            {
                assert_eq!(set(value).apply_to(text).unwrap().encryption, expected, "{text}");
            }
        }
        let enabled = set("true");
        assert_eq!(enabled.to_string(), "features.secret_auth_storage = true\n");
        assert!(enabled.set_encryption() && !Overrides::default().set_encryption());
        let profile = "[features]\nsecret_auth_storage = true\nx = 1\n";
        let layered = Overrides::default().over_profile(profile).unwrap();
        assert_eq!(layered.to_string(), enabled.to_string());
        assert_eq!(set("false").over_profile(profile).unwrap().to_string(), set("false").to_string());
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
