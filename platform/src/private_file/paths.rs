//! Resolves the links of a file's path, and finds the canonical path of a folder.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::walk::UserLink;
use crate::filesystem::parent_folder;

/// Maximum number of links in a row, as on Linux.
pub(super) const MAX_LINKS: usize = 40;

/// What to do if the path names a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Links {
    /// Use the file that it leads to, even if that does not exist yet; the link stays. Each link on the way must
    /// belong to root, to this user, or to the owner of its folder. As root, a link in another user's folder must lead
    /// to a file of that user, in a folder of that user.
    Follow,
    /// Fail with [`Error::Link`].
    Refuse,
}

/// The path of a folder, with symbolic links, `.` and `..` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a folder is there or it is not")]
pub enum FolderLocation {
    /// The folder exists.
    Existing(PathBuf),
    /// The folder does not exist, but its parent does.
    Missing(PathBuf),
}

/// Returns the path that a write would replace: `path` itself, or with [`Links::Follow`] the path it leads to,
/// whether or not that exists.
///
/// A relative link starts at its folder. The result is absolute only if `path` or the last link is, and is not
/// [`canonical`].
///
/// # Errors
/// [`Error::Link`] if links are refused; [`Error::ForeignLink`]; [`Error::UnsafeLink`]; [`Error::LinkLoop`] after 40;
/// [`Error::Unreadable`] and [`Error::Io`].
pub fn resolve(path: &Path, links: Links) -> Result<PathBuf, Error> {
    let mut here = path.to_owned();
    let mut user_link = None;
    for _ in 0..=MAX_LINKS {
        let found = match std::fs::symlink_metadata(&here) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return check_owners(here, None, user_link);
            }
            Err(error) => return Err(Error::from_read("read the metadata of", &here, error)),
        };
        if !found.is_symlink() {
            return check_owners(here, Some(found.uid()), user_link);
        }
        if links == Links::Refuse {
            return Err(Error::Link { path: here });
        }
        let folder = parent_folder(&here);
        let neighbour = std::fs::metadata(folder)
            .map_err(|error| Error::from_read("read the metadata of", folder, error))?
            .uid();
        if ![0, rustix::process::geteuid().as_raw(), neighbour].contains(&found.uid()) {
            return Err(Error::ForeignLink { path: here, uid: found.uid() });
        }
        user_link = user_link.or_else(|| UserLink::of(&here, found.uid(), neighbour));
        let target = std::fs::read_link(&here).map_err(|error| Error::from_read("read", &here, error))?;
        here = folder.join(target);
    }
    Err(Error::LinkLoop { path: path.to_owned() })
}

/// Returns `target`, whose owner is `owner` if it exists. If a link of another user led there, checks that the file and
/// its folder belong to that user.
fn check_owners(target: PathBuf, owner: Option<u32>, user_link: Option<UserLink>) -> Result<PathBuf, Error> {
    if let Some(user_link) = user_link {
        let folder = parent_folder(&target);
        if let Ok(found) = std::fs::metadata(folder) {
            user_link.check_target(folder, found.uid())?;
        }
        owner.map_or(Ok(()), |owner| user_link.check_target(&target, owner))?;
    }
    Ok(target)
}

/// Returns the links that `path` leads through, among its folders too and each with the links on its own way, in the order
/// in which they are followed. Changing one of them puts another file there.
#[must_use]
pub fn links_on_the_way(path: &Path) -> Vec<PathBuf> {
    let parts = |path: &Path| {
        let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_owned()).collect();
        parts.into_iter().rev()
    };
    let mut links = Vec::new();
    let mut left: Vec<_> = parts(path).collect();
    let mut way = PathBuf::new();
    while let Some(part) = left.pop() {
        if part == ".." {
            way.pop();
            continue;
        }
        way.push(part);
        if links.len() < MAX_LINKS
            && let Ok(target) = std::fs::read_link(&way)
        {
            left.extend(parts(&target));
            links.push(way.clone());
            way.pop();
        }
    }
    links
}

/// Returns the absolute path of an existing file or folder, with symbolic links, `.` and `..` resolved.
///
/// # Errors
/// [`Error::Unreadable`] and [`Error::Io`], of kind `NotFound` if there is nothing.
pub fn canonical(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|error| Error::from_read("find", path, error))
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
    fn every_link_on_the_way_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a", root.join("one")).unwrap();
        symlink("../../one/b/last", root.join("a/b/middle")).unwrap();
        symlink(root.join("missing"), root.join("a/b/last")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        let expected = ["one", "a/b/middle", "one", "a/b/last"].map(|name| root.join(name));
        assert_eq!(links_on_the_way(&root.join("one/b/middle")), expected);
        assert_eq!(links_on_the_way(&root.join("circle")).len(), MAX_LINKS);
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
