//! Writes the document of an export as the login demands it: replaced, removed, or left as it is.

use codex_auth_platform::private_file;
use jiff::Timestamp;

use super::export::Export;
use crate::document::AuthDocument;
use crate::manager::{Divergence, Snapshot};

/// Whether a document is written that holds the same login already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WritePolicy {
    /// Only if it differs.
    IfDifferent,
    /// Also if it is the same: the users of the export may have changed.
    Always,
}

/// What an export hands in.
enum ExportContent {
    Login(Box<AuthDocument>),
    Nothing,
    /// The store cannot be read, which is not a logout.
    Unknown,
}

/// Replaces or removes the document of `export`, so that it shows the login in `snapshot`.
pub(super) fn publish(
    export: &Export,
    snapshot: &Snapshot,
    now: Timestamp,
    policy: WritePolicy,
) -> Result<(), private_file::Error> {
    match content(export, snapshot, now) {
        ExportContent::Unknown => Ok(()),
        ExportContent::Nothing => export.withdraw().map(drop),
        ExportContent::Login(login) if policy == WritePolicy::IfDifferent && export.holds(&login) => Ok(()),
        ExportContent::Login(login) => export.write(&login),
    }
}

fn content(export: &Export, snapshot: &Snapshot, now: Timestamp) -> ExportContent {
    if let Some(Divergence::Unreadable(_)) = snapshot.divergence() {
        return ExportContent::Unknown;
    }
    // After an interrupted logout there is a document, but no token of it is served.
    let login = snapshot.document().filter(|login| export.is_of(login) && snapshot.bearer().is_some());
    match login.and_then(|login| login.exported(now)) {
        Some(exported) => ExportContent::Login(Box::new(exported)),
        None => ExportContent::Nothing,
    }
}
