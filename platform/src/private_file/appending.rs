//! Appends lines to a private file, and starts a new file when it is full.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::Error;
use super::folder::{OpenFolder, bits};

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Appends `line`, which ends in a line feed, to the file at `path`, mode 0600: whole or not at all. Creates the file,
/// but not its folder. A file that would become larger than `limit` is renamed to `older` first, and replaces the file
/// of that name.
///
/// Nothing is synced: a line may be lost when the machine stops, but not when the process ends. After a line that a
/// killed writer left incomplete, `line` begins a new one. Callers exclude each other by a lock.
///
/// # Errors
/// [`Error::NoSpace`], and the file is as before; [`Error::ReadOnly`]; [`Error::ForeignOwner`] as root, for a file that
/// does not belong to the owner of the folder; [`Error::NotAFile`]; [`Error::Link`]; [`Error::Io`], of kind `NotFound`
/// without the folder.
pub fn append_line(path: &Path, line: &[u8], limit: u64, older: &OsStr) -> Result<(), Error> {
    let added = line.len() as u64;
    let failed = |error| Error::from_write("append to", path, added, error);
    let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
    let (mut file, mut size) = open(&folder, name, path)?;
    if size > 0 && size + added > limit {
        folder.rename(name, older).map_err(failed)?;
        (file, size) = open(&folder, name, path)?;
    }
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1).map_err(failed)?;
    }
    let torn = (last != [b'\n']).then_some(b'\n');
    let bytes: Vec<u8> = torn.into_iter().chain(line.iter().copied()).collect();
    let outcome = match file.write(&bytes) {
        Ok(written) if written == bytes.len() => return Ok(()),
        Ok(_) => rustix::io::Errno::NOSPC.into(),
        Err(error) => error,
    };
    // Part of a line may have been written; the next writer would begin a new line all the same.
    let _ = file.set_len(size);
    Err(failed(outcome))
}

/// Opens or creates the file, and returns its size.
fn open(folder: &OpenFolder, name: &OsStr, path: &Path) -> Result<(File, u64), Error> {
    let failed = |error| Error::from_write("append to", path, 0, error);
    let flags = OFlags::RDWR | OFlags::APPEND;
    let file = match folder.open_entry(name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = folder.open_entry(name, flags | OFlags::CREATE | OFlags::EXCL, PRIVATE);
            let made = made.map_err(failed)?;
            folder.give_to_owner(&made).map_err(failed)?;
            made
        }
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    // A user may put a hard link to one of root's files into a folder of their own.
    if folder.foreign_owner().is_some_and(|(uid, _)| found.uid() != uid) {
        return Err(Error::ForeignOwner { path: path.to_owned(), uid: found.uid(), source: None });
    }
    if found.mode() & 0o7777 != bits(PRIVATE) {
        // A file system without modes refuses; how it was mounted decides who can read.
        let _ = rustix::fs::fchmod(&file, PRIVATE);
    }
    Ok((file, found.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_becomes_the_older_one_and_a_torn_line_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (read, older) =
            (|name: &str| std::fs::read_to_string(folder.path().join(name)), OsStr::new("old"));
        append_line(&path, b"one\n", 8, older).unwrap();
        append_line(&path, b"two\n", 8, older).unwrap();
        append_line(&path, b"three\n", 8, older).unwrap();
        assert_eq!((read("old").unwrap().as_str(), read("log").unwrap().as_str()), ("one\ntwo\n", "three\n"));
        std::fs::write(&path, "to").unwrap();
        append_line(&path, b"next\n", 80, older).unwrap();
        assert_eq!(read("log").unwrap(), "to\nnext\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_and_a_missing_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, older) = (folder.path().join("log"), OsStr::new("old"));
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(append_line(&path, b"one\n", 8, older), Err(Error::Link { .. })));
        let missing = folder.path().join("missing/log");
        let Err(Error::Io { source, .. }) = append_line(&missing, b"one\n", 8, older) else { panic!() };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }
}
