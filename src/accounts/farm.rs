//! The folder of an account as a home of its own: what it shares with the home around it is linked.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, DirectoryState};

use super::error::Error;
use super::file::{Account, AccountPlace};
use super::set::AccountSet;

/// Folders that all accounts share. They are created in the home around them, so that a program never creates its own.
const SHARED_FOLDERS: [&str; 5] =
    ["mcp-oauth-locks", "packages", "sessions", "skills", "thread-writer-locks"];
/// Files that all accounts share. A program that creates one creates it in the home around them.
const SHARED_FILES: [&str; 3] = ["config.toml", ".credentials.json", "installation_id"];
/// The databases of Codex, besides those that are in the home around: a link made beforehand is what it creates them
/// through. Their journals are created beside the databases.
const DATABASES: [&str; 7] = [
    "agent_message_board_1.sqlite",
    "goals_1.sqlite",
    "logs_2.sqlite",
    "memories_1.sqlite",
    "queue_1.sqlite",
    "state_5.sqlite",
    "thread_history_1.sqlite",
];

/// Makes the folder of an account a home that a program can be started in: creates the links that are missing. Everything
/// else in it is the account's own: `auth.json` and its locks, `codex-auth`, `tmp`, the folders of Codex's daemon, and
/// caches. The folder is never moved, because Codex records its path in threads.
///
/// Takes no lock: a link is created if nothing is there, and nothing is replaced.
///
/// # Errors
/// [`Error::Store`]: a link or folder cannot be created.
pub fn prepare_home(set: &AccountSet, account: &Account) -> Result<(), Error> {
    if account.place == AccountPlace::Home {
        return Ok(());
    }
    let (outer, inner) = (set.home().path(), set.home_of(account)?);
    for name in SHARED_FOLDERS {
        if private_file::directory_state(&outer.join(name))? == DirectoryState::Missing {
            private_file::create_directory(&outer.join(name))?;
        }
        link(inner.path(), name)?;
    }
    let in_outer = private_file::names(outer)?;
    let found = in_outer.iter().filter_map(|name| name.to_str()).filter(|name| is_shared_file(name));
    for name in SHARED_FILES.into_iter().chain(DATABASES).chain(found) {
        link(inner.path(), name)?;
    }
    Ok(())
}

/// Whether an existing file is shared: a database without its journals, or a profile of the configuration.
fn is_shared_file(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|extension| extension == "sqlite") || name.ends_with(".config.toml")
}

fn link(folder: &Path, name: &str) -> Result<(), Error> {
    let target: PathBuf = ["..", "..", name].iter().collect();
    Ok(private_file::create_link(&folder.join(name), &target)?)
}
