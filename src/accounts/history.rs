//! The histories of a home and of its accounts, merged in the order of time, and followed.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::choice::{AccountReason, ChosenHome};
use super::error::Error;
use super::name::AccountName;
use super::set::AccountSet;
use crate::clock::Clock;
use crate::config::Environment;
use crate::history::{History, HistoryCursor, HistoryRecord};
use crate::home::{Home, RecordPaths};
use crate::store::DocumentTarget;
use crate::watch::{WaitOutcome, Watch, WatchTrigger};

/// The events of a home: its own and those of its accounts, or those of one account that was chosen for the command.
#[derive(Clone, Debug)]
pub struct HomeHistory {
    chosen: ChosenHome,
    environment: Environment,
    parts: Vec<HistoryPart>,
}

/// The history of the home itself, or of one account.
#[derive(Clone, Debug)]
struct HistoryPart {
    account: Option<AccountName>,
    records: RecordPaths,
    history: History,
}

/// An event, and the account whose login it concerns.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HomeRecord {
    /// The account; `None` for the home itself.
    #[serde(serialize_with = "name_text", skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    /// The event.
    #[serde(flatten)]
    pub record: HistoryRecord,
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn name_text<S: serde::Serializer>(name: &Option<AccountName>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(AccountName::as_str).serialize(serializer)
}

/// The merged events, and what could not be read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HomeEvents {
    /// The events, the latest last.
    pub records: Vec<HomeRecord>,
    /// The number of lines that are no event.
    pub skipped: usize,
    /// The number of events that could not be recorded.
    pub dropped: u64,
    /// Why a file could not be read, for each such file.
    pub unreadable: Vec<String>,
}

impl HomeHistory {
    /// Finds the histories of `chosen`: of one account, if that was named by option or variable or is the home itself;
    /// else of the home and all of its accounts. Reads no history yet.
    ///
    /// # Errors
    /// As [`AccountSet::open`] and [`AccountSet::home_of`].
    pub fn open(chosen: &ChosenHome, environment: &Environment) -> Result<Self, Error> {
        let parts = find_parts(chosen, environment)?;
        Ok(Self { chosen: chosen.clone(), environment: environment.clone(), parts })
    }

    /// Returns the events since `since`, or all.
    #[must_use]
    pub fn read(&self, since: Option<Timestamp>) -> HomeEvents {
        let mut events = HomeEvents::default();
        for part in &self.parts {
            let content = part.history.read();
            events.dropped += content.dropped();
            events.skipped += content.skipped;
            events.unreadable.extend(content.unreadable);
            let recent =
                content.records.into_iter().filter(|record| since.is_none_or(|since| record.at >= since));
            events.records.extend(recent.map(|record| part.record(record)));
        }
        // Stable, so that the events of one history stay in their order even if the clock was set back.
        events.records.sort_by_key(|of| of.record.at);
        events
    }

    /// Returns a follower of the events that are recorded from now on.
    #[must_use]
    pub fn follow(self) -> HistoryFollower {
        let cursors = self.parts.iter().map(|part| HistoryCursor::at_end(part.history.clone())).collect();
        let watch = Watch::new(self.watched());
        HistoryFollower { history: self, cursors, watch }
    }

    fn watched(&self) -> Vec<PathBuf> {
        let files = self.parts.iter().map(|part| part.history.current_file());
        files.chain([self.chosen.home.accounts_file()]).collect()
    }
}

impl HistoryPart {
    fn new(account: Option<AccountName>, records: RecordPaths, environment: &Environment) -> Self {
        let history = History::open(&records, environment.history, Clock::system());
        Self { account, records, history }
    }

    fn record(&self, record: HistoryRecord) -> HomeRecord {
        HomeRecord { account: self.account.clone(), record }
    }
}

fn find_parts(chosen: &ChosenHome, environment: &Environment) -> Result<Vec<HistoryPart>, Error> {
    let home = &chosen.home;
    let mut parts: Vec<HistoryPart> = Vec::new();
    let mut add = |account: Option<AccountName>, home: &Home| {
        let target = DocumentTarget::of(home).ok().map(|target| target.records());
        for records in [Some(home.own_records()), target].into_iter().flatten() {
            if !parts.iter().any(|known| known.records == records) {
                parts.push(HistoryPart::new(account.clone(), records, environment));
            }
        }
    };
    let is_one =
        matches!(chosen.reason, AccountReason::Option | AccountReason::Variable | AccountReason::Home);
    if let Some(account) = chosen.account.as_ref().filter(|_| is_one) {
        add(Some(account.name.clone()), home);
        return Ok(parts);
    }
    let set = AccountSet::around(home.clone())?;
    for account in set.accounts() {
        let home = set.home_of(account)?;
        // The history of the home has the events of the home, too.
        let name = Some(account.name.clone()).filter(|_| home != *set.home());
        add(name, &home);
    }
    add(None, set.home());
    Ok(parts)
}

/// Follows the events of a home.
#[derive(Debug)]
pub struct HistoryFollower {
    history: HomeHistory,
    cursors: Vec<HistoryCursor>,
    watch: Watch,
}

impl HistoryFollower {
    /// Returns a trigger that ends [`Self::wait`].
    #[must_use]
    pub fn trigger(&self) -> WatchTrigger {
        self.watch.trigger()
    }

    /// Waits for new events for at most `limit`, and returns them; none if the time is over, or if it was woken. Events
    /// of accounts that were added meanwhile are included. Blocks the thread.
    pub fn wait(&mut self, limit: Duration) -> Vec<HomeRecord> {
        if self.watch.wait(limit) == WaitOutcome::TimedOut {
            return Vec::new();
        }
        let records = self.take();
        self.watch.update(self.history.watched());
        records
    }

    /// Returns the events since the last call, without waiting.
    pub fn take(&mut self) -> Vec<HomeRecord> {
        if let Ok(parts) = find_parts(&self.history.chosen, &self.history.environment) {
            let is_known =
                |part: &HistoryPart| self.history.parts.iter().any(|known| known.records == part.records);
            let new: Vec<_> = parts.into_iter().filter(|part| !is_known(part)).collect();
            self.cursors.extend(new.iter().map(|part| HistoryCursor::at_start(part.history.clone())));
            self.history.parts.extend(new);
        }
        let mut records = Vec::new();
        for (part, cursor) in self.history.parts.iter().zip(&mut self.cursors) {
            records.extend(cursor.new_records().into_iter().map(|record| part.record(record)));
        }
        records.sort_by_key(|of: &HomeRecord| of.record.at);
        records
    }
}
