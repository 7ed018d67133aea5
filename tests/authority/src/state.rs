//! The state of an authority behind one mutex, and the condition variable for waiting tests.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::agent::{AgentKey, Signing};
use crate::authorize::Codes;
use crate::device::{Decision, Devices};
use crate::faults::{Endpoint, Script, StepId};
use crate::grants::{Account, GrantId, Grants};
use crate::journal::{Entry, Journal};
use crate::policy::{Policy, Rotation};
use crate::tokens::{Grant, Mint, Tokens};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) issuer: String,
    pub(crate) policy: Policy,
    pub(crate) grants: Grants,
    pub(crate) mint: Mint,
    pub(crate) script: Script,
    pub(crate) journal: Journal,
    pub(crate) codes: Codes,
    pub(crate) devices: Devices,
    /// Every grant with its newest tokens.
    pub(crate) latest: HashMap<GrantId, Grant>,
    /// The account that signs in by browser and device.
    pub(crate) visitor: Account,
    pub(crate) personal: HashMap<String, Account>,
    pub(crate) agent_key: AgentKey,
}

impl State {
    pub(crate) fn new(issuer: String, policy: Policy, agent_key: AgentKey) -> Self {
        Self {
            issuer,
            policy,
            grants: Grants::default(),
            mint: Mint::default(),
            script: Script::default(),
            journal: Journal::new(),
            codes: Codes::default(),
            devices: Devices::default(),
            latest: HashMap::new(),
            visitor: Account::default(),
            personal: HashMap::new(),
            agent_key,
        }
    }

    /// Signs an account in.
    pub(crate) fn grant(&mut self, account: Account, client_id: &str) -> Grant {
        let id = self.grants.open(account.clone(), client_id);
        let (tokens, pair) = self.mint.tokens(&account, client_id, &self.policy, &self.issuer);
        self.grants.issue(id, pair);
        let grant = Grant { id, account, tokens, issued_at: issued_at(&self.policy) };
        self.latest.insert(id, grant.clone());
        grant
    }

    /// Issues tokens for a grant whose old ones are spent; with the old refresh token if the policy does not rotate.
    pub(crate) fn renew(&mut self, id: GrantId, client_id: &str) -> Option<Tokens> {
        let latest = self.latest.get_mut(&id)?;
        let (mut tokens, mut pair) = self.mint.tokens(&latest.account, client_id, &self.policy, &self.issuer);
        if self.policy.rotation == Rotation::Keeps {
            tokens.refresh_token.clone_from(&latest.tokens.refresh_token);
            pair.refresh = None;
        }
        self.grants.issue(id, pair);
        latest.tokens = tokens.clone();
        latest.issued_at = issued_at(&self.policy);
        Some(tokens)
    }

    /// Issues a personal access token that whoami knows.
    pub(crate) fn personal_access_token(&mut self, account: Account) -> String {
        let token = self.mint.opaque("at-");
        self.personal.insert(token.clone(), account);
        token
    }

    /// Issues an agent identity with the lifetime of an access token.
    pub(crate) fn agent_identity(&mut self, account: &Account, signing: Signing) -> Option<String> {
        let now = self.policy.now();
        let lifetime = self.policy.access_lifetime;
        let (token, private_key) = self.agent_key.identity(account, signing, now, lifetime).ok()?;
        self.mint.remember(&token);
        self.mint.remember(&private_key);
        Some(token)
    }

    pub(crate) fn decide_device(&mut self, user_code: &str, decision: Decision) -> bool {
        self.devices.decide(user_code, decision, self.policy.now())
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A handler that panicked is a failed request; the test goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the threads in [`Shared::wait`].
    pub(crate) fn announce(&self) {
        self.changed.notify_all();
    }

    /// Blocks this thread until `look` returns a value or the time is over.
    pub(crate) fn wait<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let started = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let left = within.checked_sub(started.elapsed())?;
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until a request has met a step.
    pub(crate) fn wait_for_step(&self, step: StepId, within: Duration) -> Result<Entry, TimedOut> {
        let found = self.wait(within, |state| {
            let number = state.script.met_by(step)?;
            state.journal.entry(number).cloned()
        });
        found.ok_or_else(|| TimedOut { within, what: format!("a request to meet step {}", step.0) })
    }

    /// Waits until this many requests have arrived.
    pub(crate) fn wait_for_requests(
        &self,
        endpoint: Endpoint,
        count: u64,
        within: Duration,
    ) -> Result<(), TimedOut> {
        let found = self.wait(within, |state| (state.journal.counters().of(endpoint) >= count).then_some(()));
        found.ok_or_else(|| TimedOut { within, what: format!("{count} requests of {endpoint:?}") })
    }
}

/// A wait that timed out.
#[derive(Debug, thiserror::Error)]
#[error("waited {within:?} in vain for {what}")]
#[non_exhaustive]
pub struct TimedOut {
    /// The time limit.
    pub within: Duration,
    /// The awaited event.
    pub what: String,
}

/// Returns the time of the authority's clock.
fn issued_at(policy: &Policy) -> Timestamp {
    let now = Timestamp::now();
    now.checked_add(SignedDuration::from_secs(policy.clock_offset)).unwrap_or(now)
}
