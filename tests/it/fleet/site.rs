//! Two hosts on one machine, with an authority and an etcd, and the commands of the program on each.

use std::fs;
use std::path::Path;

use scripted_authority::{Account, Authority, Endpoint, Grant, Outcome, Reuse, TokenState};
use serde_json::Value;

use super::etcd::{Etcd, URL};
use crate::keeper::process::{AT_WORK, Process};
use crate::support::{Ended, Run, TestHome};

/// The password of the etcd user, which must be nowhere but with the hosts.
pub const PASSWORD: &str = "marked-password";

/// Two hosts, an authority and an etcd.
pub struct Site {
    pub etcd: Etcd,
    pub authority: Authority,
    pub grant: Grant,
    pub first: TestHome,
    pub second: TestHome,
}

/// Whether etcd asks for passwords.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Anyone,
    Users,
}

impl Site {
    /// The first host is logged in.
    pub fn start(access: Access) -> Self {
        let authority = Authority::start().unwrap();
        authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
        let grant = authority.grant(Account::numbered(1));
        let (first, second) = (TestHome::new(), TestHome::new());
        first.write("auth.json", grant.auth_json());
        let site = Self { etcd: Etcd::start(), authority, grant, first, second };
        if access == Access::Users {
            site.follow_the_recipe();
        }
        site
    }

    /// Runs the commands of the README that give the hosts a user of etcd.
    pub fn follow_the_recipe(&self) {
        for command in recipe("etcdctl user add root").lines() {
            let mut words: Vec<_> = command.split(' ').skip(1).map(str::to_owned).collect();
            if words[..2] == ["user", "add"] {
                words[2] = format!("{}:{PASSWORD}", words[2]);
            }
            self.etcd.ctl(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    pub fn with_authority(&self, run: Run) -> Run {
        run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url())
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url())
            .env("CODEX_AUTHAPI_BASE_URL", self.authority.url())
    }

    pub fn codex<'a>(&self, host: &TestHome, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.with_authority(host.codex(arguments))
    }

    /// Founds a fleet without users on the first host, and joins on the second.
    pub fn join_both(&self) {
        self.codex(&self.first, ["fleet", "init", "--etcd", URL, "--member", "one"]).run().expect(0);
        self.join(&self.second, "two").expect(0);
    }

    pub fn invite(&self) -> String {
        self.codex(&self.first, ["fleet", "invite"]).run().expect(0).out
    }

    pub fn join(&self, host: &TestHome, name: &str) -> Ended {
        self.codex(host, ["fleet", "join", "--member", name]).input(self.invite()).run()
    }

    pub fn keeper(&self, host: &TestHome) -> Process {
        let keeper = Process::start(self.codex(host, ["sync", "run"]).env("CODEX_AUTH_LOG", "debug"));
        keeper.until(AT_WORK);
        keeper
    }

    pub fn status(&self, host: &TestHome) -> Value {
        self.codex(host, ["fleet", "status", "--json"]).run().json()
    }

    pub fn token(&self, host: &TestHome) -> String {
        self.codex(host, ["token"]).run().expect(0).out.trim().to_owned()
    }

    /// The number of refreshes that the authority granted; every one was the first with its token.
    #[track_caller]
    pub fn refreshes(&self) -> u64 {
        let counters = self.authority.counters();
        assert_eq!(counters.ended(Endpoint::Refresh, Outcome::Refused), 0, "{:#?}", self.authority.journal());
        counters.ended(Endpoint::Refresh, Outcome::Granted)
    }

    /// Checks that the stored login of `host` has the access token of the authority and no refresh token.
    #[track_caller]
    pub fn assert_served(&self, host: &TestHome) {
        let document: Value = serde_json::from_str(&host.read("auth.json")).unwrap();
        let refresh_token = document["tokens"]["refresh_token"].as_str().unwrap();
        assert!(refresh_token.starts_with("codex-auth.dummy."), "it has a refresh token");
        let access_token = document["tokens"]["access_token"].as_str().unwrap();
        assert_eq!(self.authority.state_of(access_token), TokenState::Live, "{document:#}");
    }

    /// Checks that no secret is in a file of etcd, and that no refresh token is readable on a host.
    pub fn assert_no_secret_leaked(&self, hosts: &[&TestHome]) {
        let mut secrets = self.authority.issued_secrets();
        for host in hosts {
            let keys: Value = serde_json::from_str(&host.read("codex-auth/fleet/keys")).unwrap();
            // Etcd 3.4 itself writes the password of its user to its log.
            let keys = keys["keys"].as_array().unwrap();
            secrets
                .extend(keys.iter().map(|key| key.as_str().unwrap().split_once(':').unwrap().1.to_owned()));
        }
        let is_in = |text: &str| secrets.iter().any(|secret| text.contains(secret.as_str()));
        for file in self.etcd.files() {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            assert!(!is_in(&text), "{} has a secret", file.display());
        }
        let live = self.authority.live_refresh_token(self.grant.id);
        for host in hosts {
            for (path, mode, content) in host.tree() {
                let text = String::from_utf8_lossy(&content);
                assert!(live.as_ref().is_none_or(|token| !text.contains(token)), "{}", path.display());
                let is_ours = path.to_string_lossy().contains("/fleet/");
                assert!(!is_ours || mode & 0o077 == 0, "{}: {mode:o}", path.display());
            }
        }
    }
}

/// The block of the README that begins with `line`.
pub fn recipe(line: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, after) = page.split_once(&format!("```sh\n{line}")).unwrap_or_else(|| panic!("no recipe {line}"));
    format!("{line}{}", after.split_once("\n```").unwrap().0)
}
