//! The journal of intents that this member may have carried out.

use std::path::PathBuf;

use codex_auth_platform::private_file::{self, Links};
use serde::{Deserialize, Serialize};

use super::error::MemberError;
use super::sealed_file::{read, replace};
use crate::fleet::intent::{IntentId, SpendIntent};
use crate::fleet::record_error::InvalidRecord;
use crate::secret::Fingerprint;

/// The intents that this member may have carried out, all with one token.
///
/// The entry of a second attempt stays beside that of the first, which is announced again if the second is withdrawn.
#[derive(Debug)]
pub(super) struct PostingJournal {
    path: PathBuf,
    posting: Option<Posting>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Posting {
    spends: Fingerprint,
    intents: Vec<IntentId>,
}

impl PostingJournal {
    pub(super) fn load(path: PathBuf) -> Result<Self, MemberError> {
        let posting = match read(&path)? {
            None => None,
            Some(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| MemberError::Damaged { path: path.clone(), source: InvalidRecord::Malformed })?,
        };
        Ok(Self { path, posting })
    }

    /// Whether `intent` may have been carried out.
    pub(super) fn may_have_posted(&self, intent: &SpendIntent) -> bool {
        let posting = self.posting.as_ref().filter(|posting| posting.spends == intent.spends);
        posting.is_some_and(|posting| posting.intents.contains(&intent.id))
    }

    /// Whether `token` may have been sent.
    pub(super) fn may_have_sent(&self, token: Fingerprint) -> bool {
        self.posting.as_ref().is_some_and(|posting| posting.spends == token)
    }

    /// Enters `intent`; the entry is on the disk when this returns.
    pub(super) fn enter(&mut self, intent: &SpendIntent) -> Result<(), MemberError> {
        let same = self.posting.clone().filter(|posting| posting.spends == intent.spends);
        let mut posting = same.unwrap_or(Posting { spends: intent.spends, intents: Vec::new() });
        posting.intents.push(intent.id);
        self.save(Some(posting))
    }

    /// Removes the entry of `intent`, which was not carried out.
    pub(super) fn strike(&mut self, intent: IntentId) -> Result<(), MemberError> {
        let Some(mut posting) = self.posting.clone() else { return Ok(()) };
        posting.intents.retain(|id| *id != intent);
        self.save(Some(posting).filter(|posting| !posting.intents.is_empty()))
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) -> Result<(), MemberError> {
        if self.posting.is_some() { self.save(None) } else { Ok(()) }
    }

    fn save(&mut self, posting: Option<Posting>) -> Result<(), MemberError> {
        match &posting {
            Some(posting) => {
                let bytes = serde_json::to_vec(posting).unwrap_or_default();
                replace(&self.path, &bytes)?;
            }
            None => {
                private_file::remove(&self.path, Links::Refuse)?;
            }
        }
        self.posting = posting;
        Ok(())
    }
}
