//! The state of a member, and how it sees and changes the record.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use codex_auth_platform::boot_clock::BootTime;
use codex_auth_platform::lock::{FileLock, LockFileMode, Wait};
use codex_auth_platform::private_file;
use tokio::sync::watch::Sender;

use super::back_off::BackOff;
use super::error::MemberError;
use super::leadership::{LeaderValue, Leadership};
use super::login_journal::LoginJournal;
use super::parts::{KeyNames, MemberParts};
use super::permit::SpendPermit;
use super::posting::PostingJournal;
use super::saved_response::{ResponseFiles, SavedResponse};
use super::seen_cluster::SeenCluster;
use super::state::{FleetState, MemberActivity};
use super::token_clock::{Sight, TokenClock};
use crate::authority::{Authority, Deadlines};
use crate::backoff::random_fraction;
use crate::failpoint;
use crate::fleet::intent::IntentId;
use crate::fleet::record::SharedRecord;
use crate::fleet::record_copy::RecordCopy;
use crate::fleet::sealed::SealedRecord;
use crate::fleet::shared_store::{Change, Comparison, SharedRead, TransactionOutcome};

/// A member that has seen the record this long ago at most sees a new token appear.
const PROMPT: Duration = Duration::from_secs(15);
/// The state of a member. One operation at a time changes it.
pub(super) struct MemberEngine {
    pub(super) parts: MemberParts,
    pub(super) names: KeyNames,
    /// For refreshes only: it sends nothing without a permit.
    pub(super) authority: Authority,
    pub(super) revoker: Authority,
    pub(super) permit: SpendPermit,
    pub(super) copy: RecordCopy,
    pub(super) journal: PostingJournal,
    pub(super) responses: ResponseFiles,
    /// The response that is not in the record yet.
    pub(super) response: Option<UncommittedResponse>,
    pub(super) login: LoginJournal,
    pub(super) leadership: Option<Leadership>,
    /// The owner of the leader key that was seen last.
    pub(super) leader: Option<LeaderValue>,
    pub(super) leadership_use: LeadershipUse,
    pub(super) refusal: Option<UnreportedRefusal>,
    /// The intent of the record, and since when it is there at least.
    pub(super) watched: Option<(IntentId, BootTime)>,
    pub(super) token: Option<TokenClock>,
    /// The logins that this process has revoked.
    pub(super) revoked: HashSet<String>,
    pub(super) back_off: BackOff,
    /// Of revocations.
    pub(super) login_back_off: BackOff,
    /// This member's random share of the spread of refreshes, from 0 to 1.
    pub(super) spread: f64,
    /// Since when this member spends nothing, because etcd was restored from a backup.
    pub(super) restored: Option<BootTime>,
    seen: SeenCluster,
    /// When the record was known to be the newest one.
    pub(super) last_look: Option<BootTime>,
    /// The generation that a member wants to have replaced.
    pub(super) asked: Option<u64>,
    pub(super) state: Sender<FleetState>,
    _lock: FileLock,
}

/// A response, and whether this process has received it.
#[derive(Clone, Debug)]
pub(super) struct UncommittedResponse {
    pub(super) response: SavedResponse,
    pub(super) sight: Sight,
}

/// Whether the role of the refresher is kept after an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LeadershipUse {
    /// It is given up.
    Once,
    /// It is kept and renewed.
    Kept,
}

/// A refusal that the record does not have yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnreportedRefusal {
    pub(super) intent: IntentId,
    pub(super) is_final: bool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// The record is the new one.
    Written,
    /// The record is another one, or the old one, which was read anew.
    NotWritten,
}

/// Whether a write demands the role of the refresher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Member,
    Refresher,
}

impl MemberEngine {
    pub(super) fn open(
        parts: MemberParts,
        limit: Duration,
        state: Sender<FleetState>,
    ) -> Result<Self, MemberError> {
        let folder = parts.folder.clone();
        private_file::create_directory(&folder)?;
        let lock = FileLock::acquire(&folder.join("lock"), LockFileMode::Private, Wait::For(limit))?;
        lock.write_note("codex-auth");
        let copy = RecordCopy::load(&folder.join("record"), &parts.keys)?;
        let journal = PostingJournal::load(folder.join("posting"))?;
        let responses = ResponseFiles::new(folder.clone(), parts.keys.clone());
        let sight = Sight::Found;
        let response = responses.load()?.map(|response| UncommittedResponse { response, sight });
        let login = LoginJournal::load(folder.join("login"), &parts.keys)?;
        let permit = SpendPermit::default();
        let timings = parts.timings;
        let deadlines = Deadlines { refresh: timings.request, ..Deadlines::default() };
        let check = permit.clone();
        let last_check = Some(Arc::new(move || check.take()) as _);
        let authority = Authority::with_limits(&parts.environment, deadlines, last_check);
        let revoker = Authority::new(&parts.environment);
        let seen = SeenCluster::load(folder.join("seen"))?;
        let engine = Self {
            names: KeyNames::of(&parts.prefix),
            authority,
            revoker,
            permit,
            copy,
            journal,
            responses,
            response,
            login,
            leadership: None,
            leader: None,
            leadership_use: LeadershipUse::Once,
            refusal: None,
            watched: None,
            token: None,
            revoked: HashSet::new(),
            back_off: BackOff::default(),
            login_back_off: BackOff::default(),
            spread: random_fraction(),
            restored: seen.must_wait().then(BootTime::now),
            seen,
            last_look: None,
            asked: None,
            state,
            parts,
            _lock: lock,
        };
        engine.publish();
        Ok(engine)
    }

