//! A home with accounts of a scripted authority.

use std::fs;
use std::path::{Path, PathBuf};

use scripted_authority::{Account, Authority, Endpoint, Grant, Policy};
use serde_json::Value;

use crate::support::{Run, TestHome};

/// The longest wait of a command for a lock.
const LOCK_TIMEOUT: &str = "20s";

/// An authority, and a home with an account for each of its grants; the first is active.
pub struct World {
    pub authority: Authority,
    pub home: TestHome,
    pub grants: Vec<Grant>,
    names: Vec<String>,
}

impl World {
    /// A home with these accounts.
    pub fn with(names: &[&str]) -> Self {
        Self::with_policy(names, |_| {})
    }

    /// A home with these accounts of an authority with this policy.
    pub fn with_policy(names: &[&str], rules: impl FnOnce(&mut Policy)) -> Self {
        let authority = Authority::start().unwrap();
        authority.adjust(rules);
        let mut world = Self {
            authority,
            home: TestHome::new(),
            grants: Vec::new(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        for name in names {
            let number = u32::try_from(world.grants.len()).unwrap() + 1;
            let grant = world.authority.grant(Account::numbered(number));
            let file = world.write_outside(&format!("{name}.json"), &grant.auth_json());
            world.run(["account", "import", file.to_str().unwrap(), name]).run().expect(0);
            fs::remove_file(file).unwrap();
            world.grants.push(grant);
        }
        world
    }

    /// Writes a file beside the home.
    pub fn write_outside(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().with_file_name(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.run_at(&self.home.path(), arguments)
    }

    /// A run in another home.
    pub fn run_at<'a>(&self, home: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let run = self.home.codex(arguments).env("CODEX_HOME", home);
        let run = run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url());
        let run = run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url());
        run.env("CODEX_AUTH_LOCK_TIMEOUT", LOCK_TIMEOUT)
    }

    /// The report of `codex account list` about the accounts of the home at `home`.
    pub fn list_at(&self, home: &Path) -> Vec<Value> {
        let report = self.run_at(home, ["account", "list", "--json"]).run().expect(0).json();
        report["accounts"].as_array().unwrap().clone()
    }

    pub fn list(&self) -> Vec<Value> {
        self.list_at(&self.home.path())
    }

    /// The document of an account.
    pub fn document(&self, name: &str) -> PathBuf {
        let found = self.list().into_iter().find(|account| account["name"] == name).unwrap();
        PathBuf::from(found["home"].as_str().unwrap()).join("auth.json")
    }

    /// The name of the active account.
    pub fn active(&self) -> Value {
        self.run(["account", "list", "--json"]).run().expect(0).json()["active"].clone()
    }

    /// The access token that a command prints.
    pub fn token(&self, arguments: &[&str]) -> String {
        self.run(arguments.iter().copied()).run().expect(0).out.trim().to_owned()
    }

    /// Asserts that every account holds the live token of its own grant, and that nothing was revoked.
    #[track_caller]
    pub fn assert_whole(&self) {
        for (name, grant) in self.names.iter().zip(&self.grants) {
            self.assert_live(&self.document(name), grant);
        }
        assert_eq!(self.authority.counters().of(Endpoint::Revoke), 0, "{:#?}", self.authority.journal());
    }

    #[track_caller]
    pub fn assert_live(&self, document: &Path, grant: &Grant) {
        let live = self.authority.live_refresh_token(grant.id);
        assert!(live.is_some(), "{}: the grant has ended", document.display());
        assert_eq!(refresh_token(document), live, "{}", document.display());
    }

    pub fn requests(&self) -> u64 {
        self.authority.counters().of(Endpoint::Refresh)
    }
}

pub fn refresh_token(path: &Path) -> Option<String> {
    let document: Value = serde_json::from_slice(&fs::read(path).ok()?).unwrap();
    document["tokens"]["refresh_token"].as_str().map(str::to_owned)
}
