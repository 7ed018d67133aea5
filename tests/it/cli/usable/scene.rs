//! A login in a home on a small file system, for tests with mounts, other users and failing system calls.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use scripted_authority::{Account, Authority, Endpoint, Grant};
use serde_json::Value;

use crate::support::{Machine, Mounted, Run, TestHome, item, tree};

/// The owner of homes in tests of permissions.
const USER: u32 = 64_101;

/// Whether the access token of a login is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Fresh,
    Expired,
}

/// A login in a home on its own small file system.
pub struct Scene {
    pub mounted: Mounted,
    pub machine: Machine,
    pub authority: Authority,
    pub grant: Grant,
    pub user: Option<u32>,
    pub way: &'static [&'static str],
    pub variables: Vec<(&'static str, Option<&'static str>)>,
}

impl Scene {
    pub fn of(mut machine: Machine, token: Token) -> Self {
        let authority = Authority::start().unwrap();
        let home = std::mem::replace(&mut machine.home, TestHome::new());
        let config = fs::read(home.file("config.toml")).ok();
        fs::set_permissions(home.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        let mounted = Mounted::by(home, "mount -t tmpfs -o size=800k,mode=755 tmpfs \"$home\"");
        let grant = granted(&authority, token);
        let (user, way, variables) = (None, &[][..], Vec::new());
        let scene = Self { mounted, machine, authority, grant, user, way, variables };
        if let Some(config) = config {
            scene.write("config.toml", config);
        }
        scene.keep(&scene.grant.auth_json());
        scene
    }

    /// The path of a file of the home for this process.
    pub fn file(&self, name: &str) -> PathBuf {
        self.mounted.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn keep(&self, document: &str) {
        match self.machine.session {
            Some(_) => item(&self.mounted.home).set_secret(document.as_bytes()).unwrap(),
            None => self.write("auth.json", document),
        }
    }

    pub fn document(&self) -> Value {
        serde_json::from_str(&self.grant.auth_json()).unwrap()
    }

    /// Gives the home to another user, and runs the program as that user.
    pub fn by_user(&mut self) {
        self.user = Some(USER);
        for (path, ..) in tree(&self.mounted.path()) {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        chown(self.mounted.path(), Some(USER), Some(USER)).unwrap();
    }

    pub fn change(&self, lines: &str) {
        self.mounted.change(lines).expect(0);
    }

    pub fn codex(&self, arguments: &[&str]) -> Run {
        let home = &self.mounted.home;
        let mut run = home.codex(arguments.iter().copied());
        run = run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url());
        run = run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url());
        for (name, value) in &self.variables {
            run = match value {
                Some(value) => run.env(name, value),
                None => run.without(name),
            };
        }
        if let Some(uid) = self.user {
            run = run.by_user(uid);
        }
        if !self.way.is_empty() {
            run = run.through(self.way.iter().copied());
        }
        self.mounted.enter(run)
    }

    pub fn requests(&self) -> u64 {
        self.authority.counters().of(Endpoint::Refresh)
    }
}

/// A grant of an account, with an access token that is valid or has expired.
pub fn granted(authority: &Authority, token: Token) -> Grant {
    let lifetime = authority.policy().access_lifetime;
    authority.adjust(|policy| match token {
        Token::Fresh => (policy.clock_offset, policy.access_lifetime) = (-8_000, 20_000),
        Token::Expired => policy.clock_offset = -4_000,
    });
    let grant = authority.grant(Account::numbered(1));
    authority.adjust(|policy| (policy.clock_offset, policy.access_lifetime) = (0, lifetime));
    grant
}
