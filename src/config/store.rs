//! The kinds of store, and the user's selection of one.

use std::fmt;

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
    /// Returns the value of the key as Codex spells it, if it is set.
    #[must_use]
    pub fn codex_name(self) -> Option<&'static str> {
        match self {
            Self::Unset => None,
            Self::Selected(selection) => Some(selection.codex_name()),
            Self::Ephemeral => Some("ephemeral"),
        }
    }

    /// Returns the selection, if the key makes one.
    #[must_use]
    pub fn selection(self) -> Option<StoreSelection> {
        match self {
            Self::Selected(selection) => Some(selection),
            Self::Unset | Self::Ephemeral => None,
        }
    }
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
}
