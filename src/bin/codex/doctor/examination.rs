//! What the checks examine.

use codex_auth::store::{self, inspection};
use codex_auth::{Clock, Environment, Home, Lease, Stores};
use serde_json::json;

use crate::error::CommandError;
use crate::output::{Output, path_text};

/// A home, with the settings and stores that apply to it.
pub(super) struct Examination {
    pub(super) environment: Environment,
    pub(super) home: Home,
    pub(super) clock: Clock,
    pub(super) stores: Result<Stores, CommandError>,
}

impl Examination {
    /// Finds the home, and names it in the report.
    pub(super) fn open(output: &mut Output) -> Result<Self, CommandError> {
        let environment = Environment::of_process()?;
        output.configure(&environment);
        let home = store::locate(&environment)?;
        output.set_home(json!(path_text(home.path())));
        // The report is meant to be shared, so it does not name the account.
        output.head("account", json!(null));
        let stores = Stores::open(home.clone(), &environment).map_err(CommandError::from);
        Ok(Self { environment, home, clock: Clock::system(), stores })
    }

    /// Fixes what is safe to fix.
    pub(super) fn fix(&self) -> Result<(), CommandError> {
        let lease = Lease::acquire(&self.home, self.environment.lock_timeout, |_waiting| {})?;
        Ok(inspection::fix(&lease)?)
    }
}
