//! From the environment to a home: the rules of `CODEX_HOME`, and where a linked document keeps its records.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, DirectoryState, Links, Stamp};

use super::Error;
use crate::config::{Environment, HomeSetting};
use crate::home::Home;

/// The place that the environment means, as Codex finds it (`codex-behaviour.md` 1.1).
///
/// # Errors
/// - [`Error::Home`]: `CODEX_HOME` is set to what is not a folder.
/// - [`Error::File`]: the folder cannot be looked at.
pub fn locate(environment: &Environment) -> Result<Home, Error> {
    match &environment.home {
        HomeSetting::Named(path) => match private_file::directory(path)? {
            DirectoryState::Missing => Err(Error::Home {
                path: path.clone(),
                problem: "does not exist; create the folder or unset CODEX_HOME",
            }),
            DirectoryState::NotADirectory => Err(Error::Home {
                path: path.clone(),
                problem: "is not a folder; correct or unset CODEX_HOME",
            }),
            _ => Ok(Home::new(private_file::canonical(path)?)),
        },
        // A home that is not there yet gets its canonical name when something is saved.
        HomeSetting::Default(path) => match private_file::directory(path)? {
            DirectoryState::Missing | DirectoryState::NotADirectory => Ok(Home::new(path.clone())),
            _ => Ok(Home::new(private_file::canonical(path)?)),
        },
    }
}

/// Whether `path` is another name of the folder of `home`.
#[must_use]
pub fn is_home(home: &Home, path: &Path) -> bool {
    let canonical = |path: &Path| private_file::canonical(path).unwrap_or_else(|_| path.to_owned());
    canonical(path) == canonical(home.path())
}

/// The files whose changes concern the login of `home`, in its own folder and in that of the document if it is a link.
/// They need not exist.
#[must_use]
pub fn watched(home: &Home) -> Vec<PathBuf> {
    let mut files = vec![home.document(), home.config(), home.state()];
    // A link that cannot be followed now is looked at again when something changes.
    if let Ok(target) = private_file::resolve(&home.document(), Links::Follow)
        && let Some(folder) = target.parent().filter(|_| target != home.document())
    {
        files.push(Home::new(folder).state());
        files.push(target);
    }
    files
}

/// How those files are now, in the same order: another stamp is another content. What cannot be looked at has none.
#[must_use]
pub fn stamps(home: &Home) -> Vec<Option<Stamp>> {
    watched(home).iter().map(|file| private_file::stamp(file, Links::Follow).ok().flatten()).collect()
}

/// Where the records of a home are: with its document. Two places that share one document by a link share them too.
pub(super) fn residence(home: &Home) -> Result<Home, Error> {
    let document = home.document();
    let target = private_file::resolve(&document, Links::Follow)?;
    match target.parent() {
        Some(folder) if target != document => Ok(Home::new(folder)),
        _ => Ok(home.clone()),
    }
}
