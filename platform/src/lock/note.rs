//! The note that a holder leaves in the lock file, for people.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::claim;
use crate::private_file::CAREFUL;

/// More than any note is long, in bytes.
const NOTE_LIMIT: u64 = 512;

/// Who holds a lock, by their own word.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id, in its own container.
    pub pid: u32,
    /// What it calls itself; no control characters.
    pub program: String,
}

/// The holder of the lock at `path`, by its own note. `None` if the lock is free, also where a process that was killed left
/// its note, and if another program holds it that signs nothing. Acquires no lock, so no other process notices.
pub fn holder(path: &Path) -> Option<Holder> {
    let file = open(path)?;
    // In this order: a note is written before it is claimed.
    claim::is_made(&file).then(|| read(&file))?
}

/// The note of a process that was killed, in a lock file that is free.
pub(super) fn left(path: &Path) -> Option<Holder> {
    read(&open(path)?)
}

fn open(path: &Path) -> Option<File> {
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | CAREFUL, Mode::empty()).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

fn read(file: &File) -> Option<Holder> {
    let mut note = Vec::new();
    file.take(NOTE_LIMIT).read_to_end(&mut note).ok()?;
    let note = String::from_utf8_lossy(&note);
    let (line, _) = note.split_once('\n')?;
    let (pid, program) = line.split_once(' ')?;
    Some(Holder { pid: pid.parse().ok()?, program: printable(program) })
}

/// Writes into `file`, whose lock this process holds, that `program` does, and claims that.
pub(super) fn write(file: &File, program: &str) -> io::Result<()> {
    let note = format!("{} {}\n", std::process::id(), printable(program));
    // Written before the rest is cut off, so that its first line is whole at all times.
    file.write_all_at(note.as_bytes(), 0)?;
    file.set_len(note.len() as u64)?;
    // A note that is not claimed names no holder.
    claim::make(file)
}

/// Takes the note out again.
pub(super) fn clear(file: &File) {
    let _ = file.set_len(0);
    claim::give_up(file);
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)
    }
}

/// The holder as an error names it.
pub(super) struct Named<'a>(pub(super) Option<&'a Holder>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => holder.fmt(f),
            None => f.write_str("another process"),
        }
    }
}

/// The first line of it, in 64 characters that do nothing to a terminal.
fn printable(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(64).collect()
}
