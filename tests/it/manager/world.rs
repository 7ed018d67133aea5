//! A machine with a login that a scripted authority has given.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use codex_auth::config::StoreSelection;
use codex_auth::manager::{AuthManager, Builder};
use codex_auth::store::migrate::migrate;
use codex_auth::{AuthDocument, Environment, Lease, StoreKind, login};
use scripted_authority::{Account, Authority, CODEX_CLIENT_ID, Endpoint, Grant, Moment, Outcome, Policy};
use serde_json::{Value, json};

use crate::support::writing::writing;
use crate::support::{Machine, Run, now};

/// Long enough for anything that a loaded machine does.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A machine, the authority, and the login that is on the one by the other.
pub struct World<'a> {
    pub machine: &'a mut Machine,
    pub authority: Authority,
    pub grant: Grant,
}

impl<'a> World<'a> {
    /// A login whose access token is good for an hour.
    pub fn fresh(machine: &'a mut Machine) -> Self {
        Self::with(machine, 0)
    }

    /// A login whose access token ends in a minute, while tokens that are given from now on last an hour.
    pub fn stale(machine: &'a mut Machine) -> Self {
        Self::with(machine, -3_540)
    }

    /// A login whose access token has ended.
    pub fn expired(machine: &'a mut Machine) -> Self {
        Self::with(machine, -4_000)
    }

    /// Nobody is logged in; the grant is there to log in with, and its access token good for an hour.
    pub fn empty(machine: &'a mut Machine) -> Self {
        Self::granted(machine, |_| {})
    }

    fn with(machine: &'a mut Machine, clock_offset: i64) -> Self {
        let world = Self::under(machine, |policy| policy.clock_offset = clock_offset);
        world.authority.adjust(|policy| policy.clock_offset = 0);
        world
    }

    /// A login by an authority with rules of its own.
    pub fn under(machine: &'a mut Machine, rules: impl FnOnce(&mut Policy)) -> Self {
        let world = Self::granted(machine, rules);
        world.log_in(&world.grant);
        world
    }

    fn granted(machine: &'a mut Machine, rules: impl FnOnce(&mut Policy)) -> Self {
        let authority = Authority::start().unwrap();
        authority.adjust(rules);
        let grant = authority.grant(Account::numbered(1));
        Self { machine, authority, grant }
    }

    /// Logs in with `grant` as the program does: under the lease, with everything recorded.
    pub fn sign_in(&self, grant: &Grant) {
        let stores = self.machine.home.stores();
        let document = AuthDocument::parse(grant.auth_json().as_bytes()).unwrap();
        let choice = stores.choose(StoreSelection::named(self.machine.store())).unwrap();
        let lease = Lease::acquire(stores.home(), PATIENCE, |_| {}).unwrap();
        login::keep(&mut stores.writer(&lease).unwrap(), &choice, &document).unwrap();
    }

    /// Puts the login of `grant` where logins are kept on this machine; a keychain gets our key beside it.
    pub fn log_in(&self, grant: &Grant) {
        if self.machine.session.is_some() {
            self.machine.home.write("config.toml", "");
            self.machine.home.write("auth.json", grant.auth_json());
            let move_it = || {
                let stores = self.machine.home.stores();
                writing(&stores, |writer| migrate(writer, StoreKind::Keychain))
            };
            // The first call after the service was restarted finds its connection gone.
            let moved = move_it().or_else(|_| move_it());
            assert!(moved.unwrap().is_some());
        } else {
            self.machine.keep(grant.auth_json());
        }
    }

    /// Logs in as `account` instead, with an access token that is good for so many seconds still, of an hour.
    pub fn become_account(&mut self, account: Account, left: i64) {
        self.authority.adjust(|policy| policy.clock_offset = left - policy.access_lifetime);
        self.grant = self.authority.grant(account);
        self.authority.adjust(|policy| policy.clock_offset = 0);
        self.log_in(&self.grant);
    }