    /// Returns the newest record that was seen.
    pub(super) fn record(&self) -> Option<&SharedRecord> {
        self.copy.newest().map(SealedRecord::record)
    }

    /// Returns the newest record that was seen, or an error if the fleet has none.
    pub(super) fn required_record(&self) -> Result<&SharedRecord, MemberError> {
        self.record().ok_or(MemberError::NoRecord)
    }

    /// Reads the record (the model's `look`).
    pub(super) async fn look(&mut self) -> Result<(), MemberError> {
        // Each round but the last puts back a newer record.
        for _ in 0..4 {
            let read = self.parts.store.read(&self.names.record).await?;
            if self.see(read).await? == Seen::Newest {
                return Ok(());
            }
        }
        Err(MemberError::Contended)
    }

    /// Saves what was read as the newest record, or puts a newer one back.
    pub(super) async fn see(&mut self, read: SharedRead) -> Result<Seen, MemberError> {
        let SharedRead { state, value } = read;
        if self.seen.is_ahead_of(state) {
            tracing::warn!("fleet: the revision of etcd went back, as after a restore from a backup");
            self.begin_wait()?;
        }
        self.seen.meet(state);
        let compared = match &value {
            Some(value) => Comparison::Is { key: self.names.record.clone(), bytes: value.bytes.clone() },
            None => Comparison::Absent { key: self.names.record.clone() },
        };
        let found = value.map(|value| self.opened(value.bytes)).transpose()?;
        let newer = match (self.copy.newest(), &found) {
            (Some(copy), Some(found)) if copy.record().order() > found.record().order() => Some(copy),
            (Some(copy), None) => Some(copy),
            _ => None,
        };
        if let Some(copy) = newer {
            let token = copy.record().order().generation;
            tracing::warn!(token, "fleet: putting a newer record back into etcd");
            let put = self.put(copy);
            self.begin_wait()?;
            match self.parts.store.commit(&[compared], &[put]).await {
                Err(error) if !error.is_unknown() => return Err(error.into()),
                // The next read shows what became of it.
                _ => return Ok(Seen::Older),
            }
        }
        if let Some(found) = found {
            self.adopt(found)?;
        }
        self.last_look = Some(BootTime::now());
        let now = self.parts.clock.now();
        self.state.send_if_modified(|state| {
            state.contact = Some(now);
            // Not worth a report.
            false
        });
        self.publish();
        Ok(Seen::Newest)
    }

