//! What the findings are about.

use codex_auth::diagnosis::{self, Diagnosis};
use codex_auth::{Clock, Environment, Home, store};
use serde_json::json;

use super::finding::Finding;
use crate::choice;
use crate::error::CommandError;
use crate::output::{Output, path_text};

/// A home and its diagnosis.
pub(super) struct Examination {
    pub(super) environment: Environment,
    pub(super) home: Home,
    pub(super) clock: Clock,
    pub(super) diagnosis: Diagnosis,
    /// Why it is not known which account commands use.
    pub(super) unknown_account: Option<Finding>,
}

impl Examination {
    /// Finds the home, names it in the report, and examines it.
    pub(super) fn open(output: &mut Output) -> Result<Self, CommandError> {
        let mut environment = Environment::of_process()?;
        output.configure(&environment);
        let (home, unknown_account) = match choice::locate(&mut environment) {
            Ok(chosen) => (chosen.home, None),
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
