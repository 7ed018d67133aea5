//! The machine: versions, and the other programs that use this login.

use std::env::consts;

use codex_auth_platform::process::Running;

use super::Subject;
use super::finding::Finding;
use crate::session::other_programs;

/// What this is and what it runs on.
pub(super) fn version() -> Finding {
    Finding::ok(
        "version",
        format!("codex-auth {} on {} {}", env!("CARGO_PKG_VERSION"), consts::OS, consts::ARCH),
    )
}

pub(super) fn findings(subject: &Subject) -> Vec<Finding> {
    vec![programs(&other_programs(&subject.place, &subject.environment))]
}

fn programs(running: &[Running]) -> Finding {
    if running.is_empty() {
        return Finding::ok("programs", "no other codex runs on this login");
    }
    let each = running.iter().map(|other| format!("{} (pid {})", other.executable.display(), other.pid));
    Finding::ok("programs", format!("running on this login: {}", each.collect::<Vec<_>>().join(", ")))
}
