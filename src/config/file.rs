//! Reads and edits the keys of `config.toml` that concern a login, and keeps everything else.

use toml_edit::{DocumentMut, Item};

use super::error::Error;
use super::restrictions::Restrictions;
use super::store::{StoreSelection, StoreSetting};

pub(crate) const STORE_KEY: &str = "cli_auth_credentials_store";
const LEGACY_TOKEN_KEY: &str = "auth_token";
pub(super) const CHATGPT_URL_KEY: &str = "chatgpt_base_url";
/// A feature of Codex: a key of the table `features`.
pub(super) const ENCRYPTION_KEY: &str = "features.secret_auth_storage";

/// The keys of `config.toml` that concern a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `cli_auth_credentials_store`.
    pub store: StoreSetting,
    /// Whether the file still has the `auth_token` of old builds.
    pub legacy_token: LegacyToken,
    /// `features.secret_auth_storage`.
    pub encryption: KeychainEncryption,
    /// The restrictions on logins.
    pub restrictions: Restrictions,
    /// `chatgpt_base_url`: the service that knows the workspaces, and whose keys verify agent identity tokens.
    pub chatgpt_url: Option<String>,
}

/// Whether `config.toml` has the `auth_token` of old builds, which no program reads any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyToken {
    /// The key is absent.
    #[default]
    Absent,
    /// The key is present: a secret is in a file that is not a store.
    Present,
}

/// Whether Codex encrypts a login instead of storing it in the keychain: its feature `secret_auth_storage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeychainEncryption {
    /// It does not.
    #[default]
    Disabled,
    /// It does, in a file that this library cannot read. The file store is not concerned.
    Enabled,
}

impl Config {
    /// Parses the text of a `config.toml`. Keys that do not concern a login are ignored.
    ///
    /// # Errors
    /// [`Error::Toml`] or [`Error::Key`]. The message does not quote the text, which may hold secrets.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document = toml(text)?;
        let store = match document.get(STORE_KEY) {
            None => StoreSetting::Unset,
            Some(item) => match item.as_str() {
                Some("ephemeral") => StoreSetting::Ephemeral,
                word => {
                    StoreSetting::Selected(word.and_then(StoreSelection::from_name).ok_or(Error::Key {
                        key: STORE_KEY,
                        expected: "one of \"file\", \"keyring\", \"auto\", \"ephemeral\"",
                    })?)
                }
            },
        };
        let legacy_token =
            if document.contains_key(LEGACY_TOKEN_KEY) { LegacyToken::Present } else { LegacyToken::Absent };
        let feature = document.get("features").and_then(|features| features.get("secret_auth_storage"));
        let encryption = match feature.and_then(Item::as_bool) {
            Some(true) => KeychainEncryption::Enabled,
            _ => KeychainEncryption::Disabled,
        };
        let chatgpt_url = match document.get(CHATGPT_URL_KEY) {
            None => None,
            Some(item) => {
                Some(item.as_str().ok_or(Error::Key { key: CHATGPT_URL_KEY, expected: "a URL" })?.to_owned())
            }
        };
        let restrictions = Restrictions::read(&document)?;
        Ok(Self { store, legacy_token, encryption, restrictions, chatgpt_url })
    }

    /// Returns `text` with the store set to `selection` and everything else unchanged.
    ///
    /// # Errors
    /// [`Error::Toml`].
    pub fn with_store(text: &str, selection: StoreSelection) -> Result<String, Error> {
        Self::with_store_value(text, selection.codex_name())
    }

    /// As [`Self::with_store`], with the value of the key.
    ///
    /// # Errors
    /// [`Error::Toml`].
    pub(crate) fn with_store_value(text: &str, value: &str) -> Result<String, Error> {
        let mut document = toml(text)?;
        let ends = LineEndings::of(text);
        match document.get_mut(STORE_KEY) {
            Some(Item::Value(old)) => {
                let decor = old.decor().clone();
                *old = value.into();
                *old.decor_mut() = decor;
            }
            _ => {
                document[STORE_KEY] = toml_edit::value(value);
            }
        }
        Ok(ends.apply(&document.to_string()))
    }

    /// Returns `text` without the `auth_token` of old builds and everything else unchanged.
    ///
    /// # Errors
    /// [`Error::Toml`].
    pub fn without_legacy_token(text: &str) -> Result<String, Error> {
        Self::without(text, LEGACY_TOKEN_KEY)
    }

    /// Returns `text` without `cli_auth_credentials_store` and everything else unchanged.
    ///
    /// # Errors
    /// [`Error::Toml`].
    pub(crate) fn without_store(text: &str) -> Result<String, Error> {
        Self::without(text, STORE_KEY)
    }

    fn without(text: &str, key: &str) -> Result<String, Error> {
        let mut document = toml(text)?;
        let ends = LineEndings::of(text);
        // toml_edit attaches comments to the key below them; keep them.
        let comments = document
            .key(key)
            .and_then(|key| key.leaf_decor().prefix())
            .and_then(|prefix| prefix.as_str())
            .map(str::to_owned)
            .unwrap_or_default();
        let next = document.iter().skip_while(|(other, _)| *other != key).nth(1);
        let next = next.map(|(key, _)| key.to_owned());
        document.remove(key);
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
        Ok(ends.apply(&document.to_string()))
    }
}

pub(super) fn toml(text: &str) -> Result<DocumentMut, Error> {
    text.parse::<DocumentMut>().map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        // Only the first line: later lines may quote the file.
        let problem = error.message().lines().next().unwrap_or("not understood").to_owned();
        Error::Toml { line, problem }
    })
}

/// The line endings of a text. The TOML parser turns all of them into `Lf`.
#[derive(Clone, Copy)]
enum LineEndings {
    CrLf,
    Lf,
}

impl LineEndings {
    fn of(text: &str) -> Self {
        if text.contains("\r\n") { Self::CrLf } else { Self::Lf }
    }

    fn apply(self, text: &str) -> String {
        match self {
            Self::Lf => text.to_owned(),
            Self::CrLf => text.replace("\r\n", "\n").replace('\n', "\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\nmodel = \"o\" # why\n\n[tools]\nweb = true\n";

    #[test]
    fn setting_the_store_keeps_comments_and_layout() {
        let set = Config::with_store(TEXT, StoreSelection::Keychain).unwrap();
        assert!(set.starts_with("# mine\nmodel = \"o\" # why\n"), "{set}");
        assert!(set.ends_with("\n[tools]\nweb = true\n"), "{set}");
        assert_eq!(Config::parse(&set).unwrap().store, StoreSetting::Selected(StoreSelection::Keychain));
        let text = "cli_auth_credentials_store = 'file'   # shared\nother = 1\n";
        let set = Config::with_store(text, StoreSelection::Auto).unwrap();
        assert_eq!(set, "cli_auth_credentials_store = \"auto\"   # shared\nother = 1\n");
        assert_eq!(
            Config::with_store("", StoreSelection::Keychain).unwrap(),
            "cli_auth_credentials_store = \"keyring\"\n"
        );
    }

    #[test]
    fn removing_the_legacy_token_keeps_everything_else() {
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
    fn a_syntax_error_names_the_line_and_does_not_quote_it() {
        let error = Config::parse("a = 1\nauth_token = \"marked\nb = 2\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2 is not valid TOML: "), "{error}");
        assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        let error = Config::parse("cli_auth_credentials_store = \"marked\"").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
    }
}