    /// Writes `new` if the record is the one that was seen last.
    pub(super) async fn write(&mut self, new: SharedRecord, role: Role) -> Result<WriteOutcome, MemberError> {
        self.settle()?;
        let key = self.names.record.clone();
        let mut comparisons = vec![match self.copy.newest() {
            Some(copy) => Comparison::Is { key, bytes: copy.bytes().to_vec() },
            None => Comparison::Absent { key },
        }];
        match (&self.leadership, role) {
            (_, Role::Member) => {}
            (Some(leadership), Role::Refresher) => comparisons.push(leadership.comparison()),
            (None, Role::Refresher) => return Ok(WriteOutcome::NotWritten),
        }
        let is_announcement = new.intent().is_some();
        let sealed = self.parts.keys.seal(new).map_err(|source| self.unusable(source))?;
        failpoint::at("fleet-writing");
        let outcome = self.parts.store.commit(&comparisons, &[self.put(&sealed)]).await;
        failpoint::at(if is_announcement { "fleet-announced" } else { "fleet-settled" });
        match outcome {
            Ok(TransactionOutcome::Committed(state)) => {
                self.seen.meet(state);
                self.adopt(sealed)?;
                self.publish();
                Ok(WriteOutcome::Written)
            }
            Ok(TransactionOutcome::Mismatched(_)) => {
                if role == Role::Refresher {
                    self.check_leadership().await?;
                }
                self.look().await?;
                Ok(WriteOutcome::NotWritten)
            }
            Err(error) if error.is_unknown() => {
                tracing::debug!(%error, "fleet: reading what became of a write");
                self.look().await?;
                let is_there = self.copy.newest().is_some_and(|copy| copy.bytes() == sealed.bytes());
                Ok(if is_there { WriteOutcome::Written } else { WriteOutcome::NotWritten })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the wait after a restore when two polls have passed (the model's `settle`). Until then nothing is written: a
    /// write would hide that the record is older than what another member has seen.
    ///
    /// # Errors
    /// [`MemberError::Restored`].
    pub(super) fn settle(&mut self) -> Result<(), MemberError> {
        let Some(began) = self.restored else { return Ok(()) };
        if !(began + self.parts.timings.poll * 2).remaining().is_zero() {
            return Err(MemberError::Restored);
        }
        self.restored = None;
        self.seen.set_must_wait(false)?;
        self.publish();
        Ok(())
    }

    /// Saves `record` before anything is done with it.
    fn adopt(&mut self, record: SealedRecord) -> Result<(), MemberError> {
        if self.copy.newest().is_some_and(|copy| copy.bytes() == record.bytes()) && self.token.is_some() {
            return Ok(());
        }
        let order = record.record().order();
        let is_other = self.record().is_some_and(|copy| copy.order() == order)
            && self.copy.newest().is_some_and(|copy| copy.bytes() != record.bytes());
        let former_login = self.record().map(|record| record.login_id().to_owned());
        self.copy.save(record)?;
        if is_other {
            // Written by a member that had not seen the other one: etcd was restored.
            self.begin_wait()?;
        }
        self.seen.save()?;
        failpoint::at("fleet-adopted");
        let Some(record) = self.copy.newest().map(SealedRecord::record) else { return Ok(()) };
        let intent = record.intent().map(|intent| intent.id);
        if self.watched.map(|(id, _)| id) != intent {
            self.watched = intent.map(|id| (id, BootTime::now()));
        }
        let is_known_login = former_login.as_deref() == Some(record.login_id());
        let child =
            self.response.as_ref().filter(|saved| saved.response.child() == record.document().fingerprint());
        // A new login may have an old token.
        let is_prompt = is_known_login && self.last_look.is_some_and(|look| look.elapsed() <= PROMPT);
        let seen = if is_prompt { Sight::Appeared } else { Sight::Found };
        let sight = child.map_or(seen, |saved| saved.sight);
        if self.token.is_none_or(|token| token.token != record.document().fingerprint()) {
            self.token = Some(TokenClock::start(record.document(), sight, self.parts.clock.now()));
            self.back_off = BackOff::default();
        }
        tracing::debug!(token = order.generation, is_claimed = intent.is_some(), "fleet: saved a record");
        Ok(())
    }

    fn opened(&self, bytes: Vec<u8>) -> Result<SealedRecord, MemberError> {
        self.parts.keys.open(bytes).map_err(|source| self.unusable(source))
    }

    pub(super) fn unusable(&self, source: crate::fleet::record_error::InvalidRecord) -> MemberError {
        MemberError::Record { fleet: self.parts.keys.fleet().to_owned(), source }
    }

    fn put(&self, record: &SealedRecord) -> Change {
        Change::Put { key: self.names.record.clone(), bytes: record.bytes().to_vec(), lease: None }
    }

    /// Begins the wait for the other members, anew if it has begun already. A process that follows a killed one waits, too.
    fn begin_wait(&mut self) -> Result<(), MemberError> {
        self.restored = Some(BootTime::now());
        self.seen.set_must_wait(true)
    }

    /// Publishes what this member knows.
    pub(super) fn publish(&self) {
        let activity = if self.restored.is_some() {
            MemberActivity::AwaitingOthers
        } else if self.login.pending.is_some() {
            MemberActivity::LoggingIn
        } else if self.response.is_some() {
            MemberActivity::Uncommitted
        } else if self.leadership.is_some() {
            MemberActivity::Refreshing
        } else {
            MemberActivity::Following
        };
        self.state.send_if_modified(|state| {
            let record = self.record();
            let (order, leader) =
                (record.map(SharedRecord::order), self.leader.as_ref().map(|leader| &leader.member));
            if (state.order(), state.leader.as_ref(), state.activity) == (order, leader, activity) {
                return false;
            }
            state.record = record.cloned();
            state.leader = leader.cloned();
            state.activity = activity;
            true
        });
    }
}

/// What a member has done with a record that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is saved on this host.
    Newest,
    /// It was older than what this member has seen, which was put back.
    Older,
}
