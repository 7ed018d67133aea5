//! Two logins in one store, with an authority, and processes that use them and can be killed, stopped and replaced.

use std::path::{Path, PathBuf};
use std::process::Command;

use codex_auth::config::StoreSelection;
use codex_auth::{AuthDocument, Environment, Home, Lease, Secret, StoreKind, Stores, login};
use scripted_authority::{Account, Authority, Endpoint, Grant, Outcome, Reuse, TokenState};
use serde_json::Value;

use super::foreign;
use super::keeper;
use super::scene::{PATIENCE, Session, keychain_owner};
use crate::accounts::world;
use crate::app_server::client::Client;
use crate::interop::codex::codex_0171;
use crate::manager::rounds::ROUND;
use crate::support::{HelperProcess, Run, TestHome};

const NAMES: [&str; 2] = ["one", "two"];

/// A login.
pub struct Login {
    /// The home of its programs.
    pub home: PathBuf,
    pub kind: StoreKind,
    pub grant: Grant,
}

/// What a store holds for a login.
pub enum Stored {
    /// The document of this account, and its refresh token.
    Own(String),
    Torn(String),
    OfAnother(String),
    /// There is none, or the service of the keychain has crashed.
    Unreadable,
}

impl Login {
    /// Reads the document without the library.
    pub fn read(&self, authority: &Authority) -> Stored {
        let Some(text) = foreign::read(&self.home, self.kind) else { return Stored::Unreadable };
        let Ok(document) = serde_json::from_str::<Value>(&text) else { return Stored::Torn(text) };
        let refresh_token = foreign::refresh_token(&text).unwrap_or_default();
        let is_own = document["tokens"]["account_id"] == self.grant.account.account_id.as_str()
            && authority.state_of(&refresh_token) != TokenState::Unknown;
        if is_own { Stored::Own(refresh_token) } else { Stored::OfAnother(text) }
    }

    /// The fingerprint of the newest access token.
    pub fn newest(&self, authority: &Authority) -> String {
        fingerprint(&authority.latest(self.grant.id).unwrap().tokens.access_token)
    }

    /// Logs in with a new grant, as the program does.
    fn sign_in(&mut self, authority: &Authority) {
        self.grant = authority.grant(self.grant.account.clone());
        let path = self.home.clone();
        let environment = Environment::read(|name| (name == "CODEX_HOME").then(|| path.clone().into()));
        let stores = Stores::open(Home::at(self.home.clone()).unwrap(), &environment.unwrap()).unwrap();
        let document = AuthDocument::parse(self.grant.auth_json().as_bytes()).unwrap();
        let choice = stores.choose(Some(StoreSelection::from(self.kind))).unwrap();
        let lease = Lease::acquire(stores.home(), PATIENCE, |_| {}).unwrap();
        login::commit_login(&mut stores.writer(&lease).unwrap(), &choice, &document).unwrap();
    }
}

/// The fingerprint of a token, as the processes print it.
pub fn fingerprint(token: &str) -> String {
    Secret::from(token).fingerprint().to_string()
}

/// A process, and the number of its login.
pub struct Actor {
    pub login: usize,
    pub process: HelperProcess,
}

/// The processes of two logins in one store.
pub struct Group {
    test: &'static str,
    pub authority: Authority,
    homes: Vec<TestHome>,
    pub logins: Vec<Login>,
    pub actors: Vec<Actor>,
    /// One for each home.
    pub keepers: Vec<HelperProcess>,
    /// The export of the first login.
    pub export: PathBuf,
    pub passed: i64,
}

impl Group {
    /// One home with two accounts in files, or two homes in a keychain.
    pub fn new(test: &'static str, session: Option<&Session>, processes: usize) -> Self {
        let (authority, homes, logins) = session.map_or_else(in_files, in_a_keychain);
        authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
        let export = homes[0].path().with_file_name("export");
        let mut group = Self {
            test,
            authority,
            homes,
            logins,
            actors: Vec::new(),
            keepers: Vec::new(),
            export,
            passed: 0,
        };
        group.run(0, ["sync", "export", group.export.to_str().unwrap()]).run().expect(0);
        group.actors = (0..processes).map(|number| group.actor(number % NAMES.len(), None)).collect();
        group.keepers = (0..group.homes.len()).map(|home| group.keeper(home)).collect();
        group
    }

