//! Symbolic links: reading one, putting one in the place of a file, and removing a folder without following any.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::changes::Removal;
use super::error::Error;
use super::folder::OpenFolder;

/// How long [`remove_tree`] tries while another process writes into the folder, and the pause between two tries.
const WRITERS_TIME: Duration = Duration::from_secs(1);
const WRITERS_PAUSE: Duration = Duration::from_millis(10);

/// Returns where the link at `path` leads, as it is written there; `None` if nothing or something else is at `path`.
///
/// # Errors
/// [`Error::Unreadable`]; [`Error::Io`].
pub fn read_link(path: &Path) -> Result<Option<PathBuf>, Error> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(None),
            _ => Err(Error::from_read("read", path, error)),
        },
    }
}

/// Puts a link to `target` at `path`, atomically and durably, in the place of the file or link that is there. `target`
/// is written as it is; a relative one starts at the folder of `path`.
///
/// Two processes must not do this for one path at the same time. A killed one leaves a link `.{name}.link`, which the
/// next call removes.
///
/// # Errors
/// [`Error::MountPoint`]; [`Error::ReadOnly`]; [`Error::ForeignOwner`]; [`Error::Io`], and nothing is changed then.
/// [`Error::Unsynced`] if the link is there and its durability is in doubt.
pub fn replace_with_link(path: &Path, target: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| match Errno::from_io_error(&error) {
        Some(Errno::BUSY | Errno::XDEV) => Error::MountPoint { path: path.to_owned() },
        _ => Error::from_write("replace", path, 0, error),
    };
    let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
    let temporary = temporary_name(name);
    remove_entry(&folder, &temporary).map_err(failed)?;
    rustix::fs::symlinkat(target, &folder, &temporary).map_err(|error| failed(error.into()))?;
    let placed = give_link_to_owner(&folder, &temporary)
        .map_err(|(uid, source)| Error::ForeignOwner { path: path.to_owned(), uid, source: Some(source) })
        .and_then(|()| folder.rename(&temporary, name).map_err(failed));
    if let Err(error) = placed {
        // If this fails too, the next call removes it.
        let _ = folder.unlink(&temporary);
        return Err(error);
    }
    folder.sync().map_err(|source| Error::Unsynced { path: path.to_owned(), source })
}

/// Creates a link to `target` at `path` if nothing is there. `target` is written as it is, and need not exist.
///
/// # Errors
/// [`Error::ReadOnly`]; [`Error::ForeignOwner`]; [`Error::Io`].
pub fn create_link(path: &Path, target: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::from_write("create the link", path, 0, error);
    let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
    match rustix::fs::symlinkat(target, &folder, name) {
        Ok(()) => give_link_to_owner(&folder, name).map_err(|(uid, source)| Error::ForeignOwner {
            path: path.to_owned(),
            uid,
            source: Some(source),
        }),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}

/// Removes the link at `path`, durably. Where it leads stays.
///
/// # Errors
/// [`Error::NotAFile`] if something else is there, and nothing is removed; [`Error::ReadOnly`]; [`Error::Unsynced`];
/// [`Error::Io`].
pub fn remove_link(path: &Path) -> Result<Removal, Error> {
    let failed = |error| Error::from_write("remove", path, 0, error);
    let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
    match folder.entry(name).map_err(failed)? {
        None => return Ok(Removal::Absent),
        Some(entry) if entry.kind != FileType::Symlink => {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        Some(_) => folder.unlink(name).map_err(failed)?,
    }
    folder.sync().map_err(|source| Error::Unsynced { path: path.to_owned(), source })?;
    Ok(Removal::Removed)
}

/// Removes the folder `path` with everything in it. Links are removed and never followed. What another process writes into
/// it meanwhile is removed too, for a second.
///
/// # Errors
/// [`Error::NotADirectory`]; [`Error::ReadOnly`]; [`Error::Io`]: part of it may be left.
pub fn remove_tree(path: &Path) -> Result<Removal, Error> {
    let failed = |error| Error::from_write("remove", path, 0, error);
    let (folder, name) = match OpenFolder::parent_of(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        opened => opened.map_err(failed)?,
    };
    let mut removal = Removal::Absent;
    let begun = Instant::now();
    loop {
        match folder.entry(name).map_err(failed)? {
            None if removal == Removal::Absent => return Ok(removal),
            None => break,
            Some(entry) if entry.kind != FileType::Directory => {
                return Err(Error::NotADirectory { path: path.to_owned() });
            }
            Some(_) => removal = Removal::Removed,
        }
        let emptied = empty(&folder, name);
        match emptied.and_then(|()| Ok(rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?)) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound)
                    && begun.elapsed() < WRITERS_TIME =>
            {
                thread::sleep(WRITERS_PAUSE);
            }
            outcome => outcome.map_err(failed)?,
        }
    }
    folder.sync().map_err(|source| Error::Unsynced { path: path.to_owned(), source })?;
    Ok(removal)
}

