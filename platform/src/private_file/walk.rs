//! Opens files and folders as root without following a link of another user into a folder of a third one.
//!
//! Any process of the user who owns a folder can replace a name in it by a symbolic link at any moment. So root opens
//! each folder of a path from the one before, and a link in another user's folder, or of another user, must lead to a
//! folder of that user.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::folder::SAFE_OPEN;
use super::paths::MAX_LINKS;
use crate::filesystem::parent_folder;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// A link of another user that leads into a folder of a third one.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "as root, the symbolic link {link} of user {uid} is not followed to {target}, which belongs to user {owner}; \
     run as user {uid}, or change the owner"
)]
pub struct UnsafeLink {
    link: PathBuf,
    uid: u32,
    target: PathBuf,
    owner: u32,
}

/// The first link on the way that another user can replace, and that user.
#[derive(Debug, Clone)]
pub(super) struct UserLink {
    link: PathBuf,
    uid: u32,
}

impl UserLink {
    /// Returns the link `link` of `owner`, in a folder of `folder_owner`, if we are root and another user controls it.
    pub(super) fn of(link: &Path, owner: u32, folder_owner: u32) -> Option<Self> {
        let uid = if folder_owner == 0 { owner } else { folder_owner };
        (uid != 0 && rustix::process::geteuid().is_root()).then(|| Self { link: link.to_owned(), uid })
    }

    /// Fails unless what the link leads to belongs to the same user.
    pub(super) fn check_target(&self, target: &Path, owner: u32) -> Result<(), UnsafeLink> {
        if owner == self.uid {
            return Ok(());
        }
        Err(UnsafeLink { link: self.link.clone(), uid: self.uid, target: target.to_owned(), owner })
    }
}

/// Checks, as root, that `folder`, which the link `link` led to, belongs to the owner of the link's own folder, unless
/// that is root. The path of `folder` contains no links.
///
/// # Errors
/// [`Error::UnsafeLink`]; [`Error::Unreadable`]; [`Error::Io`].
pub fn check_link_target(link: &Path, folder: &Path) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner_of = |path: &Path| {
        let found = open_folder(path).and_then(|folder| File::from(folder).metadata());
        found.map(|found| found.uid()).map_err(|error| Error::from_read("open", path, error))
    };
    let around = owner_of(parent_folder(link))?;
    match UserLink::of(link, around, around) {
        Some(user_link) => Ok(user_link.check_target(folder, owner_of(folder)?)?),
        None => Ok(()),
    }
}

/// Opens the folder `path` for reading; links are followed, as root only safe ones.
pub(super) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | FOLDER;
    if !rustix::process::geteuid().is_root() {
        return Ok(rustix::fs::open(path, flags, Mode::empty())?);
    }
    match imp::open_without_links(path, flags, Mode::empty()) {
        Some(outcome) => Ok(outcome?),
        None => walk(path),
    }
}

/// Opens a file with [`SAFE_OPEN`] flags; links among the folders above it are followed, as root only safe ones.
pub(crate) fn open_file(path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    let flags = flags | SAFE_OPEN;
    if !rustix::process::geteuid().is_root() {
        return Ok(rustix::fs::open(path, flags, mode)?.into());
    }
    if let Some(outcome) = imp::open_without_links(path, flags, mode) {
        return Ok(outcome?.into());
    }
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    Ok(rustix::fs::openat(open_folder(parent_folder(path))?, name, flags, mode)?.into())
}

/// Opens each folder of `path` from the one before it, and checks where links of other users lead.
fn walk(path: &Path) -> io::Result<OwnedFd> {
    let step = imp::STEP | FOLDER | OFlags::NOFOLLOW;
    let mut here = rustix::fs::open(".", imp::STEP | FOLDER, Mode::empty())?;
    let mut way = PathBuf::new();
    let mut left = names(path);
    let mut user_link: Option<UserLink> = None;
    let mut links = 0;
    while let Some(name) = left.pop() {
        match rustix::fs::openat(&here, &name, step, Mode::empty()) {
            Ok(folder) => {
                here = folder;
                way.push(&name);
                continue;
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error.into()),
        }
        if user_link.is_none() {
            let owner = rustix::fs::statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
            user_link = UserLink::of(&way.join(&name), owner, rustix::fs::fstat(&here)?.st_uid);
        }
        if imp::is_magic(&here) {
            here = rustix::fs::openat(&here, &name, imp::STEP | FOLDER, Mode::empty())?;
            way.push(&name);
            continue;
        }
        let target = match rustix::fs::readlinkat(&here, &name, Vec::new()) {
            Ok(target) => PathBuf::from(OsString::from_vec(target.into_bytes())),
            Err(Errno::INVAL) => return Err(Errno::NOTDIR.into()),
            Err(error) => return Err(error.into()),
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        left.extend(names(&target));
    }
    let folder = rustix::fs::openat(&here, ".", OFlags::RDONLY | FOLDER, Mode::empty())?;
    if let Some(user_link) = user_link {
        user_link.check_target(&way, rustix::fs::fstat(&folder)?.st_uid).map_err(io::Error::other)?;
    }
    Ok(folder)
}

/// Returns the names of `path`, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| part.as_os_str().to_owned();
    path.components().map(name).collect::<Vec<_>>().into_iter().rev().collect()
}

