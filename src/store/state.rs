//! The state of a login that all processes share, in `state.json`; it holds no secret.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use codex_auth_platform::lock::Holder;
use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy, ReplacementNote, Stamp};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::content::StorageNote;
use super::error::Error;
use super::lease::Lease;
use super::locate::DocumentTarget;
use super::settings::SettingChange;
use crate::config::{StoreKind, store_name};
use crate::document::AuthDocument;
use crate::home::{Home, RecordPaths};
use crate::redaction::printable;
use crate::secret::Fingerprint;

const MAX_STATE_BYTES: u64 = 256 * 1024;
/// The most spent fingerprints that are remembered.
const MAX_SPENT: usize = 16;

/// The longest back-off. A retry time further ahead was written under another clock and is ignored.
pub const MAX_BACK_OFF: SignedDuration = SignedDuration::from_mins(60);

/// The shared state of a login. It is stored beside the document, so homes that link to one document share its state.
///
/// It is replaced atomically, under the lease. Its replacement wakes watchers also if the document is in a keychain.
/// Unknown fields, of newer versions, are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HomeState {
    /// A random string that is new after every change.
    pub generation: String,
    /// The store that the last change left the document in.
    #[serde(with = "store_name::optional", skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreKind>,
    /// The refresh token of the document that the last change left stored, so that a change by another program is noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Fingerprint>,
    /// The owner of that document: the fingerprint of its account and user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Fingerprint>,
    /// The refresh tokens that were spent, the latest last: a stored document with one of these is outdated.
    pub spent: Vec<Fingerprint>,
    /// When a token was last received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    /// The permanent refusal of a refresh token, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poison: Option<Poison>,
    /// The last attempt to spend a refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<SpendRecord>,
    /// The fingerprint of a login that is being ended: of its refresh token, or of its access token if it has none. Its
    /// tokens are not handed out any more, and the next holder of the lease completes the logout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging_out: Option<Fingerprint>,
    /// The id of that login, if its document has one: another program may refresh the login before it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging_out_login: Option<String>,
    /// Whether the keychain may hold an old login, because it could not be used when a new login was stored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_in_keychain: bool,
    /// The store that this program set in `config.toml`, which a logout undoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<SettingRecord>,
    /// The process that made the last change; `None` if this library adopted a change of another program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<ChangeAuthor>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A value of `cli_auth_credentials_store` that this program wrote into `config.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SettingRecord {
    /// The value, as Codex spells it.
    pub set: String,
    /// The value before; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Whether the file was created for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
}

/// A process that changed a login, to show to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeAuthor {
    /// The process id, as seen in its own container.
    pub pid: u32,
    /// The name of the program.
    pub program: String,
}

impl ChangeAuthor {
    pub(super) fn this_process() -> Self {
        let program = std::env::current_exe().ok();
        let name =
            program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        Self { pid: std::process::id(), program: name.unwrap_or_else(|| "codex-auth".to_owned()) }
    }
}

impl From<Holder> for ChangeAuthor {
    fn from(holder: Holder) -> Self {
        Self { pid: holder.pid, program: holder.program }
    }
}

impl fmt::Display for ChangeAuthor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", printable(&self.program, 64), self.pid)
    }
}

impl HomeState {
    /// Reads the state of `home`. A missing file counts as empty. One that cannot be parsed counts as empty too,
    /// because everything in it can be rediscovered; the note says so.
    ///
    /// # Errors
    /// [`Error::File`]: it exists and cannot be read.
    pub fn read(home: &Home) -> Result<(Self, Option<StorageNote>), Error> {
        Self::read_at(&DocumentTarget::of(home)?.records())
    }

