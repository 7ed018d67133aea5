//! A machine on which a login is kept in one store: the file, or the item of a real keychain.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::program::Run;
use super::session::PrivateSession;
use super::system::SERVICE;
use super::{TestHome, chatgpt};

/// A home, and the store that its login is in.
pub struct Machine {
    /// The home.
    pub home: TestHome,
    /// The session of the keychain; none where the login is in the file.
    pub session: Option<PrivateSession>,
}

impl Machine {
    /// Without a keychain, and with nobody logged in.
    pub fn with_file() -> Self {
        Self { home: TestHome::new(), session: None }
    }

    /// With an unlocked keychain that holds nothing, and `config.toml` pointing to it. For tests that run inside a
    /// session.
    pub fn with_keychain() -> Self {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        Self { home, session: Some(session) }
    }

    /// Our word for the store.
    pub fn store(&self) -> &'static str {
        if self.session.is_some() { "keychain" } else { "file" }
    }

    /// Our word for the store that it is not in.
    pub fn other_store(&self) -> &'static str {
        if self.session.is_some() { "file" } else { "keychain" }
    }

    /// What the place of the login is called.
    pub fn location(&self) -> String {
        match self.session {
            Some(_) => format!("item \"{SERVICE}\" of {}", account(&self.home)),
            None => self.home.document().display().to_string(),
        }
    }

    /// Puts a login there with none of our code.
    pub fn keep(&self, document: impl AsRef<[u8]>) {
        match self.session {
            Some(_) => item(&self.home).set_secret(document.as_ref()).unwrap(),
            None => drop(self.home.write("auth.json", document)),
        }
    }

    /// What is there, read with none of our code; bytes that are no text are told as such.
    pub fn kept(&self) -> Option<String> {
        let bytes = match self.session {
            Some(_) => match item(&self.home).get_secret() {
                Err(keyring3::Error::NoEntry) => return None,
                secret => secret.unwrap(),
            },
            None => std::fs::read(self.home.document()).ok()?,
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A ChatGPT login of one account, whose access token has a life of `minutes` that began `ago` minutes before now.
    pub fn keep_chatgpt(&self, account: &str, ago: i64, minutes: i64) -> String {
        let issued = now() - ago * 60;
        let document = chatgpt(account, "rt-of-the-test", issued, issued + minutes * 60);
        self.keep(&document);
        let document: Value = serde_json::from_str(&document).unwrap();
        document["tokens"]["access_token"].as_str().unwrap().to_owned()
    }

    /// A run of the program.
    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.home.codex(arguments)
    }

    /// What the program says, with `[store]` and `[location]` for the particular ones.
    pub fn told(&self, arguments: &[&str]) -> String {
        let ended = self.codex(arguments.iter().copied()).run().to_string();
        // In JSON the quotes around the item's service are escaped.
        let escaped = self.location().replace('"', "\\\"");
        let ended = ended.replace(&escaped, "[location]").replace(&self.location(), "[location]");
        let (prose, json) = (format!("{} store", self.store()), format!("\"store\": \"{}\"", self.store()));
        ended.replace(&prose, "[store] store").replace(&json, "\"store\": \"[store]\"")
    }
}

/// The keychain account of a home, as Codex computes it.
pub fn account(home: &TestHome) -> String {
    let digest = Sha256::digest(home.path().to_string_lossy().as_bytes());
    format!("cli|{}", digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The item of a home, through the crate and version that Codex uses. For tests that run inside a session.
pub fn item(home: &TestHome) -> keyring3::Entry {
    keyring3::Entry::new(SERVICE, &account(home)).unwrap()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
