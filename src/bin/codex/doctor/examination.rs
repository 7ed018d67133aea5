//! What the findings are about.

use codex_auth::diagnosis::{self, Diagnosis};
use codex_auth::{Clock, Environment, Home};
use serde_json::json;

use crate::choice;
use crate::error::CommandError;
use crate::output::{Output, path_text};

/// A home and its diagnosis.
pub(super) struct Examination {
    pub(super) environment: Environment,
    pub(super) home: Home,
    pub(super) clock: Clock,
    pub(super) diagnosis: Diagnosis,
}

impl Examination {
    /// Finds the home, names it in the report, and examines it.
    pub(super) fn open(output: &mut Output) -> Result<Self, CommandError> {
        let mut environment = Environment::of_process()?;
        output.configure(&environment);
        let home = choice::locate(&mut environment)?.home;
        output.set_home(json!(path_text(home.path())));
        // The report is meant to be shared, so it does not name the account.
        output.head("account", json!(null));
        let clock = Clock::system();
        let diagnosis = diagnosis::diagnose(&home, &environment, &clock);
        Ok(Self { environment, home, clock, diagnosis })
    }

    /// Fixes what is safe to fix, and examines the home again.
    pub(super) fn fix(&mut self) -> Result<(), CommandError> {
        let outcome = diagnosis::fix(&self.home, &self.environment);
        self.diagnosis = diagnosis::diagnose(&self.home, &self.environment, &self.clock);
        Ok(outcome?)
    }
}
