//! The record of a running login, in the rescue: what has to be revoked if the process is killed.
//!
//! It has three stages, each written before the step that it covers: the code is recorded before it is exchanged, the
//! tokens as soon as they arrive, and the document with the logins that it replaces before the commit. The next holder
//! of the lease reads it ([`Writer::recover`]).
//!
//! [`Writer::recover`]: super::Writer::recover

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy, Replacement};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::content::DocumentLocation;
use super::error::Error;
use super::seal::Seal;
use super::writer::Writer;
use crate::config::{StoreKind, StoreSelection};
use crate::document::{AuthDocument, NewTokens, Provenance};
use crate::secret::{Fingerprint, Secret};

/// The space that is reserved for the response; those of a login are a few kilobytes.
pub(super) const RESPONSE_BYTES: u64 = 16 * 1024;

/// A login that is not complete.
#[derive(Debug)]
pub(super) struct LoginRecord {
    /// How far it got.
    pub(super) stage: LoginStage,
    /// The issuer and client id of its tokens.
    pub(super) provenance: Provenance,
    /// When it was written.
    pub(super) at: Timestamp,
    /// The account attribute of the keychain item, if the new login or the one before is in the keychain.
    pub(super) item: Option<String>,
}

/// How far a login got.
#[derive(Debug)]
pub(super) enum LoginStage {
    /// The authority may have issued tokens for this code.
    Requested(SentCode),
    /// It issued these tokens, which are in no store.
    Received(NewTokens),
    /// The document may be stored.
    Committing(Box<LoginCommit>),
}

/// An authorization code, with what its exchange needs.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the exchange has no other fields")]
pub struct SentCode {
    /// The single-use code.
    pub code: Secret,
    /// The PKCE verifier.
    pub verifier: Secret,
    /// The redirect URI that received the code.
    pub redirect_uri: String,
}

/// A login that is about to be stored.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a login records all of it")]
pub struct LoginCommit {
    /// The new document.
    pub document: AuthDocument,
    /// The logins that it replaces and that are then revoked.
    pub replaced: Vec<AuthDocument>,
    /// The logout fingerprints of all logins that were stored before.
    pub before: Vec<Fingerprint>,
}

impl LoginCommit {
    /// Returns whether `stored` is the new login or descends from it.
    pub(super) fn is_in(&self, stored: &AuthDocument) -> bool {
        let one = self.document.logout_fingerprint();
        stored.revision() == self.document.revision()
            || (one.is_some() && one == stored.logout_fingerprint())
            || login_of(stored).is_some_and(|login| Some(login) == login_of(&self.document))
    }

    /// Returns whether `stored`, which is not the new login, may descend from it: it does not say which login it is of.
    pub(super) fn may_precede(&self, stored: &AuthDocument) -> bool {
        let names_none = stored.tokens().is_some_and(|tokens| tokens.login_id.is_none());
        let was_before = stored.logout_fingerprint().is_some_and(|now| self.before.contains(&now));
        names_none
            && !was_before
            && self.document.tokens().is_some()
            && !stored.identity().is_different_user(&self.document.identity())
    }
}

fn login_of(document: &AuthDocument) -> Option<&str> {
    document.tokens()?.login_id.as_deref()
}

/// Writes the record of the login that this process runs. What it wrote last stays until the rescue is cleared.
#[derive(Debug)]
pub struct LoginRecorder {
    provenance: Provenance,
    selection: StoreSelection,
    protection: Option<Protection>,
}

#[derive(Debug)]
struct Protection {
    seal: Seal,
    item: Option<String>,
}

/// Reserved space for the response to a code.
#[derive(Debug)]
#[must_use = "the space is given back on drop"]
pub struct ResponseSpace(Replacement);

impl LoginRecorder {
    /// Creates the recorder of a login that will be stored as `selection`. Writes nothing.
    #[must_use]
    pub fn new(selection: StoreSelection, provenance: Provenance) -> Self {
        Self { provenance, selection, protection: None }
    }

    /// Records `code` before it is sent, and reserves space for the response.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Keychain`], [`Error::Random`], [`Error::Sealing`]: the code must not be sent.
    pub fn save_code(&mut self, writer: &mut Writer<'_>, code: SentCode) -> Result<ResponseSpace, Error> {
        self.save(writer, LoginStage::Requested(code))?;
        let path = writer.lease().records().rescue();
        Ok(ResponseSpace(Replacement::reserve(&path, RESPONSE_BYTES, Links::Refuse, MountPolicy::Refuse)?))
    }

