//! Homes that share an authority, and the state of their stores, files and tokens.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use codex_auth::config::StoreSelection;
use codex_auth::{AuthDocument, Lease, StoreKind, login};
use scripted_authority::{Account, Authority, DeviceFlow, Grant, GrantId, Pacing, TokenState};
use serde_json::Value;

use crate::support::{Run, TestHome, item};

/// Only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a home and its `codex-auth` folder when no command is running.
const USUAL: [&str; 12] = [
    "auth.json",
    "auth.json.lock",
    "auth.lock",
    "codex-auth",
    "config.toml",
    "events.jsonl",
    "history",
    "history.lock",
    "login",
    "link",
    "refresh.lock",
    "state.json",
];

/// The environment variables of a keychain session.
pub type Session = Vec<(String, OsString)>;

/// One or more homes with one authority.
pub struct Scene {
    pub homes: Vec<TestHome>,
    pub authority: Authority,
    pub account: Account,
    pub has_keychain: bool,
    /// Grants up to this one are ignored.
    settled: u64,
}

impl Scene {
    /// Creates homes without a login. All but the first link to the document of the first.
    pub fn new(homes: usize, number: u32, session: Option<&Session>) -> Self {
        let authority = Authority::start().unwrap();
        let account = Account::numbered(number);
        authority.visit_as(account.clone());
        authority.adjust(|policy| {
            (policy.device, policy.pacing) = (DeviceFlow::Approves, Pacing::Ignored);
        });
        let mut scene =
            Self { homes: Vec::new(), authority, account, has_keychain: session.is_some(), settled: 0 };
        scene.replace_homes(homes, session);
        scene
    }

    /// Starts over with fresh homes.
    pub fn replace_homes(&mut self, homes: usize, session: Option<&Session>) {
        self.homes = (0..homes)
            .map(|_| session.cloned().map_or_else(TestHome::new, TestHome::with_variables))
            .collect();
        for linked in &self.homes[1..] {
            std::os::unix::fs::symlink(self.homes[0].document(), linked.document()).unwrap();
        }
    }

