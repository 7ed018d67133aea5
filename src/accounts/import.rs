//! Imports the document of a login from a file, as a new account.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, DirectoryState, Links};

use super::error::Error;
use super::name::AccountName;
use super::set::AccountSet;
use crate::config::{Environment, StoreSelection, StoreSetting};
use crate::document::AuthDocument;
use crate::login::{self, StoreReport};
use crate::store::{self, DocumentLocation, Lease, Stores};

/// The largest file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// A document that can become an account.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccountImport {
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub document: AuthDocument,
}

impl AccountImport {
    /// Reads the document at `path`, a file or a folder with an `auth.json`, and checks that its user is not logged in here.
    /// Sends nothing: a copy of a login that another program uses would end that login if it were refreshed.
    ///
    /// # Errors
    /// - [`Error::UserIsHere`]: an account or the login of the home is of the same user.
    /// - [`Error::EndedLogin`]: it is an old copy of a login that was in use here.
    /// - [`Error::NoFile`]: there is no such file.
    /// - [`Error::Store`]: it cannot be read or is not a document, or a login here cannot be read.
    pub fn read(set: &AccountSet, path: &Path, environment: &Environment) -> Result<Self, Error> {
        let path = match private_file::directory_state(path)? {
            DirectoryState::Missing | DirectoryState::NotADirectory => path.to_owned(),
            _ => path.join("auth.json"),
        };
        let contents = private_file::read(&path, MAX_BYTES, Links::Follow)?;
        let contents = contents.ok_or_else(|| Error::NoFile { path: path.clone() })?;
        let location = DocumentLocation::File(path.clone());
        let document = AuthDocument::parse(&contents.bytes)
            .map_err(|source| store::Error::Document { location, source })?;
        if document.mode().is_none() {
            return Err(Error::NoLogin { path });
        }
        let import = Self { path, document };
        import.check(set, environment)?;
        Ok(import)
    }

    /// Checks that its user is not logged in here.
    pub(super) fn check(&self, set: &AccountSet, environment: &Environment) -> Result<(), Error> {
        if let Some(name) = set.find_user(&self.document, environment)? {
            return Err(Error::UserIsHere { name });
        }
        match self.document.fingerprint() {
            Some(fingerprint) if set.has_ended(fingerprint)? => {
                Err(Error::EndedLogin { path: self.path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Returns a name for the account: the part of the e-mail address before the `@`, else `account`.
    ///
    /// # Errors
    /// None in fact: `account` is a valid name.
    pub fn suggested_name(&self) -> Result<AccountName, Error> {
        suggested_name(&self.document)
    }

    /// Stores the document in the home of an account without a login. Requires the lease of that home.
    ///
    /// # Errors
    /// As [`login::commit_login()`].
    pub(super) fn store(&self, stores: &Stores, lease: &Lease) -> Result<StoreReport, Error> {
        let choice = stores.choose(Some(login_store(stores)))?;
        Ok(login::commit_login(&mut stores.writer(lease)?, &choice, &self.document)?)
    }
}

/// Returns a name for the account of a login, as [`AccountImport::suggested_name`] does.
pub(super) fn suggested_name(document: &AuthDocument) -> Result<AccountName, Error> {
    let email = document.claims().email.as_deref();
    let local = email.and_then(|email| email.split('@').next()).and_then(AccountName::from_text);
    Ok(local.map_or_else(|| AccountName::parse("account"), Ok)?)
}

/// Returns the store for a login of an account: the one that `config.toml` names, because all accounts share it, else the
/// file.
#[must_use]
pub fn login_store(stores: &Stores) -> StoreSelection {
    match stores.settings().config.store {
        StoreSetting::Selected(selection) => selection,
        _ => StoreSelection::File,
    }
}
