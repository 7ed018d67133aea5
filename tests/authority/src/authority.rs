//! A running authority, with a synchronous interface for tests.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::agent::{AgentKey, Signing};
use crate::device::Decision;
use crate::faults::{Endpoint, Moment, Step, StepId};
use crate::grants::{Account, Ending, GrantId, TokenState};
use crate::journal::{Counters, Entry};
use crate::policy::{CODEX_CLIENT_ID, Policy};
use crate::server;
use crate::state::{Shared, State, TimedOut};
use crate::tokens::Grant;

/// Why an authority could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The embedded signing key of agent identities was rejected.
    #[error("the embedded signing key was rejected: {0}")]
    Key(ring::error::KeyRejected),
    /// The port is in use, or the system has no sockets or threads left.
    #[error("the authority cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The requested port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
}

/// The options of an authority.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The initial policy.
    pub policy: Policy,
    /// Whether to offer `/control/*`, with which any local process that knows the port can do what the owner can.
    pub control: bool,
}

/// An OAuth authority on the loopback interface, on its own thread and runtime, until it is dropped.
///
/// It listens when [`Authority::start`] returns. A request that has arrived completely is carried out even if its
/// client leaves, as by a real authority. Dropping it closes the port and all connections, and releases no held
/// request.
pub struct Authority {
    url: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Authority {
    /// Starts an authority with the default policy on a free port, without a control endpoint.
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(Options::default())
    }

