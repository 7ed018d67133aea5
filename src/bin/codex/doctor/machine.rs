//! The machine: versions, the next codex on the search path, and the other programs that use this login.

use std::env::consts;

use codex_auth_platform::process::Running;

use super::Subject;
use super::finding::Finding;
use crate::hand_over;
use crate::session::other_programs;

/// What this is and what it runs on.
pub(super) fn version() -> Finding {
    Finding::ok(
        "version",
        format!("codex-auth {} on {} {}", env!("CARGO_PKG_VERSION"), consts::OS, consts::ARCH),
    )
}

pub(super) fn findings(subject: &Subject) -> Vec<Finding> {
    vec![next(), programs(&other_programs(&subject.place, &subject.environment))]
}

/// The program that everything else goes to.
fn next() -> Finding {
    match hand_over::next_version() {
        None => Finding::ok("next codex", "none on PATH"),
        Some((path, Some(version))) => Finding::ok("next codex", format!("{version} ({})", path.display())),
        Some((path, None)) => {
            let message = format!("{} does not tell its version", path.display());
            Finding::warning("next codex", message).remedy(format!("{} --version", path.display()))
        }
    }
}

fn programs(running: &[Running]) -> Finding {
    if running.is_empty() {
        return Finding::ok("programs", "no other codex runs on this login");
    }
    let each = running.iter().map(|other| format!("{} (pid {})", other.executable.display(), other.pid));
    Finding::ok("programs", format!("running on this login: {}", each.collect::<Vec<_>>().join(", ")))
}
