//! A member: the one process of a host that takes part in a fleet.
//!
//! It carries out the protocol that `tests/it/model/fleet` checks, step for step:
//!
//! | step of the model | function |
//! |---|---|
//! | look, adopt; put back; settle | `MemberEngine::look`, `MemberEngine::see`; `MemberEngine::settle` |
//! | leads | `MemberEngine::lead` |
//! | claim, rekey, succeed, present | the functions of `MemberEngine` of these names, which `MemberEngine::announce` writes |
//! | arm, post, keep | `MemberEngine::spend`, `TokenPost::send`, `MemberEngine::keep` |
//! | commit, clear rescue, report, withdraw, mark lost, discard | `MemberEngine::step` chooses among them |
//! | log in, put login, finish login, log out, revoke | the functions of `logins.rs` |
//!
//! # Files
//!
//! | file | what |
//! |---|---|
//! | `lock` | held by the process that takes part |
//! | `record` | the newest record that was seen, sealed |
//! | `posting` | the intents that may have been carried out, written before the last check |
//! | `rescue.FINGERPRINT` | the response to the token of that fingerprint, sealed; its space is reserved before the token is announced |
//! | `login` | a new login that is not complete, sealed |
//! | `seen` | the newest revision of etcd that was seen, and whether a restore was noticed whose wait is not over |
//!
//! # Clocks
//!
//! A lease is counted from the sending of its last renewal, and a wait for another member from the first sight of its
//! intent, both on a clock that counts on while the process is stopped or the machine is suspended, and that no user can set.
//! `token_clock.rs` says when an access token has ended.

mod ask;
mod back_off;
mod completion;
mod engine;
mod error;
mod following;
mod leadership;
mod login_journal;
mod logins;
mod paced_watch;
mod parts;
mod permit;
mod posted;
mod posting;
mod refreshing;
mod saved_response;
mod sealed_file;
mod seen_cluster;
mod spending;
mod state;
mod token_clock;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::{self, Receiver};
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::engine::{LeadershipUse, MemberEngine};
pub use self::error::MemberError;
use self::leadership::LeaderValue;
use self::parts::KeyNames;
pub use self::parts::{MemberParts, MemberTimings};
use self::seen_cluster::SeenCluster;
pub use self::state::{FleetLogout, FleetState, MemberActivity};
use super::record_error::RefusedChange;
use super::sealed::FleetKey;
use crate::document::AuthDocument;

/// A member of a fleet: the one process of a host that takes part. Clones share it.
///
/// Its files lie in one folder, which is locked as long as a clone exists. Every operation first completes what a killed
/// process left behind.
///
/// # Cancellation
/// An operation goes on if its future is dropped, as long as the tokio runtime runs. A runtime that is dropped waits
/// until the response to a request that was sent is on the disk.
#[derive(Clone)]
pub struct Member {
    engine: Arc<Mutex<MemberEngine>>,
    state: Receiver<FleetState>,
}

impl Member {
    /// Locks the folder within `limit`, creates it if it is missing, and reads the files. Sends nothing.
    ///
    /// # Errors
    /// [`MemberError::Lock`]: another process takes part. [`MemberError::File`], [`MemberError::Damaged`],
    /// [`MemberError::Copy`].
    pub async fn open(parts: MemberParts, limit: Duration) -> Result<Self, MemberError> {
        let (sender, state) = watch::channel(FleetState::new());
        let opened = tokio::task::spawn_blocking(move || MemberEngine::open(parts, limit, sender));
        let engine = opened.await.map_err(|_| MemberError::Internal)??;
        Ok(Self { engine: Arc::new(Mutex::new(engine)), state })
    }

    /// Reads the record and the name of the refresher from etcd, without the lock and without changing a file; also for a
    /// process that does not take part.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`], [`MemberError::File`].
    pub async fn read(parts: &MemberParts) -> Result<FleetState, MemberError> {
        let names = KeyNames::of(&parts.prefix);
        let mut state = FleetState::new();
        let unusable = |source| MemberError::Record { fleet: parts.keys.fleet().to_owned(), source };
        let read = parts.store.read(&names.record).await?;
        let record = read.value.map(|value| parts.keys.open(value.bytes)).transpose().map_err(unusable)?;
        state.record = record.map(|record| record.record().clone());
        let leader = parts.store.read(&names.leader).await?;
        let leader = leader.value.and_then(|value| LeaderValue::parse(&value.bytes));
        state.leader = leader.map(|leader| leader.member);
        state.contact = Some(parts.clock.now());
        if SeenCluster::load(parts.folder.join("seen"))?.must_wait() {
            state.activity = MemberActivity::AwaitingOthers;
        }
        Ok(state)
    }