    /// Records the tokens as soon as they arrive.
    ///
    /// # Errors
    /// As [`Self::save_code`]; the record of the code stays.
    pub fn save_tokens(
        &mut self,
        writer: &mut Writer<'_>,
        space: ResponseSpace,
        tokens: NewTokens,
    ) -> Result<(), Error> {
        let bytes = self.encode(writer, LoginStage::Received(tokens))?;
        space.0.commit(&bytes)?;
        Ok(())
    }

    /// Records what is about to be stored, and what is to be revoked afterwards.
    ///
    /// # Errors
    /// As [`Self::save_code`]; nothing may be stored.
    pub fn save_commit(&mut self, writer: &mut Writer<'_>, commit: LoginCommit) -> Result<(), Error> {
        self.save(writer, LoginStage::Committing(Box::new(commit)))
    }

    /// Removes the record: everything is stored or revoked.
    ///
    /// # Errors
    /// [`Error::File`]: it stays, and the next holder of the lease reads it.
    pub fn clear(self, writer: &Writer<'_>) -> Result<(), Error> {
        if self.protection.is_some() { writer.clear_rescue() } else { Ok(()) }
    }

    fn save(&mut self, writer: &mut Writer<'_>, stage: LoginStage) -> Result<(), Error> {
        let path = writer.lease().records().rescue();
        if self.protection.is_none() && private_file::stamp(&path, Links::Refuse)?.is_some() {
            writer.set_aside(&path, "it could not be completed before a new login")?;
        }
        let bytes = self.encode(writer, stage)?;
        writer.lease().check_folders()?;
        private_file::replace(&path, &bytes, Links::Refuse, MountPolicy::Refuse, FileMode::Private)?;
        Ok(())
    }

    fn encode(&mut self, writer: &Writer<'_>, stage: LoginStage) -> Result<Zeroizing<Vec<u8>>, Error> {
        let provenance = self.provenance.clone();
        let Protection { seal, item } = match &mut self.protection {
            Some(protection) => protection,
            missing => missing.insert(Protection::choose(writer, self.selection)?),
        };
        let record = LoginRecord { stage, provenance, at: Timestamp::now(), item: item.clone() };
        seal.seal(encode(&record)?, &writer.lease().records())
    }
}

impl Protection {
    /// Chooses to seal the record if the new login or the one before is in the keychain.
    fn choose(writer: &Writer<'_>, selection: StoreSelection) -> Result<Self, Error> {
        let stores = writer.stores();
        let is_in_keychain = || {
            let before = stores.find_readable().ok().and_then(|found| found.stored);
            before.is_some_and(|stored| stored.location.kind() == StoreKind::Keychain)
        };
        let (kind, _) = stores.resolve(selection);
        if kind == StoreKind::File && !is_in_keychain() {
            return Ok(Self { seal: Seal::Plain, item: None });
        }
        let item = match stores.keychain().location() {
            DocumentLocation::Keychain { account, .. } => Some(account),
            DocumentLocation::File(_) => None,
        };
        match Seal::for_store(writer.lease(), StoreKind::Keychain, &stores.keychain(), stores.timeout()) {
            Ok(seal) => Ok(Self { seal, item }),
            // The commit falls back to the file too.
            Err(_) if selection != StoreSelection::Keychain => Ok(Self { seal: Seal::Plain, item: None }),
            Err(error) => Err(error),
        }
    }
}

/// The JSON of a record on disk.
#[derive(Default, Serialize, Deserialize)]
struct RecordFile {
    purpose: String,
    stage: String,
    at: Timestamp,
    issuer: Option<String>,
    client_id: Option<String>,
    item: Option<String>,
    redirect_uri: Option<String>,
    #[serde(default)]
    before: Vec<Fingerprint>,
    code: Option<String>,
    verifier: Option<String>,
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    document: Option<String>,
    #[serde(default)]
    replaced: Vec<String>,
}

/// Tells a record from the other rescues, and the stages apart. Versions that do not know a value set the file aside.
const PURPOSE: &str = "login";
const REQUESTED: &str = "requested";
const RECEIVED: &str = "received";
const COMMITTING: &str = "committing";

impl RecordFile {
    fn secrets(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { code, verifier, id_token, access_token, refresh_token, document, replaced, .. } = self;
        let single = [code, verifier, id_token, access_token, refresh_token, document];
        single.into_iter().flatten().chain(replaced)
    }

