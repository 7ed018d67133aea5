//! A machine whose login is stored in one store: the file, or a real keychain.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::program::Run;
use super::session::PrivateSession;
use super::system::SERVICE;
use super::{TestHome, chatgpt};

/// A home, and the store of its login.
pub struct Machine {
    pub home: TestHome,
    /// The session of the keychain; `None` if the login is stored in the file.
    pub session: Option<PrivateSession>,
}

impl Machine {
    /// A machine without a keychain and without a login.
    pub fn with_file() -> Self {
        Self { home: TestHome::new(), session: None }
    }

    /// A machine with an empty unlocked keychain that `config.toml` selects. Needs [`super::session::inside`].
    pub fn with_keychain() -> Self {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        Self { home, session: Some(session) }
    }

    /// The name of the store.
    pub fn store(&self) -> &'static str {
        if self.session.is_some() { "keychain" } else { "file" }
    }

    /// The name of the store that is not used.
    pub fn other_store(&self) -> &'static str {
        if self.session.is_some() { "file" } else { "keychain" }
    }

    /// The location of the login, as reports show it.
    pub fn location(&self) -> String {
        match self.session {
            Some(_) => format!("item \"{SERVICE}\" of {}", account(&self.home)),
            None => self.home.document().display().to_string(),
        }
    }

    /// Stores a login without the library.
    pub fn store_text(&self, document: impl AsRef<[u8]>) {
        match self.session {
            Some(_) => item(&self.home).set_secret(document.as_ref()).unwrap(),
            None => drop(self.home.write("auth.json", document)),
        }
    }

    /// The stored login, read without the library; invalid UTF-8 is described.
    pub fn stored_text(&self) -> Option<String> {
        let bytes = match self.session {
            Some(_) => match item(&self.home).get_secret() {
                Err(keyring3::Error::NoEntry) => return None,
                secret => secret.unwrap(),
            },
            None => std::fs::read(self.home.document()).ok()?,
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Stores a ChatGPT login whose access token is valid for `minutes` since `ago` minutes before now.
    pub fn store_chatgpt(&self, account: &str, ago: i64, minutes: i64) -> String {
        let issued = now() - ago * 60;
        let document = chatgpt(account, "rt-of-the-test", issued, issued + minutes * 60);
        self.store_text(&document);
        let document: Value = serde_json::from_str(&document).unwrap();
        document["tokens"]["access_token"].as_str().unwrap().to_owned()
    }

    /// A run of the program.
    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.home.codex(arguments)
    }

    /// Runs the program and returns its output, with `[store]` and `[location]` for those of this machine.
    pub fn output_of(&self, arguments: &[&str]) -> String {
        let ended = self.codex(arguments.iter().copied()).run().to_string();
        // In JSON the quotes around the item's service are escaped.
        let escaped = self.location().replace('"', "\\\"");
        let ended = ended.replace(&escaped, "[location]").replace(&self.location(), "[location]");
        let (prose, json) = (format!("{} store", self.store()), format!("\"store\": \"{}\"", self.store()));
        ended.replace(&prose, "[store] store").replace(&json, "\"store\": \"[store]\"")
    }
}

/// The account attribute of a home's keychain item, as Codex computes it.
pub fn account(home: &TestHome) -> String {
    account_at(&home.path())
}

fn account_at(home: &Path) -> String {
    let digest = Sha256::digest(home.to_string_lossy().as_bytes());
    format!("cli|{}", digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The item of a home, by the crate and version that Codex uses. Needs [`super::session::inside`].
pub fn item(home: &TestHome) -> keyring3::Entry {
    item_at(&home.path())
}

/// The item of the home at a canonical path.
pub fn item_at(home: &Path) -> keyring3::Entry {
    keyring3::Entry::new(SERVICE, &account_at(home)).unwrap()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
