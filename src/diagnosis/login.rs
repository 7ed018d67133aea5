//! Examines a login: its configuration, whether a token is available, and the keychain.

use crate::config::{
    Config, Environment, KeychainEncryption, LegacyToken, StoreKind, StoreSelection, StoreSetting,
};
use crate::document::AuthDocument;
use crate::manager::{self, LoginStatus};
use crate::store::{self, DocumentLocation, FindReport, HomeState, SpendOutcome, SpendRecord, Stores};

/// The condition of a login and its store.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoginDiagnosis {
    /// What `config.toml` says about the store.
    pub config: ConfigCondition,
    /// The login; an error if its store cannot be read.
    pub status: Result<LoginStatus, manager::Error>,
    /// Whether the login can be used and refreshed; `None` without one.
    pub condition: Option<LoginCondition>,
    /// The last refresh, if it failed for a reason that may pass.
    pub failed_refresh: Option<SpendRecord>,
    /// The keychain.
    pub keychain: KeychainDiagnosis,
}

/// What `config.toml` says about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigCondition {
    /// It has the `auth_token` of an old version, which is no longer read.
    LegacyToken,
    /// It makes Codex encrypt the login, which this library cannot read.
    Encrypted,
    /// It selects the store.
    Store(StoreSetting),
}

/// Whether a login can be used and refreshed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoginCondition {
    /// No token is available.
    Unusable(manager::Error),
    /// Its token can be used until it expires, and cannot be refreshed now.
    NotRefreshable(manager::Error),
    /// Its token can be used, and refreshed if it has a refresh token.
    Usable,
}

/// The condition of the keychain.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeychainDiagnosis {
    /// What the login uses it for.
    pub role: KeychainRole,
    /// Where a login is stored in it.
    pub location: DocumentLocation,
    /// Whether it can be used.
    pub state: Result<(), manager::Error>,
}

/// What a login uses the keychain for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeychainRole {
    /// It is stored elsewhere.
    Unused,
    /// It is stored in the keychain, or will be.
    Holds,
}

impl LoginDiagnosis {
    pub(super) fn of(stores: &Stores, environment: &Environment) -> Self {
        let config = &stores.settings().config;
        let status = LoginStatus::read(stores, environment);
        let role = match &status {
            Ok(status) => KeychainRole::of(config, status.find_report()),
            Err(store::Error::Keychain(_)) => KeychainRole::Holds,
            Err(_) => KeychainRole::Unused,
        };
        let keychain = stores.keychain();
        let document = status.as_ref().ok().and_then(|status| status.snapshot().document());
        Self {
            config: ConfigCondition::of(config),
            condition: status.as_ref().ok().and_then(LoginCondition::of),
            failed_refresh: document.and_then(|document| failed_refresh(stores, document)),
            status: status.map_err(manager::Error::from),
            keychain: KeychainDiagnosis {
                role,
                location: keychain.location(),
                state: keychain.check(stores.timeout()).map_err(manager::Error::from),
            },
        }
    }
}

impl ConfigCondition {
    fn of(config: &Config) -> Self {
        let is_file =
            matches!(config.store, StoreSetting::Unset | StoreSetting::Selected(StoreSelection::File));
        match () {
            () if config.legacy_token == LegacyToken::Present => Self::LegacyToken,
            () if config.encryption == KeychainEncryption::Enabled && !is_file => Self::Encrypted,
            () => Self::Store(config.store),
        }
    }
}

impl LoginCondition {
    fn of(status: &LoginStatus) -> Option<Self> {
        let document = status.snapshot().document()?;
        if let Some(reason) = status.usability().reason() {
            return Some(Self::Unusable(reason.clone()));
        }
        Some(match status.check_refresh() {
            Err(error) if document.fingerprint().is_some() => Self::NotRefreshable(error),
            _ => Self::Usable,
        })
    }
}

impl KeychainRole {
    fn of(config: &Config, found: &FindReport) -> Self {
        match &found.stored {
            Some(stored) if stored.location.kind() == StoreKind::Keychain => Self::Holds,
            None if config.store.selection() == Some(StoreSelection::Keychain) => Self::Holds,
            _ => Self::Unused,
        }
    }
}

/// Returns the last refresh of the token of `document`, if it failed for a reason that may pass.
fn failed_refresh(stores: &Stores, document: &AuthDocument) -> Option<SpendRecord> {
    let (state, _) = HomeState::read(stores.home()).ok()?;
    let is_passing =
        |last: &SpendRecord| matches!(last.outcome, SpendOutcome::Transient | SpendOutcome::Unknown);
    state.outcome.filter(|last| Some(last.fingerprint) == document.fingerprint()).filter(is_passing)
}