    fn into_record(mut self) -> Option<LoginRecord> {
        let file = &mut self;
        let secret = |text: &mut Option<String>| text.take().map(Secret::new);
        let parsed = |text: &str| AuthDocument::parse(text.as_bytes()).ok();
        let stage = match file.stage.as_str() {
            REQUESTED => LoginStage::Requested(SentCode {
                code: secret(&mut file.code)?,
                verifier: secret(&mut file.verifier)?,
                redirect_uri: file.redirect_uri.take()?,
            }),
            RECEIVED => LoginStage::Received(NewTokens {
                id_token: secret(&mut file.id_token),
                access_token: secret(&mut file.access_token),
                refresh_token: secret(&mut file.refresh_token),
            }),
            COMMITTING => LoginStage::Committing(Box::new(LoginCommit {
                document: parsed(file.document.as_deref()?)?,
                replaced: file.replaced.iter().map(|text| parsed(text)).collect::<Option<_>>()?,
                before: std::mem::take(&mut file.before),
            })),
            _ => return None,
        };
        let provenance = Provenance::new(file.issuer.take(), file.client_id.take());
        Some(LoginRecord { stage, provenance, at: file.at, item: file.item.take() })
    }
}

impl Drop for RecordFile {
    fn drop(&mut self) {
        self.secrets().for_each(Zeroize::zeroize);
    }
}

/// Parses a decrypted record; returns `None` for anything else.
pub(super) fn decode(plain: &[u8]) -> Option<LoginRecord> {
    let file: RecordFile = serde_json::from_slice(plain).ok()?;
    if file.purpose == PURPOSE { file.into_record() } else { None }
}

fn encode(record: &LoginRecord) -> Result<Zeroizing<Vec<u8>>, Error> {
    let plain = |secret: &Secret| Some(secret.expose().to_owned());
    let text = |document: &AuthDocument| String::from_utf8_lossy(&document.to_compact()).into_owned();
    let mut file = RecordFile::default();
    (file.purpose, file.at, file.item) = (PURPOSE.to_owned(), record.at, record.item.clone());
    file.issuer.clone_from(&record.provenance.issuer);
    file.client_id.clone_from(&record.provenance.client_id);
    let stage = match &record.stage {
        LoginStage::Requested(SentCode { code, verifier, redirect_uri }) => {
            (file.code, file.verifier) = (plain(code), plain(verifier));
            file.redirect_uri = Some(redirect_uri.clone());
            REQUESTED
        }
        LoginStage::Received(tokens) => {
            file.id_token = tokens.id_token.as_ref().and_then(plain);
            file.access_token = tokens.access_token.as_ref().and_then(plain);
            file.refresh_token = tokens.refresh_token.as_ref().and_then(plain);
            RECEIVED
        }
        LoginStage::Committing(commit) => {
            file.document = Some(text(&commit.document));
            file.replaced = commit.replaced.iter().map(text).collect();
            file.before.clone_from(&commit.before);
            COMMITTING
        }
    };
    file.stage = stage.to_owned();
    // Allocated in full, because a growing buffer would leave unwiped copies behind.
    let length: usize = file.secrets().map(|secret| secret.len() * 2).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 8192));
    serde_json::to_writer(&mut *bytes, &file).map_err(|_| Error::Sealing)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stage: LoginStage) -> Zeroizing<Vec<u8>> {
        let provenance = Provenance::new(Some("https://issuer".to_owned()), None);
        encode(&LoginRecord { stage, provenance, at: Timestamp::UNIX_EPOCH, item: None }).unwrap()
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_later_stage_is_not_read() {
        let (code, verifier) = (Secret::from("c"), Secret::from("v"));
        let bytes = written(LoginStage::Requested(SentCode { code, verifier, redirect_uri: "r".to_owned() }));
        let Some(LoginRecord { stage: LoginStage::Requested(read), provenance, .. }) = decode(&bytes) else {
            panic!("it is a code")
        };
        assert_eq!((read.code.expose(), read.verifier.expose(), &*read.redirect_uri), ("c", "v", "r"));
        assert_eq!(provenance.issuer.as_deref(), Some("https://issuer"));
        let later = String::from_utf8(bytes.to_vec()).unwrap().replace(REQUESTED, "later");
        assert!(decode(later.as_bytes()).is_none());
        assert!(super::super::rescue::decode(&bytes).is_none(), "other versions set it aside");

        let document = AuthDocument::parse(br#"{"OPENAI_API_KEY":"sk-1"}"#).unwrap();
        let before = vec![Secret::from("rt").fingerprint()];
        let commit = LoginCommit { document: document.clone(), replaced: vec![document], before };
        let Some(LoginRecord { stage: LoginStage::Committing(read), .. }) =
            decode(&written(LoginStage::Committing(Box::new(commit))))
        else {
            panic!("it is a commit")
        };
        assert_eq!((read.replaced.len(), read.before.len()), (1, 1));
        assert_eq!(read.document.revision(), read.replaced[0].revision());
    }
}