    /// A run of the program that knows the authority.
    pub fn codex<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Run {
        let urls = (self.authority.token_url(), self.authority.revoke_url());
        let run = self.machine.codex(arguments).env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", urls.0);
        run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", urls.1)
    }

    /// The environment of a process of this login that knows the authority.
    pub fn environment(&self) -> Environment {
        let home = self.machine.home.path();
        let (token_url, revoke_url) = (self.authority.token_url(), self.authority.revoke_url());
        let environment = Environment::read(move |name| match name {
            "CODEX_HOME" => Some(home.clone().into()),
            "CODEX_REFRESH_TOKEN_URL_OVERRIDE" => Some(token_url.clone().into()),
            "CODEX_REVOKE_TOKEN_URL_OVERRIDE" => Some(revoke_url.clone().into()),
            _ => None,
        });
        environment.unwrap()
    }

    /// A manager of this login that knows the authority, to be opened.
    pub fn builder(&self) -> Builder {
        AuthManager::builder(self.machine.home.home(), self.environment())
    }

    /// How many refreshes were asked for.
    pub fn requests(&self) -> u64 {
        self.authority.counters().of(Endpoint::Refresh)
    }

    /// How many of them ended so.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.authority.counters().ended(Endpoint::Refresh, outcome)
    }

    /// The document on the machine.
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.machine.kept().expect("somebody is logged in")).unwrap()
    }

    /// One of the tokens on the machine.
    pub fn kept(&self, token: &str) -> String {
        self.document()["tokens"][token].as_str().unwrap().to_owned()
    }

    /// The refresh token that the authority would take.
    pub fn live(&self) -> Option<String> {
        self.authority.live_refresh_token(self.grant.id)
    }

    /// What all instances know.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.machine.home.read("codex-auth/state.json")).unwrap()
    }

    /// Whether a token response waits to be committed.
    pub fn has_rescue(&self) -> bool {
        // A blank one is the space of a request, with nothing in it.
        let found = std::fs::read(self.machine.home.file("codex-auth/rescue"));
        found.is_ok_and(|bytes| bytes.iter().any(|byte| *byte != b' '))
    }

    /// That no token was sent a second time, and none that is good for anything was lost.
    #[track_caller]
    pub fn nothing_is_spent_twice_or_lost(&self) {
        assert_eq!(self.ended(Outcome::Refused), 0, "{:#?}", self.authority.journal());
        assert_eq!(Some(self.kept("refresh_token")), self.live());
        assert!(!self.has_rescue());
    }

    /// Runs `meanwhile` while the next refresh stands still at `moment`, then lets it go on, and says how it ended.
    pub fn during(&self, moment: Moment, run: Run, meanwhile: impl FnOnce(&Self)) -> std::process::Output {
        let hold = self.authority.hold(Endpoint::Refresh, moment);
        let child = run.start();
        hold.arrived(PATIENCE).unwrap();
        meanwhile(self);
        hold.release();
        child.wait_with_output().unwrap()
    }
}

/// What `future` comes to, on a runtime that is gone afterwards.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

/// Spends `refresh_token` as Codex does, without our lock, and gives back what the authority answers.
pub fn post(authority: &Authority, refresh_token: &str) -> Value {
    let body = json!({
        "client_id": CODEX_CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_reason": "forced",
        "refresh_token": refresh_token,
    })
    .to_string();
    let address = authority.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let (from, to) = (body.find('{').unwrap(), body.rfind('}').unwrap());
    serde_json::from_str(&body[from..=to]).unwrap()
}

/// A document with the tokens of `answer` in it, as Codex merges them.
pub fn merged(document: &str, answer: &Value) -> String {
    let mut document: Value = serde_json::from_str(document).unwrap();
    for key in ["id_token", "access_token", "refresh_token"] {
        document["tokens"][key] = answer[key].clone();
    }
    document["last_refresh"] = json!(jiff::Timestamp::from_second(now()).unwrap().to_string());
    format!("{document:#}")
}
