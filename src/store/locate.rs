//! Locating the home, its document, and the files whose changes concern its login.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use codex_auth_platform::lock::{self, Holder};
use codex_auth_platform::private_file::{self, DirectoryState, FileMode, Links, MountPolicy, Stamp};
use jiff::Timestamp;

use super::content::DocumentLocation;
use super::error::Error;
use crate::config::{Environment, HomeSetting};
use crate::home::{Home, RecordPaths};

/// Names in `codex-auth` that cannot be the name of a document's folder.
const RESERVED_NAMES: &[&str] = &[
    "accounts.toml",
    "exports.json",
    "exports.lock",
    "history",
    "keeper",
    "keeper.lock",
    "link",
    "login",
    "refresh.lock",
    "runs",
    "rescue",
    "state.json",
];
const MAX_PATH_BYTES: u64 = 16 * 1024;

/// Returns the home that the environment names. As for Codex, a folder that `CODEX_HOME` names must exist; the default
/// home is created when something is saved.
///
/// # Errors
/// - [`Error::Home`]: `CODEX_HOME` does not name a folder.
/// - [`Error::UnknownHomeDirectory`]: `CODEX_HOME` is not set, and the user has no home directory.
/// - [`Error::NoHomeDirectory`]: `CODEX_HOME` is not set, and the home directory does not exist.
/// - [`Error::File`]: the folder is not available, or cannot be examined.
pub fn locate(environment: &Environment) -> Result<Home, Error> {
    let path = match &environment.home {
        HomeSetting::Default(path) => {
            return match Home::at(path) {
                Err(private_file::Error::NoParent { parent, .. }) => {
                    Err(Error::NoHomeDirectory { path: parent })
                }
                home => Ok(home?),
            };
        }
        HomeSetting::Named(path) => path,
        HomeSetting::Unknown => return Err(Error::UnknownHomeDirectory),
    };
    let problem = match Home::at(path) {
        Ok(home) if home.is_found() => return Ok(home),
        Ok(_) | Err(private_file::Error::NoParent { .. }) => {
            "does not exist; create the folder or unset CODEX_HOME"
        }
        Err(private_file::Error::NotADirectory { .. }) => "is not a folder; correct or unset CODEX_HOME",
        Err(error) => return Err(error.into()),
    };
    Err(Error::Home { path: path.clone(), problem })
}

/// Returns whether `path` leads to the folder of `home`.
#[must_use]
pub fn is_home(home: &Home, path: &Path) -> bool {
    Home::at(path).is_ok_and(|other| other == *home)
}

/// Returns the files whose changes concern the login of `home`, in its own folder and in the folder of a linked
/// document. They need not exist.
#[must_use]
pub fn watched_files(home: &Home) -> Vec<PathBuf> {
    let mut files = vec![home.document(), home.config()];
    // A link that cannot be followed now is followed again after the next change.
    match DocumentTarget::of(home) {
        Ok(target) => {
            files.push(target.records().state());
            if target.document() != home.document() {
                files.push(target.document());
            }
        }
        Err(_) => {
            files.push(home.own_records().state());
            files.extend(private_file::resolve(&home.document(), Links::Follow));
        }
    }
    files
}

/// Returns the symbolic links that lead to the folder of `home`, its document and its configuration; changing one of them
/// puts another folder or file there.
#[must_use]
pub fn links_to(home: &Home) -> Vec<PathBuf> {
    let paths = [home.spelled().to_owned(), home.document(), home.config()];
    paths.iter().flat_map(|path| private_file::links_on_the_way(path)).collect()
}

/// Returns the stamps of the [`watched_files`], in the same order; a changed file has another stamp, and a file that
/// cannot be examined has none.
#[must_use]
pub fn watched_stamps(home: &Home) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| private_file::stamp(file, Links::Follow).ok().flatten();
    // A document that is no link is looked up once.
    if let Ok(Some(document)) = private_file::stamp(&home.document(), Links::Refuse) {
        return vec![Some(document), stamp(&home.config()), stamp(&home.own_records().state())];
    }
    watched_files(home).iter().map(stamp).collect()
}

