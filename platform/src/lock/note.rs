//! The note in a lock file that names its holder, for people.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::note_marker;
use crate::private_file::open_file;
use crate::text::printable;

/// The maximum length of a note, in bytes.
const NOTE_LIMIT: u64 = 512;

/// The process that holds a lock, by its own note or by the kernel's list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id, in its own container.
    pub pid: u32,
    /// The name it gave itself, without control characters.
    pub program: String,
    /// Its user id, if the kernel says that it belongs to another user.
    pub user: Option<u32>,
}

/// Returns the holder of the lock at `path`, by its note. `None` if the lock is free, even if a killed process left
/// its note, and if the holder writes no notes. Acquires no lock, so no other process notices.
pub fn holder(path: &Path) -> Option<Holder> {
    let file = open(path)?;
    // In this order: a note is written before it is marked.
    note_marker::is_set(&file).then(|| read(&file))?
}

/// Returns the note of a killed process, in a lock file that is free.
pub(super) fn stale_note(path: &Path) -> Option<Holder> {
    read(&open(path)?)
}

fn open(path: &Path) -> Option<File> {
    let file = open_file(path, OFlags::RDONLY, Mode::empty()).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

fn read(file: &File) -> Option<Holder> {
    let mut note = Vec::new();
    file.take(NOTE_LIMIT).read_to_end(&mut note).ok()?;
    let note = String::from_utf8_lossy(&note);
    let (line, _) = note.split_once('\n')?;
    let (pid, program) = line.split_once(' ')?;
    Some(Holder { pid: pid.parse().ok()?, program: first_line(program), user: None })
}

/// Writes a note for `program` into `file`, whose lock this process holds, and marks it.
pub(super) fn write(file: &File, program: &str) -> io::Result<()> {
    let note = format!("{} {}\n", std::process::id(), first_line(program));
    // Written before the rest is cut off, so that the first line is complete at all times.
    file.write_all_at(note.as_bytes(), 0)?;
    file.set_len(note.len() as u64)?;
    // An unmarked note names no holder.
    note_marker::set(file)
}

/// Removes the note.
pub(super) fn clear(file: &File) {
    let _ = file.set_len(0);
    note_marker::remove(file);
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)?;
        self.user.map_or(Ok(()), |user| write!(f, " of user {user}"))
    }
}

/// The holder, as an error names it.
pub(super) struct HolderName<'a>(pub(super) Option<&'a Holder>);

impl fmt::Display for HolderName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => holder.fmt(f),
            None => f.write_str("another process"),
        }
    }
}

/// Returns the first line of `text`, in at most 64 printable characters.
fn first_line(text: &str) -> String {
    printable(text.lines().next().unwrap_or_default(), 64)
}
