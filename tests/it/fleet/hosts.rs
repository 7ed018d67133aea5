//! Hosts of a fleet on one machine: a real etcd, a scripted authority, and a folder for each member.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use codex_auth::config::NetworkSetting;
use codex_auth::fleet::{
    EtcdLimits, EtcdSettings, FleetKey, FleetKeys, FleetState, Member, MemberParts, MemberTimings,
};
use codex_auth::{AuthDocument, Clock, Environment, Secret};
use scripted_authority::{Account, Authority, Endpoint, Grant, Outcome, Reuse};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::etcd::{Etcd, URL, open, settings};

/// Short, and long enough for a loaded machine.
pub const TIMINGS: MemberTimings = MemberTimings {
    lease: Duration::from_secs(6),
    request: Duration::from_secs(2),
    margin: Duration::from_secs(1),
    poll: Duration::from_millis(500),
};
/// A stopped etcd is found soon.
const LIMITS: EtcdLimits = EtcdLimits { attempt: Duration::from_secs(3), call: Duration::from_secs(6) };
/// How long a refresh may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A member that takes part until this is dropped.
pub struct Running {
    pub member: Member,
    task: JoinHandle<Infallible>,
}

impl Running {
    pub fn start(member: Member) -> Self {
        let runs = member.clone();
        Self { member, task: tokio::spawn(async move { runs.run().await }) }
    }

    /// Waits until it knows a state that `matches`.
    pub async fn until(&self, what: &str, matches: impl FnMut(&FleetState) -> bool) -> FleetState {
        let mut states = self.member.subscribe();
        let found = tokio::time::timeout(LIMIT, states.wait_for(matches)).await;
        found.unwrap_or_else(|_| panic!("{what}: {:?}", self.member.state())).unwrap().clone()
    }

    pub async fn until_generation(&self, least: u64) -> FleetState {
        let is_there = |state: &FleetState| state.order().is_some_and(|order| order.generation >= least);
        self.until(&format!("generation {least}"), is_there).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A fleet without members.
pub struct Fleet {
    pub etcd: Etcd,
    pub authority: Authority,
    pub folder: TempDir,
    pub key: Secret,
}

impl Fleet {
    pub fn start() -> Self {
        let authority = Authority::start().unwrap();
        authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
        let key = FleetKey::random(1).unwrap().to_secret();
        Self { etcd: Etcd::start(), authority, folder: tempfile::tempdir().unwrap(), key }
    }

    pub fn keys(&self) -> FleetKeys {
        FleetKeys::new("team", FleetKey::from_secret(&self.key).unwrap())
    }

    pub fn parts(&self, name: &str) -> MemberParts {
        parts(self.folder.path(), name, self.keys(), &self.authority.token_url())
    }

    pub async fn open(&self, name: &str) -> Member {
        Member::open(self.parts(name), LIMIT).await.unwrap()
    }

    pub async fn run(&self, name: &str) -> Running {
        Running::start(self.open(name).await)
    }

    /// Logs in at the authority.
    pub fn grant(&self) -> Grant {
        self.authority.grant(Account::numbered(1))
    }

    /// Logs in for the fleet at `member`.
    pub async fn log_in(&self, member: &Member) -> Grant {
        let grant = self.grant();
        member.save_login(document(&grant)).await.unwrap();
        member.complete_login().await.unwrap();
        grant
    }

    /// Checks that the newest token of `grant` is that of `state`.
    pub fn assert_live(&self, grant: &Grant, state: &FleetState) {
        let live = self.authority.live_refresh_token(grant.id).expect("the login is live");
        let record = state.record.as_ref().unwrap();
        assert_eq!(record.document().fingerprint(), Some(Secret::new(live).fingerprint()));
    }

    /// Returns the number of refreshes that the authority granted.
    pub fn refreshes(&self) -> u64 {
        self.authority.counters().ended(Endpoint::Refresh, Outcome::Granted)
    }

    /// Returns the number of refresh tokens that were sent again after they were spent.
    pub fn reuses(&self) -> usize {
        let journal = self.authority.journal();
        journal.iter().filter(|entry| entry.code.as_deref() == Some("refresh_token_reused")).count()
    }

    /// Checks that no secret of the authority and no key is in what etcd keeps.
    pub fn assert_sealed(&self) {
        let mut secrets = self.authority.issued_secrets();
        secrets.push(self.key.expose().to_owned());
        for file in self.etcd.files() {
            let bytes = fs::read(&file).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let found = secrets.iter().find(|secret| text.contains(secret.as_str()));
            assert!(found.is_none(), "{} has a secret", file.display());
        }
    }
}

pub fn document(grant: &Grant) -> AuthDocument {
    AuthDocument::parse(grant.auth_json().as_bytes()).unwrap()
}

pub fn parts(folder: &Path, name: &str, keys: FleetKeys, token_url: &str) -> MemberParts {
    let folder = folder.join(name);
    let mut environment = Environment::for_home(&folder);
    environment.network.refresh_url =
        Some(NetworkSetting::new("CODEX_REFRESH_TOKEN_URL_OVERRIDE", token_url));
    MemberParts {
        folder: folder.join("fleet"),
        prefix: "codex-auth/team/".to_owned(),
        name: name.parse().unwrap(),
        keys,
        store: open(EtcdSettings { limits: LIMITS, ..settings(&[URL]) }),
        environment,
        clock: Clock::system(),
        timings: TIMINGS,
    }
}

pub fn generation(state: &FleetState) -> u64 {
    state.order().unwrap().generation
}