    /// Returns what this member knows, without a request.
    #[must_use]
    pub fn state(&self) -> FleetState {
        self.state.borrow().clone()
    }

    /// Returns a channel with the present [`FleetState`], which changes whenever a record was saved on this host.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<FleetState> {
        self.state.clone()
    }

    /// Completes what can be completed now, and returns what this member knows then.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`], and those of the member's files.
    pub async fn recover(&self) -> Result<FleetState, MemberError> {
        self.with(|mut engine| async move { engine.advance().await }).await?;
        Ok(self.state())
    }

    /// Returns a record with another token than that of generation `seen`: the one in etcd, or a new one. If another
    /// member is the refresher, it is asked and has `limit`.
    ///
    /// # Errors
    /// Any but [`MemberError::Lock`]. [`MemberError::Poisoned`]: only a new login helps.
    pub async fn refresh(&self, seen: u64, limit: Duration) -> Result<FleetState, MemberError> {
        refreshing::refresh(self, seen, limit).await?;
        Ok(self.state())
    }

    /// Saves a new login for the fleet, sealed, on the disk of this host. Then replace the local document, which has the
    /// refresh token, by the exported one, and call [`Self::complete_login`]. It replaces the login that this member has
    /// seen last, or is the first one of the fleet.
    ///
    /// # Errors
    /// [`MemberError::NotShareable`]: it has no refresh token of its own. [`MemberError::File`],
    /// [`MemberError::Refused`]: another login is not complete.
    pub async fn save_login(&self, document: AuthDocument) -> Result<(), MemberError> {
        self.with(|mut engine| async move { engine.log_in(document) }).await
    }

    /// Writes the saved login into the record, and revokes the one that it replaced. Every later operation tries again
    /// what failed. If the fleet was logged out or has another login meanwhile, the saved login is revoked.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`], and those of the member's files; [`MemberError::Refused`]: it was
    /// revoked.
    pub async fn complete_login(&self) -> Result<FleetState, MemberError> {
        self.with(|mut engine| async move {
            let Some(login) = engine.login.pending.clone() else { return Ok(()) };
            engine.advance().await?;
            let is_there = engine.record().is_some_and(|record| record.login_id() == login.login_id);
            if is_there { Ok(()) } else { Err(MemberError::Refused(RefusedChange::NewerToken)) }
        })
        .await?;
        Ok(self.state())
    }

    /// Logs the fleet out, and revokes its login.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`], and those of the member's files: the fleet may not be logged out.
    pub async fn log_out(&self) -> Result<FleetLogout, MemberError> {
        self.with(|mut engine| async move {
            engine.advance().await?;
            engine.log_out().await?;
            let record = engine.required_record()?.clone();
            let revoked = engine.revoke(record.document()).await;
            // The tokens of this member that are not in the record, too.
            let advanced = engine.advance().await;
            Ok(match revoked.and(advanced) {
                Ok(()) => FleetLogout::Revoked,
                Err(error) => FleetLogout::NotRevoked(error),
            })
        })
        .await
    }

    /// Refreshes, and seals the record with `key`, whose epoch is the next one. Save the key before the call: if it fails,
    /// the record may be sealed with it. The other members cannot open the record until they have joined again.
    ///
    /// # Errors
    /// As [`Self::refresh`]; [`MemberError::Record`]: the epoch is not the next one.
    pub async fn rekey(&self, key: FleetKey) -> Result<FleetState, MemberError> {
        self.with(|mut engine| async move {
            engine.advance().await?;
            engine.add_key(key)?;
            engine.rekey_now().await
        })
        .await?;
        Ok(self.state())
    }

    /// Takes part until the future is dropped: follows the record, becomes the refresher if there is none, and refreshes
    /// ahead of time. Errors are in [`FleetState::problem`] and end nothing.
    pub async fn run(&self) -> Infallible {
        following::follow(Arc::clone(&self.engine)).await
    }

    /// Gives up the role of the refresher, so that another member need not wait for the end of the lease.
    ///
    /// # Errors
    /// [`MemberError::Etcd`]: the lease ends by its lifetime.
    pub async fn resign(&self) -> Result<(), MemberError> {
        self.with(|mut engine| async move {
            engine.leadership_use = LeadershipUse::Once;
            engine.resign().await
        })
        .await
    }

    /// Runs `operation` in a task of its own, one at a time.
    async fn with<T, F>(
        &self,
        operation: impl FnOnce(OwnedMutexGuard<MemberEngine>) -> F,
    ) -> Result<T, MemberError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, MemberError>> + Send + 'static,
    {
        let engine = Arc::clone(&self.engine).lock_owned().await;
        tokio::spawn(operation(engine)).await.unwrap_or(Err(MemberError::Internal))
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}
