//! Locating the home by the rules of `CODEX_HOME`, and the files whose changes concern its login.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Links, Stamp};

use super::{DocumentTarget, Error};
use crate::config::{Environment, HomeSetting};
use crate::home::Home;

/// Returns the home that the environment names. As for Codex, a folder that `CODEX_HOME` names must exist; the default
/// home is created when something is saved.
///
/// # Errors
/// - [`Error::Home`]: `CODEX_HOME` does not name a folder.
/// - [`Error::File`]: the folder is not available, or cannot be examined.
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

/// Returns the symbolic links in the spelled path of `home`; changing one of them puts another folder there.
#[must_use]
pub fn links_to(home: &Home) -> Vec<PathBuf> {
    let above = home.spelled().ancestors().filter(|path| !path.as_os_str().is_empty());
    above.filter(|path| path.is_symlink()).map(Path::to_owned).collect()
}

/// Returns the stamps of the [`watched_files`], in the same order; a changed file has another stamp, and a file that
/// cannot be examined has none.
#[must_use]
pub fn watched_stamps(home: &Home) -> Vec<Option<Stamp>> {
    watched_files(home).iter().map(|file| private_file::stamp(file, Links::Follow).ok().flatten()).collect()
}
