//! What all instances know of a login: `state.json`, rewritten by every outcome, with no secret in it.

use std::fmt;
use std::path::Path;

use codex_auth_platform::lock::Holder;
use codex_auth_platform::private_file::{self, Links, OverMount, Stamp};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::outcome::{Outcome, Poison};
use super::{Error, Lease, Note, locate};
use crate::config::StoreKind;
use crate::home::Home;
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
pub struct State {
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
    pub outcome: Option<Outcome>,
    /// Who wrote the last outcome; nobody that is known if it was another program's commit that was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A process that changed a login, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Author {
    /// Its process id, in its own container.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
}

impl Author {
    fn this_process() -> Self {
        let program = std::env::current_exe().ok();
        let name =
            program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        Self { pid: std::process::id(), program: name.unwrap_or_else(|| "codex-auth".to_owned()) }
    }
}

impl From<Holder> for Author {
    fn from(holder: Holder) -> Self {
        Self { pid: holder.pid, program: holder.program }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable =
            self.program.chars().filter(|letter| !letter.is_control()).take(64).collect::<String>();
        write!(f, "{printable} (pid {})", self.pid)
    }
}

impl State {
    /// The record of `home`; the empty one if there is none. One that cannot be understood counts as empty too, since
    /// everything in it can be found out again, and the note says so.
    ///
    /// # Errors
    /// [`Error::File`]: it is there and cannot be read.
    pub fn read(home: &Home) -> Result<(Self, Option<Note>), Error> {
        let path = locate::residence(home)?.state();
        let Some(contents) = private_file::read(&path, LIMIT, Links::Refuse)? else {
            return Ok((Self::default(), None));
        };
        Ok(match serde_json::from_slice(&contents.bytes) {
            Ok(state) => (state, None),
            Err(error) => (Self::default(), Some(Note::StateUnreadable { path, reason: error.to_string() })),
        })
    }

    /// What changes whenever the record does; one look at the file, which is not opened.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be looked at.
    pub fn stamp(home: &Home) -> Result<Option<Stamp>, Error> {
        Ok(private_file::stamp(&locate::residence(home)?.state(), Links::Refuse)?)
    }

    /// Remembers that a commit replaced `fingerprint`.
    pub fn spend(&mut self, fingerprint: Fingerprint) {
        self.spent.retain(|known| *known != fingerprint);
        self.spent.push(fingerprint);
        self.spent.drain(..self.spent.len().saturating_sub(SPENT));
    }

    /// Replaces the record under a new generation, as this process's own word.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be written; the old record is untouched. [`Error::Random`].
    pub fn write(&mut self, lease: &Lease) -> Result<(), Error> {
        self.by = Some(Author::this_process());
        self.replace(lease)
    }

    /// As [`Self::write`], after taking over what another program committed.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_adopted(&mut self, lease: &Lease) -> Result<(), Error> {
        self.by = None;
        self.replace(lease)
    }

    fn replace(&mut self, lease: &Lease) -> Result<(), Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        self.generation = format!("{:032x}", u128::from_be_bytes(random));
        // A struct of texts, numbers and lists has no way to fail.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        private_file::replace(&lease.residence().state(), &bytes, Links::Refuse, OverMount::Refuse)?;
        Ok(())
    }
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
