//! Findings about the login: its store and why that one, whether a token is available, and the keychain.

use codex_auth::config::StoreSetting;
use codex_auth::diagnosis::{
    ConfigCondition, KeychainDiagnosis, KeychainRole, LoginCondition, LoginDiagnosis,
};
use codex_auth::manager::{self, LoginStatus};
use codex_auth::store::{self, FindReport, KeychainError, StorageNote};

use super::examination::Examination;
use super::finding::Finding;
use crate::context::location_text;
use crate::fleet::removed_login;
use crate::output::relative;
use crate::status::unusable;

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    let login = match &subject.diagnosis.login {
        Ok(login) => login,
        Err(error) => return vec![Finding::failed("config", error.clone()).or_remedy("correct that file")],
    };
    let mut findings = vec![config(subject, login.config)];
    match &login.status {
        Ok(status) => {
            findings.extend(store(subject, status.find_report()));
            findings.extend(login.condition.as_ref().map(|condition| usable(subject, status, condition)));
            findings.extend(failed_refresh(subject, login));
        }
        // It is the keychain's.
        Err(manager::Error::Store(error)) if matches!(**error, store::Error::Keychain(_)) => {}
        Err(error) => findings.push(Finding::failed("store", error.clone())),
    }
    findings.push(keychain(&login.keychain));
    findings
}

fn config(subject: &Examination, condition: ConfigCondition) -> Finding {
    let path = subject.home.config();
    let path = path.display();
    let ok = match condition {
        ConfigCondition::LegacyToken => {
            let message =
                format!("{path} contains auth_token, a key of an old version that is no longer read");
            return Finding::warning("config", message).remedy("remove the line auth_token from that file");
        }
        ConfigCondition::Encrypted => {
            let by = match subject.environment.overrides.set_encryption() {
                true => "the command line".to_owned(),
                false => path.to_string(),
            };
            let message = format!(
                "{by} says features.secret_auth_storage = true: Codex encrypts its login, which codex-auth cannot read"
            );
            return Finding::warning("config", message).remedy("codex login --store file");
        }
        ConfigCondition::Store(StoreSetting::Selected(selection)) => {
            format!("cli_auth_credentials_store = \"{}\"", selection.codex_name())
        }
        ConfigCondition::Store(StoreSetting::Ephemeral) => {
            "cli_auth_credentials_store = \"ephemeral\": Codex keeps its login in memory".to_owned()
        }
        _ => "config.toml does not set cli_auth_credentials_store".to_owned(),
    };
    Finding::ok("config", ok)
}

fn store(subject: &Examination, found: &FindReport) -> Vec<Finding> {
    let mut findings = vec![match &found.stored {
        Some(stored) => {
            Finding::ok("store", format!("{} ({})", location_text(&stored.location), found.reason))
        }
        None => {
            let removed = removed_login(&subject.home, None);
            let remedy = removed.map_or("codex login", |_| "codex fleet resume");
            Finding::warning("store", "not logged in").remedy(remedy)
        }
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

fn usable(subject: &Examination, status: &LoginStatus, condition: &LoginCondition) -> Finding {
    let Some(document) = status.snapshot().document() else { return Finding::ok("login", "none") };
    match condition {
        LoginCondition::Unusable(reason) => return failed(reason),
        LoginCondition::NotRefreshable(error) if error.wants_login() => return failed(error),
        // The login works until its token expires.
        LoginCondition::NotRefreshable(error) => return failed(error).into_warning(),
        _ => {}
    }
    let now = subject.clock.now();
    let mode = document.mode().map(|mode| mode.to_string()).unwrap_or_default();
    let expires = document.expires_at(now).map(|end| {
        format!("; the access token {} {}", if end > now { "expires" } else { "expired" }, relative(end, now))
    });
    let message = match (document.is_handed_in(), expires) {
        (true, expires) if status.snapshot().is_refreshable() => {
            format!("{mode}{}; its fleet refreshes it", expires.unwrap_or_default())
        }
        (true, expires) => {
            let expires = expires.unwrap_or_default();
            format!("{mode}; this login is handed in by a keeper elsewhere, which refreshes it{expires}")
        }
        (false, Some(expires)) if document.fingerprint().is_some() => {
            format!("{mode}{expires} and is refreshed when needed")
        }
        (false, Some(expires)) => format!("{mode}{expires} and cannot be refreshed"),
        (false, None) => mode,
    };
    Finding::ok("login", message)
}

fn failed_refresh(subject: &Examination, login: &LoginDiagnosis) -> Option<Finding> {
    let is_usable =
        matches!(login.condition, Some(LoginCondition::Usable | LoginCondition::NotRefreshable(_)));
    let last = login.failed_refresh.as_ref().filter(|_| is_usable)?;
    let message =
        format!("the last refresh, {}, failed: {}", relative(last.at, subject.clock.now()), last.message);
    Some(Finding::warning("login", message).remedy("codex refresh"))
}

/// A finding for why no token is available, now or after the current one expires.
fn failed(reason: &manager::Error) -> Finding {
    let finding = Finding::failed("login", unusable(reason));
    match reason {
        manager::Error::Authority(_) => finding.or_remedy("see the checks of the authority below"),
        _ => finding,
    }
}

/// A keychain that cannot be used is a problem only if the login uses it.
fn keychain(keychain: &KeychainDiagnosis) -> Finding {
    match (&keychain.state, keychain.role) {
        (Ok(()), KeychainRole::Holds) => {
            Finding::ok("keychain", format!("unlocked; the login is stored as {}", keychain.location))
        }
        (Err(error), KeychainRole::Holds) => Finding::failed("keychain", error.clone()),
        (Ok(()), _) => Finding::ok("keychain", "unlocked; the login is not in it"),
        (Err(error), _) => Finding::ok("keychain", unused_state(error)),
    }
}

/// The state of a keychain that the login does not use.
fn unused_state(error: &manager::Error) -> &'static str {
    let keychain = match error {
        manager::Error::Store(error) => match &**error {
            store::Error::Keychain(error) => Some(error),
            _ => None,
        },
        _ => None,
    };
    match keychain {
        Some(KeychainError::Locked { .. }) => "locked; the login is not in it",
        Some(KeychainError::NotSetUp { .. }) => "never set up; the login is not in it",
        Some(KeychainError::Unavailable { .. }) => "not reachable from this process; the login is not in it",
        _ => "not responding; the login is not in it",
    }
}
