//! What the findings are about.

use codex_auth::accounts::AccountSet;
use codex_auth::diagnosis::{self, Diagnosis};
use codex_auth::{Clock, Environment, Home, store};
use serde_json::json;

use super::finding::Finding;
use crate::choice;
use crate::error::CommandError;
use crate::located;
use crate::output::{Output, path_text};

/// A home and its diagnosis.
pub(super) struct Examination {
    pub(super) environment: Environment,
    pub(super) home: Home,
    pub(super) clock: Clock,
    pub(super) diagnosis: Diagnosis,
    /// Why it is not known which account commands use, or what is lost.
    pub(super) unknown_account: Option<Finding>,
}

/// Finds accounts that are not listed any more.
fn unlisted(home: &Home) -> Option<Finding> {
    let set = AccountSet::around(home.clone()).ok()?;
    let count = set.unlisted().ok()?.len();
    let list = set.home().accounts_file();
    (count > 0).then(|| {
        let message = format!("{count} folders of accounts are not listed in {}", list.display());
        Finding::warning("accounts", message).remedy("codex account list")
    })
}

impl Examination {
    /// Finds the home, names it in the report, and examines it.
    pub(super) fn open(output: &mut Output) -> Result<Self, CommandError> {
        let mut environment = Environment::of_process()?;
        output.configure(&environment);
        let (home, unknown_account) = match located::locate(&mut environment, output) {
            Ok(chosen) => {
                let lost = unlisted(&chosen.home);
                (chosen.home, lost)
            }
            Err(error) if choice::is_named() => return Err(error),
            Err(error) => (store::locate(&environment)?, Some(Finding::failed("accounts", error))),
        };
        output.set_home(json!(path_text(home.path())));
        // The report is meant to be shared, so it does not name the account.
        output.head("account", json!(null));
        let clock = Clock::system();
        let diagnosis = diagnosis::diagnose(&home, &environment, &clock);
        Ok(Self { environment, home, clock, diagnosis, unknown_account })
    }

    /// Fixes what is safe to fix, and examines the home again.
    pub(super) fn fix(&mut self) -> Result<(), CommandError> {
        let outcome = diagnosis::fix(&self.home, &self.environment);
        self.diagnosis = diagnosis::diagnose(&self.home, &self.environment, &self.clock);
        Ok(outcome?)
    }
}