/// Returns when the login at `location` was written last, if it is in a file.
#[must_use]
pub fn written_at(location: &DocumentLocation) -> Option<Timestamp> {
    let DocumentLocation::File(path) = location else { return None };
    let (seconds, nanoseconds) = private_file::stamp(path, Links::Follow).ok()??.modified();
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

/// Returns the process that holds Codex's `auth.lock` in `home`, by the list of the kernel. Acquires no lock.
#[must_use]
pub fn commit_lock_holder(home: &Home) -> Option<Holder> {
    lock::listed_holder(&home.first_commit_lock())
}

/// The location of a home's document: its own `auth.json`, or the file that this links to.
///
/// Two homes that link to one document have the same target, and so the same lock, state and rescue.
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
    /// - [`Error::LinkEmptied`]: a login was stored in its target before, and nothing of it is left there.
    /// - [`Error::ReservedName`]: its target has the name of one of our own files.
    pub fn of(home: &Home) -> Result<Self, Error> {
        let link = home.document();
        let real = private_file::resolve(&link, Links::Follow)?;
        if real == link {
            return Ok(Self::own(home));
        }
        let dangling = || private_file::Error::DanglingLink { link: link.clone(), target: real.clone() };
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(private_file::Error::NotAFile { path: real }.into());
        };
        let folder = Home::at(parent).ok().filter(Home::is_found).ok_or_else(dangling)?;
        private_file::check_link_target(&link, folder.path())?;
        if is_reserved(name) {
            return Err(Error::ReservedName { link, target: real });
        }
        let target = Self { folder, name: name.to_owned() };
        if private_file::stamp(&target.document(), Links::Refuse)?.is_none()
            && target.was_written_through(home)
        {
            return Err(Error::LinkEmptied { link, target: target.document() });
        }
        Ok(target)
    }

    /// Returns the file `auth.json` of `home` itself, whatever it links to.
    pub(super) fn own(home: &Home) -> Self {
        let name = home.document().file_name().unwrap_or_default().to_owned();
        Self { folder: home.clone(), name }
    }

    /// Returns whether the link `auth.json` of `home` leads to no folder, or where nothing is left.
    #[must_use]
    pub fn is_broken(home: &Home) -> bool {
        matches!(
            Self::of(home),
            Err(Error::File(private_file::Error::DanglingLink { .. }) | Error::LinkEmptied { .. })
        )
    }

    /// Returns the document's file, which is not a link.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Returns the folder of the document.
    #[must_use]
    pub fn folder(&self) -> &Home {
        &self.folder
    }

    /// Returns the paths of the document's state and rescue.
    #[must_use]
    pub fn records(&self) -> RecordPaths {
        self.folder.records(&self.name)
    }

    /// Returns the second of Codex's commit locks, beside the document.
    #[must_use]
    pub fn commit_lock(&self) -> PathBuf {
        let mut name = self.name.clone();
        name.push(".lock");
        self.folder.path().join(name)
    }

    /// Records in `home` where its link leads, to detect [`Error::LinkEmptied`] later.
    pub(super) fn record_link(&self, home: &Home) -> Result<(), Error> {
        let (path, bytes) = (home.link_note(), self.document().into_os_string().into_encoded_bytes());
        if self.recorded_link(home).as_deref() != Some(bytes.as_slice()) {
            private_file::replace(&path, &bytes, Links::Refuse, MountPolicy::Refuse, FileMode::Private)?;
        }
        Ok(())
    }

    /// Checks whether [`Self::record_link`] could succeed now.
    pub(super) fn check_record_link(&self, home: &Home) -> Result<(), Error> {
        let is_recorded =
            self.recorded_link(home).as_deref() == Some(self.document().as_os_str().as_encoded_bytes());
        if is_recorded || private_file::directory_state(&home.folder())? == DirectoryState::Missing {
            return Ok(());
        }
        Ok(private_file::check_can_replace(&home.link_note(), Links::Refuse)?)
    }

    /// Returns whether a login was written through the link of `home` before, but the `codex-auth` folder beside the
    /// document is gone. Every writer creates that folder and none removes it, so the volume is not mounted.
    fn was_written_through(&self, home: &Home) -> bool {
        let document = self.document();
        self.recorded_link(home).is_some_and(|noted| noted == document.as_os_str().as_encoded_bytes())
            && matches!(private_file::directory_state(&self.folder.folder()), Ok(DirectoryState::Missing))
    }

    fn recorded_link(&self, home: &Home) -> Option<Vec<u8>> {
        let read = private_file::read(&home.link_note(), MAX_PATH_BYTES, Links::Refuse);
        read.ok().flatten().map(|contents| contents.bytes.to_vec())
    }
}

/// Returns whether one of our files, or a rescue that was set aside, has this name.
fn is_reserved(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    RESERVED_NAMES.contains(&name.as_str()) || name.starts_with("rescue.")
}
