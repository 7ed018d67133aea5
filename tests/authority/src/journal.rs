//! The journal of requests, in order and without secrets, and counts by outcome.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::faults::Endpoint;

/// How many entries are kept; the counts go on.
const KEPT: usize = 65_536;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The connection was closed on purpose.
    Closed,
    /// The request was granted.
    Granted,
    /// It has not ended: it is held, delayed or being processed.
    Pending,
    /// The request was refused by the authority's own rules.
    Refused,
    /// The response was scripted.
    Scripted,
}

/// One request. It contains no secret: a presented token is recorded as its fingerprint, and any other field that is an
/// issued secret is replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The number of the request over all endpoints, from 1.
    pub number: u64,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The fingerprint of the presented token: refresh token, code, bearer token, or token to revoke.
    pub fingerprint: Option<String>,
    /// `refresh_reason` of a refresh.
    pub refresh_reason: Option<String>,
    /// `client_id`, if it was sent.
    pub client_id: Option<String>,
    /// The `originator` header.
    pub originator: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The query of an authorize request.
    pub query: BTreeMap<String, String>,
    /// The outcome.
    pub outcome: Outcome,
    /// Whether the request took effect, whatever the response.
    pub took_effect: bool,
    /// The HTTP status of the response.
    pub status: Option<u16>,
    /// The error code of the response.
    pub code: Option<String>,
    /// Whether the client closed the connection before the response was ready.
    pub abandoned: bool,
    /// Milliseconds from the start of the authority to the arrival of the whole request.
    pub arrived_ms: u64,
    /// Milliseconds from the start of the authority to the end of the request.
    pub ended_ms: Option<u64>,
}

/// The number of requests by endpoint and outcome; those that have not ended count as pending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counters(BTreeMap<Endpoint, BTreeMap<Outcome, u64>>);

impl Counters {
    /// Returns the number of requests of an endpoint.
    pub fn of(&self, endpoint: Endpoint) -> u64 {
        self.0.get(&endpoint).map_or(0, |outcomes| outcomes.values().sum())
    }

    /// Returns the number of requests of an endpoint with one outcome.
    pub fn ended(&self, endpoint: Endpoint, outcome: Outcome) -> u64 {
        self.0.get(&endpoint).and_then(|outcomes| outcomes.get(&outcome)).copied().unwrap_or(0)
    }

    /// Returns the number of all requests.
    pub fn all(&self) -> u64 {
        self.0.values().flat_map(BTreeMap::values).sum()
    }

    fn add(&mut self, endpoint: Endpoint, outcome: Outcome) {
        *self.0.entry(endpoint).or_default().entry(outcome).or_default() += 1;
    }

    fn take(&mut self, endpoint: Endpoint, outcome: Outcome) {
        if let Some(outcomes) = self.0.get_mut(&endpoint) {
            match outcomes.get_mut(&outcome) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(outcomes.remove(&outcome)),
            }
        }
    }
}

/// The recorded fields of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sighting {
    pub(crate) fingerprint: Option<String>,
    pub(crate) refresh_reason: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) originator: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) query: BTreeMap<String, String>,
}

/// The end of a request, for the journal.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    started: Instant,
    last: u64,
    entries: VecDeque<Entry>,
    counters: Counters,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), last: 0, entries: VecDeque::new(), counters: Counters::default() }
    }

    /// Opens an entry, and returns its number.
    pub(crate) fn open(
        &mut self,
        endpoint: Endpoint,
        seen: Sighting,
        is_secret: impl Fn(&str) -> bool,
    ) -> u64 {
        let clean = |value: Option<String>| value.map(|value| blot(&value, &is_secret));
        self.last += 1;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.counters.add(endpoint, Outcome::Pending);
        self.entries.push_back(Entry {
            number: self.last,
            endpoint,
            fingerprint: seen.fingerprint,
            refresh_reason: clean(seen.refresh_reason),
            client_id: clean(seen.client_id),
            originator: clean(seen.originator),
            user_agent: clean(seen.user_agent),
            content_type: clean(seen.content_type),
            query: seen.query.into_iter().map(|(key, value)| (key, blot(&value, &is_secret))).collect(),
            outcome: Outcome::Pending,
            took_effect: false,
            status: None,
            code: None,
            abandoned: false,
            arrived_ms: self.elapsed(),
            ended_ms: None,
        });
        self.last
    }

    pub(crate) fn took_effect(&mut self, number: u64) {
        if let Some(entry) = self.entry_mut(number) {
            entry.took_effect = true;
        }
    }

    pub(crate) fn abandoned(&mut self, number: u64) {
        if let Some(entry) = self.entry_mut(number) {
            entry.abandoned = true;
        }
    }

    pub(crate) fn close(&mut self, number: u64, endpoint: Endpoint, ending: Ending) {
        self.counters.take(endpoint, Outcome::Pending);
        self.counters.add(endpoint, ending.outcome);
        let now = self.elapsed();
        if let Some(entry) = self.entry_mut(number) {
            entry.outcome = ending.outcome;
            entry.status = ending.status;
            entry.code = ending.code;
            entry.ended_ms = Some(now);
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    pub(crate) fn entry(&self, number: u64) -> Option<&Entry> {
        let first = self.entries.front()?.number;
        self.entries.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub(crate) fn find(&self, is_it: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.entries.iter().find(|entry| is_it(entry))
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.number;
        self.entries.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Returns the value without issued secrets, cut at 256 characters.
fn blot(value: &str, is_secret: impl Fn(&str) -> bool) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut clean = String::new();
    for piece in value.split_inclusive(|c| !is_word(c)) {
        let text = piece.trim_end_matches(|c| !is_word(c));
        if is_secret(text) {
            clean.push_str("(secret)");
            clean.push_str(&piece[text.len()..]);
        } else {
            clean.push_str(piece);
        }
    }
    clean.chars().take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_another_field_is_replaced() {
        let is_secret = |text: &str| text == "rt-1" || text == "a.b.c";
        assert_eq!(blot("codex/1 (rt-1; a.b.c)", is_secret), "codex/1 ((secret); (secret))");
        assert_eq!(blot("start-1", is_secret), "start-1");
        assert_eq!(blot(&"x".repeat(1_000), is_secret).len(), 256);
    }

    #[test]
    fn numbers_and_counts_go_on_when_old_entries_are_dropped() {
        let mut journal = Journal::new();
        let granted = Ending { outcome: Outcome::Granted, status: Some(200), code: None };
        for _ in 0..=KEPT {
            let number = journal.open(Endpoint::Refresh, Sighting::default(), |_| false);
            journal.close(number, Endpoint::Refresh, granted.clone());
        }
        assert!(journal.entry(1).is_none());
        assert_eq!(journal.entry(2).unwrap().number, 2);
        assert_eq!(journal.entries().len(), KEPT);
        assert_eq!(journal.counters().of(Endpoint::Refresh), KEPT as u64 + 1);
        assert_eq!(journal.counters().ended(Endpoint::Refresh, Outcome::Pending), 0);
    }
}