    /// Starts an authority with these options.
    pub fn start_with(options: Options) -> Result<Self, StartError> {
        let Options { port, policy, control } = options;
        let failed = |source| StartError::Listen { port, source };
        let key = AgentKey::embedded().map_err(StartError::Key)?;
        let listener = server::listen(port).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).map_err(failed)?
        };
        let url = format!("http://{address}");
        let shared = Arc::new(Shared::new(State::new(url.clone(), policy, key)));
        let routes = server::routes(Arc::clone(&shared), control);
        let (stop, stopped) = oneshot::channel();
        let run = move || run(runtime, server::accept(listener, routes), stopped);
        let thread = thread::Builder::new().name("authority".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { url, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the issuer, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the value for `CODEX_REFRESH_TOKEN_URL_OVERRIDE`.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.url)
    }

    /// Returns the value for `CODEX_REVOKE_TOKEN_URL_OVERRIDE`.
    pub fn revoke_url(&self) -> String {
        format!("{}/oauth/revoke", self.url)
    }

    /// Returns a URL that answers 200 to a live access token and 401 to any other.
    pub fn resource_url(&self) -> String {
        format!("{}/resource", self.url)
    }

    /// Signs an account in for Codex's client.
    pub fn grant(&self, account: Account) -> Grant {
        self.grant_to(CODEX_CLIENT_ID, account)
    }

    /// Signs an account in for any client; other clients cannot use its tokens.
    pub fn grant_to(&self, client_id: &str, account: Account) -> Grant {
        self.shared.lock().grant(account, client_id)
    }

    /// Sets the account that signs in by browser and device from now on.
    pub fn visit_as(&self, account: Account) {
        self.shared.lock().visitor = account;
    }

    /// Issues a personal access token, `at-…`, that whoami knows.
    pub fn personal_access_token(&self, account: Account) -> String {
        self.shared.lock().personal_access_token(account)
    }

    /// Issues an agent identity with the lifetime of an access token; `None` if the system has no randomness left.
    pub fn agent_identity(&self, account: &Account, signing: Signing) -> Option<String> {
        self.shared.lock().agent_identity(account, signing)
    }

    /// Decides on a device code. Returns whether it was waiting.
    pub fn decide_device(&self, user_code: &str, decision: Decision) -> bool {
        self.shared.lock().decide_device(user_code, decision)
    }

    /// Ends tokens of a grant.
    pub fn end(&self, grant: GrantId, ending: Ending) {
        self.shared.lock().grants.end(grant, ending);
    }

    /// Returns the state of an access or refresh token.
    pub fn state_of(&self, token: &str) -> TokenState {
        let state = self.shared.lock();
        state.grants.state(token, state.policy.now())
    }

    /// Returns the only refresh token of a grant that can still be spent: the one that a client must not lose.
    pub fn live_refresh_token(&self, grant: GrantId) -> Option<String> {
        let state = self.shared.lock();
        state.grants.live_refresh(grant, state.policy.now()).map(str::to_owned)
    }

    /// Returns a grant with the newest tokens that were made for it, whether or not a client received them.
    pub fn latest(&self, grant: GrantId) -> Option<Grant> {
        self.shared.lock().latest.get(&grant).cloned()
    }

    /// Returns the current policy.
    pub fn policy(&self) -> Policy {
        self.shared.lock().policy.clone()
    }

    /// Changes the policy for requests that have not taken effect yet and for tokens that are not issued yet.
    pub fn adjust(&self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.shared.lock().policy);
    }

    /// Scripts one request: the next one that has no step yet.
    pub fn script(&self, endpoint: Endpoint, step: Step) -> StepId {
        self.shared.lock().script.push(endpoint, step)
    }

    /// Scripts every request that has no step.
    pub fn script_always(&self, endpoint: Endpoint, step: Step) {
        self.shared.lock().script.stand(endpoint, step);
    }

    /// Removes all steps that were not used. Held requests stay held.
    pub fn clear_script(&self) {
        self.shared.lock().script.clear();
    }

    /// Scripts a request that is held until it is released, and is otherwise ordinary.
    pub fn hold(&self, endpoint: Endpoint, moment: Moment) -> Hold<'_> {
        Hold { authority: self, id: self.script(endpoint, Step::held(moment)) }
    }

    /// Releases a held request; one that has not arrived will not be held.
    pub fn release(&self, step: StepId) {
        self.shared.lock().script.release(step);
    }

    /// Releases all requests that are held now, and returns how many.
    pub fn release_all(&self) -> usize {
        self.shared.lock().script.release_all()
    }

    /// Waits until a request has met a scripted step: it has arrived, or is held where the step says.
    pub fn wait_for_step(&self, step: StepId, within: Duration) -> Result<Entry, TimedOut> {
        self.shared.wait_for_step(step, within)
    }

    /// Waits until this many requests have arrived at an endpoint since the start.
    pub fn wait_for_requests(
        &self,
        endpoint: Endpoint,
        count: u64,
        within: Duration,
    ) -> Result<(), TimedOut> {
        self.shared.wait_for_requests(endpoint, count, within)
    }

    /// Waits until a journal entry matches, and returns the first.
    pub fn wait_for_entry(
        &self,
        within: Duration,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Result<Entry, TimedOut> {
        let found = self.shared.wait(within, |state| state.journal.find(&is_it).cloned());
        found.ok_or_else(|| TimedOut { within, what: "a request as described".to_owned() })
    }

    /// Returns the newest 65,536 requests in the order of arrival. They contain no secret.
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.lock().journal.entries()
    }

    /// Returns the number of requests by endpoint and outcome.
    pub fn counters(&self) -> Counters {
        self.shared.lock().journal.counters().clone()
    }

    /// Returns every secret that was ever issued, so that tests can search output for them.
    pub fn issued_secrets(&self) -> Vec<String> {
        self.shared.lock().mint.issued()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread returns nothing.
            let _ = thread.join();
        }
    }
}

/// A request that is or will be held; dropping this releases it.
#[derive(Debug)]
#[must_use = "the request is released when this is dropped"]
pub struct Hold<'a> {
    authority: &'a Authority,
    id: StepId,
}

impl Hold<'_> {
    /// Waits until the request is held.
    pub fn arrived(&self, within: Duration) -> Result<Entry, TimedOut> {
        self.authority.wait_for_step(self.id, within)
    }

    /// Releases it.
    pub fn release(self) {
        // `Drop` releases it.
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.authority.release(self.id);
    }
}

fn run(runtime: Runtime, accept: impl Future<Output = ()> + Send + 'static, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        tokio::spawn(accept);
        // An unknown step is released already.
        let _ = stopped.await;
    });
    runtime.shutdown_background();
}
