//! From the environment to a home: the rules of `CODEX_HOME`, and the files whose changes concern a login.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Links, Stamp};

use super::{DocumentTarget, Error};
use crate::config::{Environment, HomeSetting};
use crate::home::Home;

/// The home that the environment means. As for Codex, a folder that `CODEX_HOME` names must exist; the default one is
/// created when something is saved.
///
/// # Errors
/// - [`Error::Home`]: `CODEX_HOME` is set to what is not a folder.
/// - [`Error::File`]: the folder is not available, or cannot be looked at.
pub fn locate(environment: &Environment) -> Result<Home, Error> {
    let path = match &environment.home {
        HomeSetting::Default(path) => return Ok(Home::at(path)?),
        HomeSetting::Named(path) => path,
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

/// Whether `path` is another name of the folder of `home`.
#[must_use]
pub fn is_home(home: &Home, path: &Path) -> bool {
    Home::at(path).is_ok_and(|other| other == *home)
}

/// The files whose changes concern the login of `home`, in its own folder and in that of the document if it is a link.
/// They need not exist.
#[must_use]
pub fn watched(home: &Home) -> Vec<PathBuf> {
    let mut files = vec![home.document(), home.config()];
    // A link that cannot be followed now is looked at again when something changes.
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

/// The links on the way to `home` as its path was spelled: another folder may be put there by changing one of them.
#[must_use]
pub fn links_to(home: &Home) -> Vec<PathBuf> {
    let above = home.spelled().ancestors().filter(|path| !path.as_os_str().is_empty());
    above.filter(|path| path.is_symlink()).map(Path::to_owned).collect()
}

/// How those files are now, in the same order: another stamp is another content. What cannot be looked at has none.
#[must_use]
pub fn stamps(home: &Home) -> Vec<Option<Stamp>> {
    watched(home).iter().map(|file| private_file::stamp(file, Links::Follow).ok().flatten()).collect()
}
