//! Detects that the program file was replaced, so that a keeper does not run an old version for months.

use std::path::PathBuf;
use std::time::Duration;

use codex_auth::Environment;
use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::service;
use tokio::time::{Instant, Interval, interval_at};

use crate::hand_over;

/// Interval between checks of the program file.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The path of this program, and the file that it named when the keeper started.
pub(super) struct UpgradeCheck {
    /// `None` if the path is not known, or after the warning that the file was replaced.
    path: Option<PathBuf>,
    image: Option<FileId>,
    /// Whether a service manager restarts this process when it exits with a code other than 0.
    is_restarted: bool,
    interval: Interval,
}

impl UpgradeCheck {
    pub(super) fn watch(environment: &Environment) -> Self {
        let path = hand_over::own_path(environment);
        let image = path.as_deref().and_then(filesystem::identity);
        let service = &environment.service_variables;
        let variable =
            |name: &str| service.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let is_restarted = service::restarts_this_process(variable);
        Self {
            path,
            image,
            is_restarted,
            interval: interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL),
        }
    }

    /// Waits until the file is replaced and the keeper should exit, so that the service manager starts the new version.
    pub(super) async fn wait(&mut self) {
        while self.path.is_some() {
            self.interval.tick().await;
            if self.is_due() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Whether the keeper should exit now. Without a service manager it continues, and logs one warning.
    pub(super) fn is_due(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        // While the file is missing, the service manager could not start it.
        if filesystem::identity(path).is_none_or(|found| Some(found) == self.image) {
            return false;
        }
        if self.is_restarted {
            tracing::info!(
                "{} was replaced; exiting so that the service manager starts the new version",
                path.display()
            );
            return true;
        }
        tracing::warn!(
            "{} was replaced, but this keeper still runs the old version; restart it: codex sync run",
            path.display()
        );
        self.path = None;
        false
    }
}
