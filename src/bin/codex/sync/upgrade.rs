//! Notices that the program was replaced on disk, so that no keeper runs an old version for months.

use std::path::PathBuf;
use std::time::Duration;

use codex_auth::Environment;
use codex_auth_platform::search_path::ProgramId;
use codex_auth_platform::service;
use tokio::time::{Instant, Interval, interval_at};

use crate::hand_over;

/// How often the path of the program is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The path that this keeper was started by, and the file that was there.
pub(super) struct UpgradeCheck {
    /// None where the path is not known, and where the keeper has said that it was replaced.
    path: Option<PathBuf>,
    image: Option<ProgramId>,
    /// By a service manager, when it ends with a code other than 0.
    is_restarted: bool,
    looks: Interval,
}

impl UpgradeCheck {
    pub(super) fn watch(environment: &Environment) -> Self {
        let path = hand_over::own_path(environment);
        let image = path.as_deref().and_then(ProgramId::of);
        let service = &environment.service;
        let variable =
            |name: &str| service.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let is_restarted = service::restarts_this_process(variable);
        Self { path, image, is_restarted, looks: interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY) }
    }

    /// Waits until the keeper should end: another program is at its path, and the service manager will start that one.
    pub(super) async fn ends_this_keeper(&mut self) {
        while self.path.is_some() {
            self.looks.tick().await;
            if self.is_due() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Looks now. Without a service manager the keeper goes on, and says once that it is an old version.
    pub(super) fn is_due(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        // While no file is there, the service manager could start none.
        if ProgramId::of(path).is_none_or(|found| Some(found) == self.image) {
            return false;
        }
        if self.is_restarted {
            tracing::info!("{} was replaced; ending, so that the service manager starts it", path.display());
            return true;
        }
        tracing::warn!(
            "{} was replaced and this keeper still runs the old version; restart it: codex sync run",
            path.display()
        );
        self.path = None;
        false
    }
}
