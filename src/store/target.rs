//! The file that holds the document of a home, with links followed, and the files that describe it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use codex_auth_platform::private_file::{self, DirectoryState, Links, MountPolicy};

use super::Error;
use crate::home::{Home, RecordPaths};

/// Names in `codex-auth` that no document's folder may take.
const RESERVED: &[&str] = &[
    "accounts.toml",
    "history",
    "keeper",
    "keeper.lock",
    "link",
    "login",
    "refresh.lock",
    "rescue",
    "state.json",
];
const LONGEST_PATH: u64 = 16 * 1024;

/// Where the document of a home is: the home's own `auth.json`, or what that links to.
///
/// Two homes that link to one document have the same target, and with it the same lock, state and rescue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentTarget {
    folder: Home,
    name: OsString,
}

impl DocumentTarget {
    /// Follows `auth.json` of `home`. The document itself need not exist.
    ///
    /// # Errors
    /// - [`Error::File`]: the link cannot be followed, or leads into a folder that does not exist.
    /// - [`Error::LinkEmptied`]: it leads to where a login was, and the folder holds nothing of it any more.
    /// - [`Error::ReservedName`]: the file it leads to has a name that our own files have.
    pub fn of(home: &Home) -> Result<Self, Error> {
        let link = home.document();
        let real = private_file::resolve(&link, Links::Follow)?;
        if real == link {
            let name = real.file_name().unwrap_or_default().to_owned();
            return Ok(Self { folder: home.clone(), name });
        }
        let dangling = || private_file::Error::DanglingLink { link: link.clone(), target: real.clone() };
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(private_file::Error::NotAFile { path: real }.into());
        };
        let folder = Home::at(parent).ok().filter(Home::is_found).ok_or_else(dangling)?;
        if is_reserved(name) {
            return Err(Error::ReservedName { link, target: real });
        }
        let target = Self { folder, name: name.to_owned() };
        if private_file::stamp(&target.document(), Links::Refuse)?.is_none() && target.was_used_by(home) {
            return Err(Error::LinkEmptied { link, target: target.document() });
        }
        Ok(target)
    }

    /// The document's file. It is no link.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// The folder it is in.
    #[must_use]
    pub fn folder(&self) -> &Home {
        &self.folder
    }

    /// Where its state and rescue are.
    #[must_use]
    pub fn records(&self) -> RecordPaths {
        self.folder.records(&self.name)
    }

    /// The second of Codex's commit locks, beside the document.
    #[must_use]
    pub fn commit_lock(&self) -> PathBuf {
        let mut name = self.name.clone();
        name.push(".lock");
        self.folder.path().join(name)
    }

    /// Remembers in `home` where its link leads, for [`Error::LinkEmptied`].
    pub(super) fn note_in(&self, home: &Home) -> Result<(), Error> {
        let (path, bytes) = (home.link_note(), self.document().into_os_string().into_encoded_bytes());
        if self.noted(home).as_deref() != Some(bytes.as_slice()) {
            private_file::replace(&path, &bytes, Links::Refuse, MountPolicy::Refuse)?;
        }
        Ok(())
    }

    /// Whether [`Self::note_in`] could succeed now.
    pub(super) fn check_note_in(&self, home: &Home) -> Result<(), Error> {
        let is_noted = self.noted(home).as_deref() == Some(self.document().as_os_str().as_encoded_bytes());
        if is_noted || private_file::directory(&home.folder())? == DirectoryState::Missing {
            return Ok(());
        }
        Ok(private_file::may_replace(&home.link_note(), Links::Refuse)?)
    }

    /// Whether a login was written through the link of `home` before, and our folder beside the document, which every
    /// writer makes and none removes, is gone: another file system is there, or none.
    fn was_used_by(&self, home: &Home) -> bool {
        let document = self.document();
        self.noted(home).is_some_and(|noted| noted == document.as_os_str().as_encoded_bytes())
            && matches!(private_file::directory(&self.folder.folder()), Ok(DirectoryState::Missing))
    }

    fn noted(&self, home: &Home) -> Option<Vec<u8>> {
        let read = private_file::read(&home.link_note(), LONGEST_PATH, Links::Refuse);
        read.ok().flatten().map(|contents| contents.bytes.to_vec())
    }
}

/// Whether files of ours have this name, or one that was set aside may have it.
fn is_reserved(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    RESERVED.contains(&name.as_str()) || name.starts_with("rescue.")
}
