//! A report for an issue tracker: without e-mail addresses, account ids, names of hosts and accounts, and paths.

use serde_json::{Value, json};

use super::cause::Explanation;
use super::evidence::{Evidence, StoredLogin};
use crate::accounts::{AccountName, HomeRecord};
use crate::diagnosis::Diagnosis;
use crate::history::{HistoryEvent, Label};
use crate::manager;
use crate::store::{self, owner_of};

/// The most events in a report.
const MAX_EVENTS: usize = 200;
/// The authority that most logins use; any other is named `other`.
const DEFAULT_HOST: &str = "auth.openai.com";

/// Returns the report of an explanation as JSON: the version and the system, the causes, the events, and what `diagnosis`
/// found, in words of this library only.
#[must_use]
pub fn report(explanation: &Explanation, evidence: &Evidence, diagnosis: &Diagnosis) -> Value {
    let mut names = Names::default();
    let events = &evidence.events.records;
    let recent = events.iter().skip(events.len().saturating_sub(MAX_EVENTS));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "at": evidence.now,
        "condition": explanation.condition,
        "explained": explanation.explained,
        "certainty": explanation.certainty,
        "causes": explanation.causes,
        "stored": match &evidence.stored {
            StoredLogin::Nothing => json!("nothing"),
            StoredLogin::FleetEnded => json!("fleet_ended"),
            StoredLogin::Login { token, written, issued, .. } => {
                json!({"token": token, "written": written, "issued": issued})
            }
            StoredLogin::Unavailable { failure, .. } => json!({"unavailable": failure}),
        },
        "state": {
            "current": evidence.state.current,
            "spent": evidence.state.spent,
            "poison": evidence.state.poison.as_ref().map(|poison| json!({
                "token": poison.fingerprint, "cause": poison.cause, "at": poison.at,
            })),
            "logging_out": evidence.state.logging_out.is_some(),
            "received_at": evidence.state.received_at,
        },
        "rescue_pending": evidence.rescue_pending,
        "other_homes": evidence.others.iter().map(|other| json!({
            "token": other.token, "same_owner": other.owner.is_some() && other.owner == evidence.state.owner,
        })).collect::<Vec<_>>(),
        "diagnosis": diagnosed(diagnosis),
        "dropped": evidence.events.dropped,
        "skipped": evidence.events.skipped,
        "unreadable": evidence.events.unreadable.len(),
        "events": recent.map(|of| names.without_names(of)).collect::<Vec<_>>(),
    })
}

fn diagnosed(diagnosis: &Diagnosis) -> Value {
    let folders = diagnosis.folders.as_ref().ok();
    let login = diagnosis.login.as_ref().ok();
    let stored = login.and_then(|login| login.status.as_ref().ok()?.find_report().stored.as_ref());
    json!({
        "folders": folders.map(|folders| json!({
            "access": format!("{:?}", folders.access),
            "mounted_document": folders.mounted_document.is_some(),
            "foreign": folders.foreign.len(),
            "loose": folders.loose.len(),
            "held_locks": folders.held_locks.len(),
            "leftovers": folders.leftovers.len(),
        })),
        "store": stored.map(|stored| stored.location.kind().as_str()),
        "mode": stored.and_then(|stored| stored.document.mode().map(|mode| Label::of(mode.as_str()))),
        "identified": stored.is_some_and(|stored: &store::StoredDocument| owner_of(&stored.document).is_some()),
        "keychain": login.map(|login| json!({
            "role": format!("{:?}", login.keychain.role),
            "usable": login.keychain.state.is_ok(),
        })),
        "error": login.and_then(|login| login.status.as_ref().err().map(manager::Error::kind)),
    })
}

/// Names of accounts, replaced by numbers.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn number(&mut self, name: &str) -> String {
        let at = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        format!("account-{}", at + 1)
    }

    fn without_names(&mut self, of: &HomeRecord) -> Value {
        let mut record = of.record.clone();
        match &mut record.event {
            HistoryEvent::AccountSwitched { from, to } => {
                *to = Label::of(&self.number(to.as_str()));
                *from = from.as_ref().map(|from| Label::of(&self.number(from.as_str())));
            }
            HistoryEvent::Refreshed { host, .. }
            | HistoryEvent::NotRefreshed { host, .. }
            | HistoryEvent::Poisoned { host, .. }
                if host.as_str() != DEFAULT_HOST =>
            {
                *host = Label::of("other");
            }
            _ => {}
        }
        let mut value = json!(record);
        if let Some(name) = &of.account {
            value["account"] = self.number(AccountName::as_str(name)).into();
        }
        value
    }
}
