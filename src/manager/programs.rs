//! Finds the programs of the user that use a login.

use std::path::{Path, PathBuf};

use codex_auth_platform::process::{self, ProcessVariable, RunningProcess};
use codex_auth_platform::{filesystem, search_path};

use crate::config::UserFolders;
use crate::home::Home;
use crate::store;

/// The home of a process without `CODEX_HOME`, in the home directory of its user.
const DEFAULT_HOME: &str = ".codex";

/// A running program called `codex` that uses a login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodexProcess {
    /// Its process id.
    pub pid: u32,
    /// Its program file, even if that was replaced since; the name that it was called by if the system does not show the
    /// file.
    pub executable: PathBuf,
}

/// The running programs called `codex`, without those of the program that calls this, as far as the system shows them.
#[derive(Clone, Debug, Default)]
pub struct CodexPrograms(Vec<RunningProcess>);

impl CodexPrograms {
    /// Finds them. Reads the list of all processes.
    #[must_use]
    pub fn find() -> Self {
        let ours = search_path::own_program_id();
        let mut running = process::running_programs("codex", "CODEX_HOME").unwrap_or_default();
        running.retain(|running| filesystem::identity(&running.executable) != ours);
        Self(running)
    }

    /// Returns those that use the login of `home`.
    #[must_use]
    pub fn using(&self, home: &Home) -> Vec<CodexProcess> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let is_default =
            UserFolders::of_process().is_some_and(|user| store::is_home(home, &user.codex_home()));
        let uses_home = |running: &&RunningProcess| match (&running.variable, &running.user_home) {
            (ProcessVariable::Set(path), _) => store::is_home(home, path.as_ref()),
            (ProcessVariable::Unset, ProcessVariable::Set(user)) => {
                store::is_home(home, &Path::new(user).join(DEFAULT_HOME))
            }
            _ => is_default,
        };
        let using = self.0.iter().filter(uses_home);
        using
            .map(|running| CodexProcess { pid: running.pid, executable: running.executable.clone() })
            .collect()
    }
}

/// Returns the running programs called `codex` that use the login of `home`, as far as the system shows them, without
/// those of the program that calls this.
#[must_use]
pub fn programs_using(home: &Home) -> Vec<CodexProcess> {
    CodexPrograms::find().using(home)
}