    /// A run of the program with one of the logins.
    pub fn run<'a>(&self, login: usize, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let run = self.home_of(login).codex(arguments).env("CODEX_HOME", &self.logins[login].home);
        run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url())
    }

    /// OpenAI's Codex with one of the logins.
    pub fn codex(&self, login: usize) -> Client {
        let path = &self.logins[login].home;
        let run = Run::of(&codex_0171(), ["-c", "chatgpt_base_url=\"http://127.0.0.1:9/\"", "app-server"]);
        let run = run.envs(self.home_of(login).variables()).env("HOME", path).env("CODEX_HOME", path);
        Client::from_run(run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url()))
    }

    /// Starts a process of a login; `step` is the step of a refresh at which it is killed.
    pub fn actor(&self, login: usize, step: Option<&str>) -> Actor {
        let home = format!("CODEX_HOME={}", self.logins[login].home.display());
        let failpoint = step.map(|step| format!("CODEX_AUTH_FAILPOINT={step}=kill"));
        let way: Vec<&str> = ["env", &home].into_iter().chain(failpoint.as_deref()).collect();
        let mut process = HelperProcess::start_through(&way, self.test, "process", self.home_of(login));
        process.send(&self.authority.token_url());
        process.await_word("ready");
        Actor { login, process }
    }

    /// Starts the keeper of a home.
    pub fn keeper(&self, home: usize) -> HelperProcess {
        keeper::start(self.test, &self.homes[home], &self.authority.token_url(), self.passed)
    }

    /// Lets every token expire.
    pub fn expire(&mut self) {
        self.passed += ROUND;
        self.authority.adjust(|policy| policy.clock_offset = self.passed);
    }

    /// The number of refresh requests, and of those that were refused.
    pub fn requests(&self) -> (u64, u64) {
        let counters = self.authority.counters();
        (counters.of(Endpoint::Refresh), counters.ended(Endpoint::Refresh, Outcome::Refused))
    }

    /// Whether the store holds the valid refresh token.
    pub fn is_whole(&self, login: usize) -> bool {
        let login = &self.logins[login];
        let live = self.authority.live_refresh_token(login.grant.id);
        live.is_some_and(|live| matches!(login.read(&self.authority), Stored::Own(token) if token == live))
    }

    /// Logs in again with one of the logins.
    pub fn sign_in(&mut self, login: usize) {
        self.logins[login].sign_in(&self.authority);
    }

    /// The fingerprint of the access token in the export; `None` while there is no document.
    pub fn exported(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.export.join("auth.json")).ok()?;
        let document: Value = serde_json::from_str(&text).ok()?;
        Some(fingerprint(document["tokens"]["access_token"].as_str()?))
    }

    /// Changes when the service of the keychain crashes.
    pub fn keychain_owner(&self) -> Option<String> {
        (self.logins[0].kind == StoreKind::Keychain).then(|| keychain_owner(&self.homes[0]))
    }

    pub fn finish(self) {
        self.actors.into_iter().for_each(|actor| actor.process.finish());
        self.keepers.into_iter().for_each(HelperProcess::finish);
    }

    fn home_of(&self, login: usize) -> &TestHome {
        &self.homes[login.min(self.homes.len() - 1)]
    }
}

type Parts = (Authority, Vec<TestHome>, Vec<Login>);

fn in_files() -> Parts {
    let world = world::World::with(&NAMES);
    let folders = NAMES.map(|name| world.document(name).parent().unwrap().to_owned());
    let logins = folders.into_iter().zip(world.grants);
    let logins = logins.map(|(home, grant)| Login { home, kind: StoreKind::File, grant }).collect();
    (world.authority, vec![world.home], logins)
}

fn in_a_keychain(session: &Session) -> Parts {
    let authority = Authority::start().unwrap();
    let homes = NAMES.map(|_| {
        let home = TestHome::with_variables(session.clone());
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        home
    });
    let logins = (1..).zip(&homes).map(|(number, home)| {
        let grant = authority.grant(Account::numbered(number));
        let mut login = Login { home: home.path(), kind: StoreKind::Keychain, grant };
        login.sign_in(&authority);
        login
    });
    let logins = logins.collect();
    (authority, homes.into(), logins)
}

/// Sends a signal to a process, which may have ended.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).output();
}

/// Whether `path` holds a document that is no valid JSON.
pub fn is_torn(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_err())
}
