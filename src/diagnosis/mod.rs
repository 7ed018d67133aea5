//! Examines everything that a login depends on: the folders of its home, its store, and the authority.
//!
//! [`diagnose`] writes nothing, takes no lock and spends no token; the only request that it sends is an empty one to the
//! authority. No result holds a secret. [`fix`] fixes what is safe to fix.

mod folders;
mod inspection;
mod login;
mod network;

pub use self::folders::{FileSystemCondition, FolderDiagnosis, fix};
pub use self::inspection::{EntryRole, FolderAccess, HeldLock, HomeEntry, Leftover};
pub use self::login::{ConfigCondition, KeychainDiagnosis, KeychainRole, LoginCondition, LoginDiagnosis};
pub use self::network::{
    AuthorityAddress, AuthorityConnection, ClockDifference, ClockReference, ClockSkew, NetworkDiagnosis,
    TOLERATED_SKEW,
};
use crate::clock::Clock;
use crate::config::Environment;
use crate::home::Home;
use crate::manager;
pub use crate::manager::{CodexProcess, programs_using};
use crate::store::Stores;

/// The result of [`diagnose`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The folders of the home; an error if they cannot be examined.
    pub folders: Result<FolderDiagnosis, manager::Error>,
    /// The login and its store; an error if `config.toml` cannot be read.
    pub login: Result<LoginDiagnosis, manager::Error>,
    /// The way to the authority, and the clock of this machine.
    pub network: NetworkDiagnosis,
}

/// Examines `home`.
///
/// # Blocking
/// Reads files and the keychain, and waits up to 5 s for the authority. In an async task, call it from
/// `tokio::task::spawn_blocking`.
#[must_use]
pub fn diagnose(home: &Home, environment: &Environment, clock: &Clock) -> Diagnosis {
    let stores = Stores::open(home.clone(), environment);
    let document = stores.as_ref().ok().and_then(|stores| stores.find().ok()?.stored);
    let document = document.map(|stored| stored.document);
    Diagnosis {
        folders: FolderDiagnosis::of(home).map_err(manager::Error::from),
        login: stores.map(|stores| LoginDiagnosis::of(&stores, environment)).map_err(manager::Error::from),
        network: NetworkDiagnosis::of(environment, document.as_ref(), clock),
    }
}
