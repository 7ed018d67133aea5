//! One line of a history: an event with its time and the process that recorded it.

use std::path::Path;
use std::sync::OnceLock;

use codex_auth_platform::process;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::HistoryEvent;
use super::label::{Label, ProcessLabel};

/// The version of a line; it rises when a field changes its meaning or is removed.
const VERSION: u32 = 1;

/// An event, when it was recorded, and by which process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryRecord {
    /// The version of the format.
    #[serde(rename = "v")]
    pub version: u32,
    /// When it was recorded, by the clock of the machine.
    pub at: Timestamp,
    /// The process id, as seen in its own container.
    pub pid: u32,
    /// The name of the program.
    pub program: Label,
    /// The effective user id of the process.
    pub uid: u32,
    /// How many events this process could not record before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: HistoryEvent,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference to the field")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl HistoryRecord {
    /// Returns the record of an event of this process.
    pub(super) fn of_this_process(event: HistoryEvent, at: Timestamp, dropped: u64) -> Self {
        let (pid, uid) = (std::process::id(), process::effective_uid());
        Self { version: VERSION, at, pid, program: this_program().clone(), uid, dropped, event }
    }

    /// Returns the line, with its line feed.
    pub(super) fn line(&self) -> Vec<u8> {
        // Encoding numbers, words and times cannot fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Returns the process that recorded it.
    #[must_use]
    pub fn process(&self) -> ProcessLabel {
        ProcessLabel { pid: self.pid, program: self.program.clone() }
    }
}

fn this_program() -> &'static Label {
    static PROGRAM: OnceLock<Label> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = std::env::current_exe().ok();
        let name =
            program.as_deref().and_then(Path::file_name).map(|name| Label::of(&name.to_string_lossy()));
        name.unwrap_or_else(|| Label::of("codex-auth"))
    })
}
