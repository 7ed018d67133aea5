//! What all instances know of a login: `state.json`, rewritten by every outcome, with no secret in it.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use codex_auth_platform::lock::Holder;
use codex_auth_platform::private_file::{self, Links, MountPolicy, Stamp};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::outcome::{Poison, SpendRecord};
use super::{DocumentTarget, Error, Lease, StorageNote};
use crate::config::StoreKind;
use crate::document::AuthDocument;
use crate::home::{Home, RecordPaths};
use crate::secret::Fingerprint;

const LIMIT: u64 = 256 * 1024;
/// How many replaced fingerprints are remembered.
const SPENT: usize = 16;

/// The shared record of a home. It lives with the document, so places that share one by a link share the record.
///
/// It is replaced whole, under the lease, and its rewriting is what wakes watchers when the document is in a keychain.
/// Fields of newer versions are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HomeState {
    /// A random text that is new after every outcome.
    pub generation: String,
    /// Where the last outcome left the document.
    #[serde(with = "store_word", skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreKind>,
    /// The refresh tokens that commits replaced, the latest last: a stored document with one of these is an old one.
    pub spent: Vec<Fingerprint>,
    /// When a token was last received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    /// The refresh token that is known to be dead, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poison: Option<Poison>,
    /// How the last spending ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<SpendRecord>,
    /// The token of a login that is being ended: of its refresh token, or of the access token where it has none. It is
    /// handed out no more, and the next holder of the lease completes the logout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging_out: Option<Fingerprint>,
    /// Names that login where its document does: another program may refresh it before it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging_out_login: Option<String>,
    /// Whether a login may be left in the keychain, which could not be used when another took its place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_in_keychain: bool,
    /// Who wrote the last outcome; nobody that is known if it was another program's commit that was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<ChangeAuthor>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A process that changed a login, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChangeAuthor {
    /// Its process id, in its own container.
    pub pid: u32,
    /// The name of its program.
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
        let printable =
            self.program.chars().filter(|letter| !letter.is_control()).take(64).collect::<String>();
        write!(f, "{printable} (pid {})", self.pid)
    }
}

impl HomeState {
    /// The record of `home`; the empty one if there is none. One that cannot be understood counts as empty too, since
    /// everything in it can be found out again, and the note says so.
    ///
    /// # Errors
    /// [`Error::File`]: it is there and cannot be read.
    pub fn read(home: &Home) -> Result<(Self, Option<StorageNote>), Error> {
        Self::read_at(&DocumentTarget::of(home)?.records())
    }

    /// As [`Self::read`], of a document whose files are known.
    pub(super) fn read_at(records: &RecordPaths) -> Result<(Self, Option<StorageNote>), Error> {
        let path = records.state();
        let Some(contents) = private_file::read(&path, LIMIT, Links::Refuse)? else {
            return Ok((Self::default(), None));
        };
        Ok(match serde_json::from_slice(&contents.bytes) {
            Ok(state) => (state, None),
            Err(error) => {
                (Self::default(), Some(StorageNote::StateUnreadable { path, reason: error.to_string() }))
            }
        })
    }

    /// What changes whenever the record does; one look at the file, which is not opened.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be looked at.
    pub fn stamp(home: &Home) -> Result<Option<Stamp>, Error> {
        Ok(private_file::stamp(&DocumentTarget::of(home)?.records().state(), Links::Refuse)?)
    }

    /// Remembers that a commit replaced `fingerprint`.
    pub fn spend(&mut self, fingerprint: Fingerprint) {
        self.spent.retain(|known| *known != fingerprint);
        self.spent.push(fingerprint);
        self.spent.drain(..self.spent.len().saturating_sub(SPENT));
    }

    /// Marks the login of `document` as one that is being ended.
    pub fn mark_logout(&mut self, document: &AuthDocument) {
        self.logging_out = document.logout_fingerprint();
        self.logging_out_login = login_of(document).map(str::to_owned);
    }

    /// Removes the mark of [`Self::mark_logout`]: the login stays, or another one is stored.
    pub fn unmark_logout(&mut self) {
        (self.logging_out, self.logging_out_login) = (None, None);
    }

    /// The fingerprint of the token of `document` if it is of the login that is being ended, also after a refresh of it.
    #[must_use]
    pub fn ending(&self, document: &AuthDocument) -> Option<Fingerprint> {
        let marked = self.logging_out?;
        let same_login =
            login_of(document).zip(self.logging_out_login.as_deref()).is_some_and(|(a, b)| a == b);
        document.logout_fingerprint().filter(|fingerprint| same_login || *fingerprint == marked)
    }

    /// Forgets the login, which has ended. Fields of newer versions are kept.
    pub fn log_out(&mut self) {
        *self = Self { others: std::mem::take(&mut self.others), ..Self::default() };
    }

    /// Replaces the record under a new generation. `by` is the process whose change it reports, if that is known.
    pub(super) fn write(&mut self, lease: &Lease, by: Option<ChangeAuthor>) -> Result<(), Error> {
        lease.check_folders()?;
        self.by = by;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        self.generation = format!("{:032x}", u128::from_be_bytes(random));
        // A struct of texts, numbers and lists has no way to fail.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        let records = lease.records();
        match private_file::replace(&records.state(), &bytes, Links::Refuse, MountPolicy::Refuse) {
            // Our folder was deleted under us; the lease holds the home's folder too, so no other process is in there.
            Err(private_file::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                private_file::create_directory(records.folder())?;
                private_file::replace(&records.state(), &bytes, Links::Refuse, MountPolicy::Refuse)?;
            }
            outcome => drop(outcome?),
        }
        Ok(())
    }
}

fn login_of(document: &AuthDocument) -> Option<&str> {
    document.tokens()?.login.as_deref()
}

mod store_word {
    //! A store by our own word; a word of a newer version is no store that we know.

    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::config::StoreKind;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        store: &Option<StoreKind>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match store {
            Some(kind) => serializer.serialize_str(kind.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<StoreKind>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.and_then(|word| StoreKind::named(&word)))
    }
}
