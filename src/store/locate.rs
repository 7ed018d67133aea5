//! From the environment to a place: the rules of `CODEX_HOME`, and where a linked document keeps its records.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, DirectoryState, Links, Stamp};

use super::Error;
use crate::config::{Environment, Home};
use crate::place::Place;

/// The place that the environment means, as Codex finds it (`codex-behaviour.md` 1.1).
///
/// # Errors
/// - [`Error::Home`]: `CODEX_HOME` is set to what is not a folder.
/// - [`Error::File`]: the folder cannot be looked at.
pub fn locate(environment: &Environment) -> Result<Place, Error> {
    match &environment.home {
        Home::Named(path) => match private_file::directory(path)? {
            DirectoryState::Missing => Err(Error::Home {
                path: path.clone(),
                problem: "does not exist; create the folder or unset CODEX_HOME",
            }),
            DirectoryState::NotADirectory => Err(Error::Home {
                path: path.clone(),
                problem: "is not a folder; correct or unset CODEX_HOME",
            }),
            _ => Ok(Place::new(private_file::canonical(path)?)),
        },
        // A home that is not there yet gets its canonical name when something is saved.
        Home::Default(path) => match private_file::directory(path)? {
            DirectoryState::Missing | DirectoryState::NotADirectory => Ok(Place::new(path.clone())),
            _ => Ok(Place::new(private_file::canonical(path)?)),
        },
    }
}

/// Whether `path` is another name of the folder of `place`.
#[must_use]
pub fn is_place(place: &Place, path: &Path) -> bool {
    let canonical = |path: &Path| private_file::canonical(path).unwrap_or_else(|_| path.to_owned());
    canonical(path) == canonical(place.home())
}

/// The files whose changes concern the login of `place`, in its own folder and in that of the document if it is a link.
/// They need not exist.
#[must_use]
pub fn watched(place: &Place) -> Vec<PathBuf> {
    let mut files = vec![place.document(), place.config(), place.state()];
    // A link that cannot be followed now is looked at again when something changes.
    if let Ok(target) = private_file::resolve(&place.document(), Links::Follow)
        && let Some(folder) = target.parent().filter(|_| target != place.document())
    {
        files.push(Place::new(folder).state());
        files.push(target);
    }
    files
}

/// How those files are now, in the same order: another stamp is another content. What cannot be looked at has none.
#[must_use]
pub fn stamps(place: &Place) -> Vec<Option<Stamp>> {
    watched(place).iter().map(|file| private_file::stamp(file, Links::Follow).ok().flatten()).collect()
}

/// Where the records of a place are: with its document. Two places that share one document by a link share them too.
pub(super) fn residence(place: &Place) -> Result<Place, Error> {
    let document = place.document();
    let target = private_file::resolve(&document, Links::Follow)?;
    match target.parent() {
        Some(folder) if target != document => Ok(Place::new(folder)),
        _ => Ok(place.clone()),
    }
}
