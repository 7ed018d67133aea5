//! A new login, sealed on the disk until the record has it and the login that it replaced is revoked.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::error::MemberError;
use super::sealed_file::SealedFile;
use crate::document::AuthDocument;
use crate::fleet::fleet_keys::FleetKeys;
use crate::fleet::record::SharedRecord;
use crate::fleet::record_error::InvalidRecord;
use crate::secret::write_exact;

const MAGIC: &[u8] = b"codex-auth login 1\n";

/// A new login that is not complete.
#[derive(Clone, Debug)]
pub(super) struct JournaledLogin {
    /// The id of the new login.
    pub(super) login_id: String,
    pub(super) document: AuthDocument,
    /// What the record had when the user logged in, or at the last try; `None` if there was no record.
    pub(super) over: Option<ReplacedLogin>,
}

/// The login that a new one replaces.
#[derive(Clone, Debug)]
pub(super) struct ReplacedLogin {
    pub(super) login_id: String,
    pub(super) document: AuthDocument,
    pub(super) is_logged_out: bool,
}

impl ReplacedLogin {
    pub(super) fn of(record: &SharedRecord) -> Self {
        let (login_id, document) = (record.login_id().to_owned(), record.document().clone());
        Self { login_id, document, is_logged_out: record.is_logged_out() }
    }
}

#[derive(Serialize, Deserialize)]
struct Content<'a> {
    login_id: String,
    #[serde(borrow)]
    document: &'a RawValue,
    #[serde(borrow)]
    over: Option<OverContent<'a>>,
}

#[derive(Serialize, Deserialize)]
struct OverContent<'a> {
    login_id: String,
    #[serde(borrow)]
    document: &'a RawValue,
    is_logged_out: bool,
}

/// The journal of the login that is not complete, if there is one.
#[derive(Debug)]
pub(super) struct LoginJournal {
    file: SealedFile,
    pub(super) pending: Option<JournaledLogin>,
}

impl LoginJournal {
    pub(super) fn load(path: PathBuf, keys: &FleetKeys) -> Result<Self, MemberError> {
        let file = SealedFile::new(path, MAGIC);
        let pending = match file.read(keys)? {
            None => None,
            Some(plain) => Some(decode(&plain).ok_or_else(|| file.damaged(InvalidRecord::Malformed))?),
        };
        Ok(Self { file, pending })
    }

    /// Saves `login`, which is on the disk when this returns.
    pub(super) fn save(
        &mut self,
        login: JournaledLogin,
        epoch: u64,
        keys: &FleetKeys,
    ) -> Result<(), MemberError> {
        self.file.write(encode(&login), epoch, keys)?;
        self.pending = Some(login);
        Ok(())
    }

    pub(super) fn clear(&mut self) -> Result<(), MemberError> {
        self.file.remove()?;
        self.pending = None;
        Ok(())
    }
}

fn encode(login: &JournaledLogin) -> Zeroizing<Vec<u8>> {
    let compact = login.document.to_compact();
    let old = login.over.as_ref().map(|over| (over, over.document.to_compact()));
    let over = old.as_ref().and_then(|(over, compact)| {
        let (login_id, is_logged_out) = (over.login_id.clone(), over.is_logged_out);
        Some(OverContent { login_id, document: serde_json::from_slice(compact).ok()?, is_logged_out })
    });
    let Ok(document) = serde_json::from_slice(&compact) else { return Zeroizing::default() };
    let content = Content { login_id: login.login_id.clone(), document, over };
    write_exact(|sink| serde_json::to_writer(sink, &content))
}

fn decode(plain: &[u8]) -> Option<JournaledLogin> {
    let Content { login_id, document, over } = serde_json::from_slice(plain).ok()?;
    let parse = |document: &RawValue| AuthDocument::parse(document.get().as_bytes()).ok();
    let over = match over {
        None => None,
        Some(OverContent { login_id, document, is_logged_out }) => {
            Some(ReplacedLogin { login_id, document: parse(document)?, is_logged_out })
        }
    };
    Some(JournaledLogin { login_id, document: parse(document)?, over })
}
