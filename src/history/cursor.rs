//! Follows a history: returns the events that were recorded since the last call.

use std::path::Path;

use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::private_file::{self, Links};

use super::file::{History, HistoryContent, SEGMENT_BYTES};
use super::record::HistoryRecord;

/// How often a history that is rotated meanwhile is read again.
const MAX_READS: usize = 4;

/// A position in a history.
#[derive(Debug)]
pub struct HistoryCursor {
    history: History,
    /// The file that was current at the last call, and how many bytes of it were read.
    position: Option<(FileId, usize)>,
}

impl HistoryCursor {
    /// Returns a cursor that stands after the events of `history` that are recorded now.
    #[must_use]
    pub fn at_end(history: History) -> Self {
        let mut cursor = Self::at_start(history);
        let _ = cursor.new_records();
        cursor
    }

    /// Returns a cursor that stands before the events of the current file.
    #[must_use]
    pub fn at_start(history: History) -> Self {
        Self { history, position: None }
    }

    /// Returns the history.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the events that were recorded since the last call, or since the cursor was made. Waits for nothing; a
    /// file that cannot be read has no events. Two rotations between two calls lose those of the file between.
    pub fn new_records(&mut self) -> Vec<HistoryRecord> {
        let (current, older) = (self.history.current_file(), self.history.older_file());
        for _ in 0..MAX_READS {
            let mut content = HistoryContent::default();
            let now = filesystem::identity(&current);
            let from = match self.position {
                Some((id, offset)) if Some(id) == now => offset,
                Some((id, offset)) => {
                    if filesystem::identity(&older) == Some(id) {
                        let _ = read_from(&older, offset, &mut content);
                    }
                    0
                }
                None => 0,
            };
            let end = read_from(&current, from, &mut content);
            // If the file was renamed meanwhile, other files were read than those that were compared.
            if filesystem::identity(&current) == now {
                if let Some(id) = now {
                    self.position = Some((id, end));
                }
                return content.records;
            }
        }
        Vec::new()
    }
}

/// Adds the events after `offset`, and returns where the last whole line ends.
fn read_from(path: &Path, offset: usize, content: &mut HistoryContent) -> usize {
    let Ok(Some(contents)) = private_file::read(path, SEGMENT_BYTES * 2, Links::Refuse) else {
        return offset;
    };
    let Some(new) = contents.bytes.get(offset..) else { return contents.bytes.len() };
    let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    content.parse(&new[..whole]);
    offset + whole
}
