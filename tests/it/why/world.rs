//! A home with a login of a scripted authority, and a default home beside it.

use std::fs;
use std::path::{Path, PathBuf};

use scripted_authority::{Account, Authority, Endpoint, Grant, Step};
use serde_json::Value;

use super::table::check;
use crate::support::{Ended, Run, TestHome};

pub struct World {
    pub authority: Authority,
    pub home: TestHome,
    pub grant: Grant,
    /// The home directory of the user.
    pub user: PathBuf,
}

impl World {
    /// A login that this program has refreshed once.
    pub fn new() -> Self {
        let world = Self::empty();
        world.home.write("auth.json", world.grant.auth_json());
        world.refresh().expect(0);
        world
    }

    /// No login.
    pub fn empty() -> Self {
        let (authority, home) = (Authority::start().unwrap(), TestHome::new());
        let (grant, user) = (authority.grant(Account::numbered(1)), home.beside("user"));
        Self { authority, home, grant, user }
    }

    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.codex_at(&self.home.path(), arguments)
    }

    pub fn codex_at<'a>(&self, home: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let run = self.home.codex(arguments).env("CODEX_HOME", home).env("HOME", &self.user);
        let run = run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url());
        run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url())
    }

    pub fn refresh(&self) -> Ended {
        self.codex(["refresh"]).run()
    }

    /// The next request gets this response.
    pub fn script(&self, step: Step) {
        self.authority.script(Endpoint::Refresh, step);
    }

    /// Copies the stored login into a new home beside this one, which has a default home of its own.
    pub fn copy_elsewhere(&self) -> PathBuf {
        let copy = self.home.beside("elsewhere");
        fs::copy(self.home.document(), copy.join("auth.json")).unwrap();
        copy
    }

    /// Copies the stored login into the default home of the user.
    pub fn copy_to_default_home(&self) -> PathBuf {
        let copy = self.user.join(".codex");
        fs::create_dir(&copy).unwrap();
        fs::copy(self.home.document(), copy.join("auth.json")).unwrap();
        copy
    }

    pub fn why(&self) -> Value {
        self.codex(["why", "--json"]).run().expect(0).json()
    }

    /// Checks that `codex why` says what the table says about `scenario`, in words too.
    #[track_caller]
    pub fn explains(&self, scenario: &str) {
        check(scenario, &self.why());
        let words = self.codex(["why"]).run().expect(0);
        assert!(words.out.lines().count() >= 2, "{words}");
    }

    /// The events of the home, one a line.
    pub fn events(&self) -> Vec<Value> {
        let log = self.codex(["log", "--json"]).run().expect(0);
        log.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
