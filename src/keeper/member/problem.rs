//! Notes on the disk of a member why its keeper cannot take part, for commands that send no request.

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::history::FleetChange;
use crate::home::Home;

/// The maximum length of the file.
const MAX_BYTES: u64 = 16 * 1024;

/// Why the keeper of a member cannot take part in its fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FleetProblem {
    /// Since when.
    pub since: Timestamp,
    /// The reason.
    pub reason: String,
}

impl FleetProblem {
    /// Returns the problem that the keeper of `home` has noted; `None` if it takes part, or none runs that could.
    #[must_use]
    pub fn of(home: &Home) -> Option<Self> {
        let contents = private_file::read(&path(home), MAX_BYTES, Links::Refuse).ok()??;
        serde_json::from_slice(&contents.bytes).ok()
    }
}

fn path(home: &Home) -> std::path::PathBuf {
    home.fleet().join("problem.json")
}

/// Notes `reason`, or that there is no problem. Returns the event, if there is one for the history. Failures are ignored:
/// the note informs people only.
pub(super) fn note(home: &Home, reason: Option<&str>, clock: &Clock) -> Option<FleetChange> {
    let known = FleetProblem::of(home);
    let Some(reason) = reason else {
        if known.is_some() {
            let _ = private_file::remove(&path(home), Links::Refuse);
        }
        return known.map(|_| FleetChange::Reachable);
    };
    if known.as_ref().is_some_and(|known| known.reason == reason) {
        return None;
    }
    let event = known.is_none().then_some(FleetChange::Unreachable);
    let since = known.map_or_else(|| clock.now(), |known| known.since);
    let problem = FleetProblem { since, reason: reason.to_owned() };
    let bytes = serde_json::to_vec(&problem).unwrap_or_default();
    let (links, mounts) = (Links::Refuse, MountPolicy::Refuse);
    let _ = private_file::replace(&path(home), &bytes, links, mounts, FileMode::Private);
    event
}