#[cfg(target_os = "linux")]
mod imp {
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;

    /// Needs no permission to read the folders on the way.
    pub(super) const STEP: OFlags = OFlags::PATH;

    /// Returns whether links in `folder` lead elsewhere than their text says: those in `/proc`, to the folders of a process.
    pub(super) fn is_magic(folder: &OwnedFd) -> bool {
        const PROC_SUPER_MAGIC: i128 = 0x9fa0;
        rustix::fs::fstatfs(folder).is_ok_and(|found| i128::from(found.f_type) == PROC_SUPER_MAGIC)
    }

    /// Opens `path` if it has no links; `None` if it has some, or the system cannot tell: Linux before 5.6, and
    /// containers whose system call filter forbids the call.
    pub(super) fn open_without_links(
        path: &Path,
        flags: OFlags,
        mode: Mode,
    ) -> Option<rustix::io::Result<OwnedFd>> {
        // The call refuses a mode that it would not use.
        let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
        match rustix::fs::openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP | Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::INVAL) => None,
            outcome => Some(outcome),
        }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use rustix::fs::{Mode, OFlags};

    pub(super) const STEP: OFlags = OFlags::RDONLY;

    pub(super) fn is_magic(_: &OwnedFd) -> bool {
        false
    }

    pub(super) fn open_without_links(_: &Path, _: OFlags, _: Mode) -> Option<rustix::io::Result<OwnedFd>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_path_is_walked_like_the_system_walks_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::write(root.join("a/file"), "").unwrap();
        symlink("b/../b", root.join("a/relative")).unwrap();
        symlink(root.join("a"), root.join("absolute")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        for path in [
            "a",
            "a/b/c",
            "a/./b/../b",
            "a/relative/c",
            "absolute/relative/c",
            "absolute/../a",
            "missing",
            "a/file",
            "a/file/x",
            "circle",
            "absolute/missing",
        ] {
            let path = root.join(path);
            let id = |file: File| file.metadata().map(|found| (found.dev(), found.ino())).unwrap();
            let expected = rustix::fs::open(&path, OFlags::RDONLY | FOLDER, Mode::empty());
            let expected = expected.map(|folder| id(folder.into())).map_err(io::Error::from);
            let walked = walk(&path).map(|folder| id(folder.into()));
            let comparable = |outcome: io::Result<_>| outcome.map_err(|error| error.raw_os_error());
            assert_eq!(comparable(walked), comparable(expected), "{path:?}");
        }
    }

    #[test]
    fn a_link_in_the_folder_of_another_user_must_lead_to_that_users_folder() {
        let uid = 65_534;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["theirs", "theirs/real", "roots", "roots/inner"] {
            std::fs::create_dir(at(name)).unwrap();
            if name.starts_with("theirs") {
                chown(at(name), Some(uid), Some(uid)).expect("the tests run as root");
            }
        }
        std::fs::create_dir(at("roots/given")).unwrap();
        chown(at("roots/given"), Some(uid), Some(uid)).unwrap();
        symlink("real", at("theirs/own")).unwrap();
        symlink(at("roots"), at("theirs/evil")).unwrap();
        symlink("theirs/evil", at("roots_link")).unwrap();
        for (path, is_safe) in [
            ("theirs/own", true),
            ("theirs/evil", false),
            ("theirs/evil/inner", false),
            ("theirs/evil/given", true),
            ("roots_link", false),
            ("roots", true),
        ] {
            let outcome = open_folder(&at(path));
            assert_eq!(outcome.is_ok(), is_safe, "{path}: {outcome:?}");
        }
    }
}