/// Removes everything in the folder `name` of `folder`.
fn empty(folder: &OpenFolder, name: &OsStr) -> io::Result<()> {
    let inner = folder.open_entry(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let inner = OpenFolder::from_file(inner)?;
    for name in inner.names()? {
        match inner.entry(&name)? {
            Some(entry) if entry.kind == FileType::Directory => {
                empty(&inner, &name)?;
                rustix::fs::unlinkat(&inner, &name, AtFlags::REMOVEDIR)?;
            }
            Some(_) => remove_entry(&inner, &name)?,
            None => {}
        }
    }
    Ok(())
}

fn remove_entry(folder: &OpenFolder, name: &OsStr) -> io::Result<()> {
    match folder.unlink(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// As root in another user's folder, gives the link to that user.
fn give_link_to_owner(folder: &OpenFolder, name: &OsStr) -> Result<(), (u32, io::Error)> {
    let Some((uid, gid)) = folder.foreign_owner() else { return Ok(()) };
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| (uid, error.into()))
}

fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".link");
    temporary
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_or_link_is_replaced_by_a_link_and_a_leftover_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read_link(&path).unwrap(), None);
        create_link(&folder.path().join("new"), Path::new("first")).unwrap();
        create_link(&folder.path().join("new"), Path::new("second")).unwrap();
        assert_eq!(read_link(&folder.path().join("new")).unwrap(), Some(PathBuf::from("first")));
        fs::remove_file(folder.path().join("new")).unwrap();
        fs::write(&path, "old").unwrap();
        assert_eq!(read_link(&path).unwrap(), None);
        symlink("of a killed process", folder.path().join(".file.link")).unwrap();
        for target in ["folder/one", "folder/two"] {
            replace_with_link(&path, Path::new(target)).unwrap();
            assert_eq!(read_link(&path).unwrap(), Some(PathBuf::from(target)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(remove_link(&path).unwrap(), Removal::Removed);
        assert_eq!(remove_link(&path).unwrap(), Removal::Absent);
        fs::write(&path, "a file").unwrap();
        assert!(matches!(remove_link(&path), Err(Error::NotAFile { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(replace_with_link(&path, Path::new("folder/one")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_removed_and_what_its_links_lead_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, kept) = (folder.path().join("tree"), folder.path().join("kept"));
        fs::create_dir_all(tree.join("inner/deep")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "kept").unwrap();
        fs::write(tree.join("inner/file"), "gone").unwrap();
        symlink(&kept, tree.join("inner/link")).unwrap();
        symlink("../kept/file", tree.join("link")).unwrap();
        let writer = tree.clone();
        let writer = thread::spawn(move || {
            for number in 0..100 {
                // The folder may be gone.
                let _ = fs::write(writer.join(format!("inner/{number}")), "");
            }
        });
        assert_eq!(remove_tree(&tree).unwrap(), Removal::Removed);
        writer.join().unwrap();
        assert_eq!(remove_tree(&tree).unwrap(), Removal::Absent);
        assert_eq!(remove_tree(&tree.join("deeper/still")).unwrap(), Removal::Absent);
        assert_eq!(fs::read(kept.join("file")).unwrap(), b"kept");
        assert!(matches!(remove_tree(&kept.join("file")), Err(Error::NotADirectory { .. })));
        symlink(&kept, &tree).unwrap();
        assert!(matches!(remove_tree(&tree), Err(Error::NotADirectory { .. })));
    }
}