    /// A run of the program in a home.
    pub fn codex<'a>(&self, home: usize, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.homes[home]
            .codex(arguments)
            .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url())
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url())
            .env("CODEX_APP_SERVER_LOGIN_ISSUER", self.authority.url())
            .env("CODEX_AUTHAPI_BASE_URL", self.authority.url())
    }

    /// Logs the first home in as the program does.
    pub fn sign_in(&self, kind: StoreKind) -> Grant {
        let grant = self.authority.grant(self.account.clone());
        let document = AuthDocument::parse(grant.auth_json().as_bytes()).unwrap();
        let stores = self.homes[0].stores();
        let choice = stores.choose(Some(StoreSelection::from(kind))).unwrap();
        let lease = Lease::acquire(stores.home(), PATIENCE, |_| {}).unwrap();
        login::commit_login(&mut stores.writer(&lease).unwrap(), &choice, &document).unwrap();
        grant
    }

    /// Waits until no process holds the lease or a commit lock, and returns those still held after a minute.
    pub fn held_locks(&self) -> Vec<PathBuf> {
        let mut held = Vec::new();
        for home in &self.homes {
            if let Err(error) = Lease::acquire(&home.home(), PATIENCE, |_| {}) {
                println!("the lease of {}: {error}", home.path().display());
                held.push(home.file("codex-auth/refresh.lock"));
            }
            for lock in ["auth.lock", "auth.json.lock"].map(|name| home.file(name)) {
                // A process that another thread starts inherits open files for a moment.
                let until = Instant::now() + Duration::from_secs(5);
                while File::open(&lock).is_ok_and(|file| file.try_lock().is_err()) {
                    if Instant::now() > until {
                        held.push(lock);
                        break;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
        held
    }

    /// As [`keychain_owner`]; `None` without a keychain.
    pub fn keychain_owner(&self) -> Option<String> {
        self.has_keychain.then(|| keychain_owner(&self.homes[0]))
    }

    /// Returns every stored document with the name of its store, or an error for an unparsable one.
    pub fn documents(&self) -> Vec<(String, Result<Value, String>)> {
        let mut found = Vec::new();
        let parse = |bytes: &[u8]| {
            serde_json::from_slice(bytes)
                .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(bytes)))
        };
        if let Ok(bytes) = fs::read(self.homes[0].document()) {
            found.push(("auth.json".to_owned(), parse(&bytes)));
        }
        for (number, home) in self.homes.iter().enumerate().filter(|_| self.has_keychain) {
            let mut secret = item(home).get_secret();
            let until = Instant::now() + PATIENCE;
            // The service has crashed and starts again.
            while matches!(secret, Err(keyring3::Error::PlatformFailure(_))) && Instant::now() < until {
                secret = item(home).get_secret();
            }
            match secret {
                Err(keyring3::Error::NoEntry) => {}
                secret => found.push((format!("item of home {number}"), parse(&secret.unwrap()))),
            }
        }
        found
    }

    /// The refresh tokens in the stores.
    pub fn stored_tokens(&self) -> Vec<(String, String)> {
        let documents =
            self.documents().into_iter().filter_map(|(place, document)| Some((place, document.ok()?)));
        let token = |document: Value| Some(document["tokens"]["refresh_token"].as_str()?.to_owned());
        documents.filter_map(|(place, document)| Some((place, token(document)?))).collect()
    }

    pub fn state_of(&self, token: &str) -> TokenState {
        self.authority.state_of(token)
    }

    /// The refresh tokens that the authority accepts, without ignored grants.
    pub fn live_tokens(&self) -> Vec<(GrantId, String)> {
        let all = (self.settled + 1..).map(GrantId);
        let all = all.take_while(|grant| self.authority.latest(*grant).is_some());
        all.filter_map(|grant| Some((grant, self.authority.live_refresh_token(grant)?))).collect()
    }

    /// How many grants there are.
    pub fn grants(&self) -> u64 {
        let new = (self.settled + 1..).take_while(|grant| self.authority.latest(GrantId(*grant)).is_some());
        self.settled + u64::try_from(new.count()).unwrap()
    }

    /// Ignores all grants so far.
    pub fn ignore_all_grants(&mut self) {
        self.settled = self.grants();
    }

    /// Ignores the grants before the oldest one whose token is in `stored`.
    pub fn ignore_grants_before(&mut self, stored: &[(String, String)]) {
        let is_stored = |token: &String| stored.iter().any(|(_, stored)| stored == token);
        let oldest = self.live_tokens().into_iter().find(|(_, token)| is_stored(token));
        self.settled = oldest.map_or_else(|| self.grants(), |(grant, _)| grant.0 - 1);
    }

    /// Valid refresh tokens that no store holds.
    pub fn lost_tokens(&self) -> Vec<(GrantId, String)> {
        let stored: BTreeSet<_> = self.stored_tokens().into_iter().map(|(_, token)| token).collect();
        self.live_tokens().into_iter().filter(|(_, token)| !stored.contains(token)).collect()
    }

    /// Whether a rescue waits to be committed.
    pub fn has_rescue(&self) -> bool {
        // An empty one is only reserved space.
        self.homes.iter().any(|home| {
            let found = fs::read(home.file("codex-auth/rescue"));
            found.is_ok_and(|bytes| bytes.iter().any(|byte| *byte != b' '))
        })
    }

    /// Whether a temporary file holds `token` or sealed data.
    pub fn is_in_temporary_file(&self, token: &str) -> bool {
        let files = self.homes.iter().flat_map(TestHome::tree);
        let is_temporary = |path: &PathBuf| path.extension().is_some_and(|name| name == "tmp");
        files.filter(|(path, ..)| is_temporary(path)).any(|(_, _, bytes)| {
            bytes.starts_with(b"codex-auth sealed") || String::from_utf8_lossy(&bytes).contains(token)
        })
    }

    /// Files that no command needs any more.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let all = self.homes.iter().flat_map(TestHome::tree).map(|(path, ..)| path);
        all.filter(|path| !USUAL.iter().any(|usual| path.ends_with(usual))).collect()
    }
}

/// Returns the unique bus name of the keychain's service, which changes when it crashes and starts again.
pub fn keychain_owner(home: &TestHome) -> String {
    let mut send = Command::new("dbus-send");
    send.args(["--session", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]);
    send.args(["org.freedesktop.DBus.GetNameOwner", "string:org.freedesktop.secrets"]);
    let output = send.envs(home.variables()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
