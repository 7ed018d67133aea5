//! The checks of the login: its store and why that one, whether a token is available, and the keychain.

use codex_auth::config::{KeychainEncryption, LegacyToken};
use codex_auth::config::{StoreSelection, StoreSetting};
use codex_auth::manager::{self, LoginStatus};
use codex_auth::store::{self, FindReport, HomeState, KeychainError, SpendOutcome, StorageNote};
use codex_auth::{StoreKind, Stores};

use super::examination::Examination;
use super::finding::Finding;
use crate::context::location_text;
use crate::output::relative;
use crate::status::unusable;

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    let stores = match &subject.stores {
        Ok(stores) => stores,
        Err(error) => return vec![Finding::failed("config", error).or_remedy("correct that file")],
    };
    let mut findings = vec![config(stores)];
    let keychain = match LoginStatus::read(stores, &subject.environment) {
        Ok(status) => {
            findings.extend(store(status.find_report()));
            findings.extend(login(subject, &status));
            keychain(stores, KeychainRole::of(stores, status.find_report()))
        }
        Err(store::Error::Keychain(_)) => keychain(stores, KeychainRole::Holds),
        Err(error) => {
            findings.push(Finding::failed("store", &error.into()));
            keychain(stores, KeychainRole::None)
        }
    };
    findings.push(keychain);
    findings
}

fn config(stores: &Stores) -> Finding {
    let settings = &stores.settings().config;
    if settings.legacy_token == LegacyToken::Present {
        let path = stores.home().config();
        return Finding::warning(
            "config",
            format!("{} contains auth_token, a key of an old version that is no longer read", path.display()),
        )
        .remedy("remove the line auth_token from that file");
    }
    let is_file =
        matches!(settings.store, StoreSetting::Unset | StoreSetting::Selected(StoreSelection::File));
    if settings.encryption == KeychainEncryption::Enabled && !is_file {
        let path = stores.home().config();
        let message = format!(
            "{} says features.secret_auth_storage = true: Codex encrypts its login, which codex-auth cannot read",
            path.display()
        );
        return Finding::warning("config", message).remedy("codex login --store file");
    }
    Finding::ok(
        "config",
        match settings.store {
            StoreSetting::Selected(selection) => {
                format!("cli_auth_credentials_store = \"{}\"", selection.codex_name())
            }
            StoreSetting::Ephemeral => {
                "cli_auth_credentials_store = \"ephemeral\": Codex keeps its login in memory".to_owned()
            }
            _ => "config.toml does not set cli_auth_credentials_store".to_owned(),
        },
    )
}

fn store(found: &FindReport) -> Vec<Finding> {
    let mut findings = vec![match &found.stored {
        Some(stored) => {
            Finding::ok("store", format!("{} ({})", location_text(&stored.location), found.reason))
        }
        None => Finding::warning("store", "not logged in").remedy("codex login"),
    }];
    let notes = found.stored.iter().flat_map(|stored| &stored.notes).chain(&found.notes);
    findings.extend(notes.filter_map(|note| {
        let finding = Finding::warning("store", note.to_string());
        match note {
            // Reported by other checks.
            StorageNote::ReadableByOthers { .. } | StorageNote::LegacyToken { .. } => None,
            StorageNote::Duplicates { .. } => Some(finding.remedy("codex migrate --to keychain")),
            StorageNote::Misplaced { found, .. } => {
                Some(finding.remedy(format!("codex migrate --to {found}")))
            }
            StorageNote::OtherCopy { .. } => Some(finding.remedy("codex logout, then codex login")),
            StorageNote::Document(_) => Some(finding.remedy("codex login")),
            _ => Some(finding),
        }
    }));
    findings
}

fn login(subject: &Examination, status: &LoginStatus) -> Vec<Finding> {
    let Some(document) = status.snapshot().document() else { return Vec::new() };
    if let Some(reason) = status.usability().reason() {
        return vec![failed(reason)];
    }
    let now = subject.clock.now();
    let mode = document.mode().map(|mode| mode.to_string()).unwrap_or_default();
    let expires = document.expires_at(now).map(|end| {
        let expires = if end > now { "expires" } else { "expired" };
        format!("{expires} {}", relative(end, now))
    });
    let mut findings = Vec::new();
    let refreshable = document.fingerprint().is_some();
    match status.check_refresh() {
        Err(error) if refreshable => {
            // The login works until its token expires.
            let found = if error.wants_login() { failed(&error) } else { failed(&error).into_warning() };
            findings.push(found);
        }
        _ => findings.push(Finding::ok(
            "login",
            match (expires, refreshable) {
                (Some(when), true) => {
                    format!("{mode}; the access token {when} and is refreshed when needed")
                }
                (Some(when), false) => format!("{mode}; the access token {when} and cannot be refreshed"),
                (None, _) => mode,
            },
        )),
    }
    let state = HomeState::read(&subject.home).map(|(state, _)| state).unwrap_or_default();
    let last = state.outcome.filter(|outcome| Some(outcome.fingerprint) == document.fingerprint());
    if let Some(outcome) =
        last.filter(|last| matches!(last.outcome, SpendOutcome::Transient | SpendOutcome::Unknown))
    {
        let when = relative(outcome.at, now);
        let message = format!("the last refresh, {when}, failed: {}", outcome.message);
        findings.push(Finding::warning("login", message).remedy("codex refresh"));
    }
    findings
}

/// A finding for why no token is available, now or after the current one expires.
fn failed(reason: &manager::Error) -> Finding {
    let finding = Finding::failed("login", &unusable(reason));
    match reason {
        manager::Error::Authority(_) => finding.or_remedy("see the checks of the authority below"),
        _ => finding,
    }
}

/// What the login uses the keychain for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeychainRole {
    /// Nothing: it is stored elsewhere.
    None,
    /// It is stored in the keychain, or will be.
    Holds,
}

impl KeychainRole {
    fn of(stores: &Stores, found: &FindReport) -> Self {
        match &found.stored {
            Some(stored) if stored.location.kind() != StoreKind::Keychain => Self::None,
            Some(_) => Self::Holds,
            None if stores.settings().config.store.selection() == Some(StoreSelection::Keychain) => {
                Self::Holds
            }
            None => Self::None,
        }
    }
}

/// Checks the keychain. A failure is a problem only if the login uses the keychain.
fn keychain(stores: &Stores, role: KeychainRole) -> Finding {
    let keychain = stores.keychain();
    match (keychain.check(stores.timeout()), role) {
        (Err(error), KeychainRole::None) => Finding::ok("keychain", unused_state(&error)),
        (Ok(()), KeychainRole::None) => Finding::ok("keychain", "unlocked; the login is not in it"),
        (Ok(()), KeychainRole::Holds) => {
            Finding::ok("keychain", format!("unlocked; the login is stored as {}", keychain.location()))
        }
        (Err(error), KeychainRole::Holds) => Finding::failed("keychain", &error.into()),
    }
}

/// The state of a keychain that the login does not use.
fn unused_state(error: &store::Error) -> &'static str {
    match error {
        store::Error::Keychain(KeychainError::Locked { .. }) => "locked; the login is not in it",
        store::Error::Keychain(KeychainError::NotSetUp { .. }) => "never set up; the login is not in it",
        store::Error::Keychain(KeychainError::Unavailable { .. }) => {
            "not reachable from this process; the login is not in it"
        }
        _ => "not responding; the login is not in it",
    }
}
