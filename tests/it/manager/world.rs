//! A machine with a login from a scripted authority.

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

/// Longer than any wait on a loaded machine.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A machine, an authority, and a login.
pub struct World<'a> {
    pub machine: &'a mut Machine,
    pub authority: Authority,
    pub grant: Grant,
}

impl<'a> World<'a> {
    /// A login whose access token is valid for an hour.
    pub fn fresh(machine: &'a mut Machine) -> Self {
        Self::with(machine, 0)
    }

    /// A login whose access token expires in a minute; later tokens are valid for an hour.
    pub fn stale(machine: &'a mut Machine) -> Self {
        Self::with(machine, -3_540)
    }

    /// A login whose access token has expired.
    pub fn expired(machine: &'a mut Machine) -> Self {
        Self::with(machine, -4_000)
    }

    /// No login; the grant can be used to log in, and its access token is valid for an hour.
    pub fn empty(machine: &'a mut Machine) -> Self {
        Self::granted(machine, |_| {})
    }

    fn with(machine: &'a mut Machine, clock_offset: i64) -> Self {
        let world = Self::with_policy(machine, |policy| policy.clock_offset = clock_offset);
        world.authority.adjust(|policy| policy.clock_offset = 0);
        world
    }

    /// A login from an authority with its own policy.
    pub fn with_policy(machine: &'a mut Machine, rules: impl FnOnce(&mut Policy)) -> Self {
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

    /// Logs in with `grant` as the program does: under the lease, with recorded state.
    pub fn sign_in(&self, grant: &Grant) {
        let stores = self.machine.home.stores();
        let document = AuthDocument::parse(grant.auth_json().as_bytes()).unwrap();
        let choice = stores.choose(StoreSelection::from_name(self.machine.store())).unwrap();
        let lease = Lease::acquire(stores.home(), TEST_TIMEOUT, |_| {}).unwrap();
        login::commit_login(&mut stores.writer(&lease).unwrap(), &choice, &document).unwrap();
    }

    /// Stores the login of `grant` in this machine's store; a keychain also gets a sealing key.
    pub fn log_in(&self, grant: &Grant) {
        if self.machine.session.is_some() {
            self.machine.home.write("config.toml", "");
            self.machine.home.write("auth.json", grant.auth_json());
            let move_it = || {
                let stores = self.machine.home.stores();
                writing(&stores, |writer| migrate(writer, StoreKind::Keychain))
            };
            // The first call after a restart of the service fails, because its connection is closed.
            let moved = move_it().or_else(|_| move_it());
            assert!(moved.unwrap().is_some());
        } else {
            self.machine.store_text(grant.auth_json());
        }
    }

    /// Logs in as `account`, with an access token that is valid for another `left` seconds of an hour.
    pub fn log_in_as(&mut self, account: Account, left: i64) {
        self.authority.adjust(|policy| policy.clock_offset = left - policy.access_lifetime);
        self.grant = self.authority.grant(account);
        self.authority.adjust(|policy| policy.clock_offset = 0);
        self.log_in(&self.grant);
    }

    /// A run of the program with this authority.
    pub fn codex<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Run {
        let urls = (self.authority.token_url(), self.authority.revoke_url());
        let run = self.machine.codex(arguments).env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", urls.0);
        run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", urls.1)
            .env("CODEX_AUTHAPI_BASE_URL", self.authority.url())
            .env("CODEX_AUTH_CONFIG", format!("chatgpt_base_url = \"{}/backend-api\"", self.authority.url()))
    }

    /// The environment of a process with this home and authority.
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

    /// Options for a manager with this home and authority.
    pub fn builder(&self) -> Builder {
        AuthManager::builder(self.machine.home.home(), self.environment())
    }

    /// The number of refresh requests.
    pub fn requests(&self) -> u64 {
        self.authority.counters().of(Endpoint::Refresh)
    }

    /// The number of refresh requests with this outcome.
    pub fn requests_with(&self, outcome: Outcome) -> u64 {
        self.authority.counters().ended(Endpoint::Refresh, outcome)
    }

    /// The stored document.
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.machine.stored_text().expect("a login is stored")).unwrap()
    }

    /// One of the stored tokens.
    pub fn stored_token(&self, token: &str) -> String {
        self.document()["tokens"][token].as_str().unwrap().to_owned()
    }

    /// The refresh token that the authority accepts.
    pub fn live_refresh_token(&self) -> Option<String> {
        self.authority.live_refresh_token(self.grant.id)
    }

    /// The content of `state.json`.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.machine.home.read("codex-auth/state.json")).unwrap()
    }

    /// Whether a rescue waits to be committed.
    pub fn has_rescue(&self) -> bool {
        // An empty one is only reserved space.
        let found = std::fs::read(self.machine.home.file("codex-auth/rescue"));
        found.is_ok_and(|bytes| bytes.iter().any(|byte| *byte != b' '))
    }

    /// Asserts that no token was sent twice, and that no valid one was lost.
    #[track_caller]
    pub fn assert_no_token_reused_or_lost(&self) {
        assert_eq!(self.requests_with(Outcome::Refused), 0, "{:#?}", self.authority.journal());
        assert_eq!(Some(self.stored_token("refresh_token")), self.live_refresh_token());
        assert!(!self.has_rescue());
    }

    /// Calls `meanwhile` while the next refresh is held at `moment`, then releases it and returns its output.
    pub fn during(&self, moment: Moment, run: Run, meanwhile: impl FnOnce(&Self)) -> std::process::Output {
        let hold = self.authority.hold(Endpoint::Refresh, moment);
        let child = run.start();
        hold.arrived(TEST_TIMEOUT).unwrap();
        meanwhile(self);
        hold.release();
        child.wait_with_output().unwrap()
    }
}

/// Blocks on `future` with a temporary runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

/// Spends `refresh_token` as Codex does, without the lease, and returns the response.
pub fn spend(authority: &Authority, refresh_token: &str) -> Value {
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

/// The document with the tokens of `answer`, merged as Codex does.
pub fn merged(document: &str, answer: &Value) -> String {
    let mut document: Value = serde_json::from_str(document).unwrap();
    for key in ["id_token", "access_token", "refresh_token"] {
        document["tokens"][key] = answer[key].clone();
    }
    document["last_refresh"] = json!(jiff::Timestamp::from_second(now()).unwrap().to_string());
    format!("{document:#}")
}