    /// As [`Self::read`], for a document in `home` itself, whatever its `auth.json` links to.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_own(home: &Home) -> Result<(Self, Option<StorageNote>), Error> {
        Self::read_at(&home.own_records())
    }

    /// As [`Self::read`], for the document with these records.
    pub(super) fn read_at(records: &RecordPaths) -> Result<(Self, Option<StorageNote>), Error> {
        let path = records.state();
        let Some(contents) = private_file::read(&path, MAX_STATE_BYTES, Links::Refuse)? else {
            return Ok((Self::default(), None));
        };
        Ok(match serde_json::from_slice(&contents.bytes) {
            Ok(state) => (state, None),
            Err(error) => {
                (Self::default(), Some(StorageNote::StateUnreadable { path, reason: error.to_string() }))
            }
        })
    }

    /// Returns the stamp of the file, which differs after every change. Does not open the file.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be examined.
    pub fn stamp(home: &Home) -> Result<Option<Stamp>, Error> {
        Ok(private_file::stamp(&DocumentTarget::of(home)?.records().state(), Links::Refuse)?)
    }

    /// Records that the refresh token with `fingerprint` is spent.
    pub fn mark_spent(&mut self, fingerprint: Fingerprint) {
        self.spent.retain(|known| *known != fingerprint);
        self.spent.push(fingerprint);
        self.spent.drain(..self.spent.len().saturating_sub(MAX_SPENT));
    }

    /// Records that this library left `document` stored, or accepted it.
    pub fn mark_current(&mut self, document: &AuthDocument) {
        (self.current, self.owner) = (document.fingerprint(), owner_of(document));
    }

    /// Marks the login of `document` as being logged out.
    pub fn mark_logout(&mut self, document: &AuthDocument) {
        self.logging_out = document.logout_fingerprint();
        self.logging_out_login = login_of(document).map(str::to_owned);
    }

    /// Removes the mark of [`Self::mark_logout`]: the login stays, or another one is stored.
    pub fn clear_logout_mark(&mut self) {
        (self.logging_out, self.logging_out_login) = (None, None);
    }

    /// Returns the logout fingerprint of `document` if it is the login that is being logged out, also after a refresh.
    #[must_use]
    pub fn logout_token(&self, document: &AuthDocument) -> Option<Fingerprint> {
        let marked = self.logging_out?;
        let same_login =
            login_of(document).zip(self.logging_out_login.as_deref()).is_some_and(|(a, b)| a == b);
        document.logout_fingerprint().filter(|fingerprint| same_login || *fingerprint == marked)
    }

    /// Remembers `change`. After several changes the value before the first one counts.
    pub(super) fn remember_setting(&mut self, change: &SettingChange) {
        let Some(after) = change.after else { return };
        let known = self.setting.take().filter(|known| Some(&*known.set) == change.before);
        let (before, created) = match known {
            Some(known) => (known.before, known.created),
            None => (change.before.map(str::to_owned), change.created),
        };
        let is_change = before.as_deref() != Some(after);
        self.setting = is_change.then(|| SettingRecord { set: after.to_owned(), before, created });
    }

    /// Clears everything about the login, which has ended. The spent fingerprints, with that of a login that was logged out,
    /// and unknown fields are kept.
    pub fn forget_login(&mut self) {
        if let Some(fingerprint) = self.logging_out {
            self.mark_spent(fingerprint);
        }
        let (spent, others) = (std::mem::take(&mut self.spent), std::mem::take(&mut self.others));
        *self = Self { spent, others, ..Self::default() };
    }

    /// Replaces the file with a new generation. `by` is the process that made the change, if it is known.
    pub(super) fn write(&mut self, lease: &Lease, by: Option<ChangeAuthor>) -> Result<(), Error> {
        lease.check_folders()?;
        self.by = by;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| Error::Random(error.into()))?;
        self.generation = format!("{:032x}", u128::from_be_bytes(random));
        // Encoding strings, numbers and lists cannot fail.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        let records = lease.records();
        match replace(&records.state(), &bytes) {
            // `codex-auth` was deleted meanwhile; the lease also locks the folder around it, so no other process
            // writes.
            Err(private_file::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                private_file::create_directory(records.folder())?;
                replace(&records.state(), &bytes)?;
            }
            outcome => drop(outcome?),
        }
        Ok(())
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<Vec<ReplacementNote>, private_file::Error> {
    private_file::replace(path, bytes, Links::Refuse, MountPolicy::Refuse, FileMode::Private)
}

/// The permanent failure of one refresh token at one endpoint and client id.
///
/// It applies until a document with another fingerprint is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Poison {
    /// The refused refresh token.
    pub fingerprint: Fingerprint,
    /// The endpoint that refused it.
    pub endpoint: String,
    /// The client id that was sent with it.
    pub client_id: String,
    /// Why it was refused.
    pub cause: PoisonCause,
    /// The authority's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When it was refused.
    pub at: Timestamp,
    /// When the poison expires; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Poison {
    /// Returns whether the poison applies at `now`. An expiry that this clock cannot have set does not end it early.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until && now.duration_since(self.at) > -MAX_BACK_OFF)
    }
}

/// Why an authority refuses a refresh token permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PoisonCause {
    /// It has expired.
    Expired,
    /// It was spent before, and the process that received its successor did not store it.
    Reused,
    /// It was revoked.
    Revoked,
    /// The authority gave no reason, or one that is not known.
    #[serde(other)]
    Other,
}

/// The last attempt to spend a refresh token of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpendRecord {
    /// The refresh token.
    pub fingerprint: Fingerprint,
    /// How the attempt ended.
    #[serde(rename = "ending")]
    pub outcome: SpendOutcome,
    /// When it ended.
    pub at: Timestamp,
    /// The earliest time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The number of attempts in a row that neither succeeded nor were refused.
    #[serde(default)]
    pub failures: u32,
    /// The error, in one line without secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How an attempt to spend a refresh token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpendOutcome {
    /// Its successor is stored.
    Committed,
    /// The authority refused it; see [`Poison`].
    Refused,
    /// The authority could not be reached, or asked to try again later.
    Transient,
    /// The token may have been spent, but no response arrived.
    #[serde(other)]
    Unknown,
}

impl SpendRecord {
    /// Returns the record of a commit: the successor of `fingerprint` arrived at `at` and is stored.
    #[must_use]
    pub fn committed(fingerprint: Fingerprint, at: Timestamp) -> Self {
        let (ending, message) = (SpendOutcome::Committed, String::new());
        Self { fingerprint, outcome: ending, at, retry_at: None, failures: 0, message }
    }

    /// Returns the time from `now` until the next attempt is allowed, if that is in the future. A record that this
    /// clock cannot have written is ignored.
    #[must_use]
    pub fn remaining_back_off(&self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.retry_at?.duration_since(now);
        let set = self.at.duration_since(now);
        (left.is_positive() && set <= SignedDuration::from_secs(1)).then_some(left)
    }
}

/// Returns the fingerprint of the account and user id of `document`, if both are known.
#[must_use]
pub fn owner_of(document: &AuthDocument) -> Option<Fingerprint> {
    let identity = document.identity();
    let (account, user) = identity.account_id.zip(identity.user_id)?;
    Some(Fingerprint::of_bytes(format!("{account}\0{user}").as_bytes()))
}

fn login_of(document: &AuthDocument) -> Option<&str> {
    document.tokens()?.login_id.as_deref()
}
