//! Finds the canonical path of a folder that exists or can be created.

use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use super::folder::parent_folder;

/// The path of a folder without links, `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a folder is there or it is not")]
pub enum FolderLocation {
    /// The folder exists.
    Existing(PathBuf),
    /// The folder does not exist, but its parent does.
    Missing(PathBuf),
}

/// Finds the folder at `path`. Creates nothing.
///
/// # Errors
/// - [`Error::DanglingLink`]: a link on the way, or the last component, leads nowhere.
/// - [`Error::NoParent`]: the folder above it does not exist.
/// - [`Error::NotADirectory`]; [`Error::Unreadable`]; [`Error::Io`].
pub fn locate_folder(path: &Path) -> Result<FolderLocation, Error> {
    let not_a_directory = || Error::NotADirectory { path: path.to_owned() };
    match std::fs::canonicalize(path) {
        Ok(found) if found.is_dir() => return Ok(FolderLocation::Existing(found)),
        Ok(_) => return Err(not_a_directory()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(not_a_directory()),
        Err(error) => return Err(Error::from_read("find", path, error)),
    }
    if let Some((link, target)) = dangling_link(path) {
        return Err(Error::DanglingLink { link, target });
    }
    let around = parent_folder(path);
    let around = match std::fs::canonicalize(around) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return Err(not_a_directory()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoParent { path: path.to_owned(), parent: around.to_owned() });
        }
        Err(error) => return Err(Error::from_read("find", around, error)),
    };
    path.file_name().map(|name| FolderLocation::Missing(around.join(name))).ok_or_else(not_a_directory)
}

/// Returns the first link on the way to `path` that leads nowhere, and its target.
fn dangling_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut way = PathBuf::new();
    for part in path.components() {
        way.push(part);
        let is_link = std::fs::symlink_metadata(&way).is_ok_and(|found| found.is_symlink());
        if is_link && std::fs::metadata(&way).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let target = std::fs::read_link(&way).unwrap_or_default();
            return Some((way, target));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_named_and_nothing_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink(root.join("volume/folder"), root.join("home")).unwrap();
        for spelled in ["home", "home/deeper", "home/deeper/still"] {
            let error = locate_folder(&root.join(spelled)).unwrap_err();
            assert!(
                matches!(&error, Error::DanglingLink { link, .. } if *link == root.join("home")),
                "{error}"
            );
        }
        assert!(matches!(locate_folder(&root.join("a/b")), Err(Error::NoParent { .. })));
        std::fs::write(root.join("file"), "").unwrap();
        for spelled in ["file", "file/below"] {
            let error = locate_folder(&root.join(spelled));
            assert!(matches!(error, Err(Error::NotADirectory { .. })), "{spelled}");
        }
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 2);
    }

    #[test]
    fn a_missing_folder_has_the_real_path_of_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        symlink(root.join("real"), root.join("alias")).unwrap();
        let missing = locate_folder(&root.join("alias/new")).unwrap();
        assert_eq!(missing, FolderLocation::Missing(root.join("real/new")));
    }
}
