//! What tests ask of every system, as macOS does it.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;

use super::program::Run;

/// The service of the keychain item of a login: ours alone.
pub const SERVICE: &str = "codex-auth";

/// Runs `body` while no other test has the ports of this machine: there are no networks of a process's own.
pub fn in_private_network(_test: &str, body: impl FnOnce()) {
    let turn = File::create(std::env::temp_dir().join("codex-auth-tests.ports")).unwrap();
    turn.lock().unwrap();
    body();
}

/// The program of `words` on a terminal of its own, which shows what it prints.
pub fn terminal<'a>(words: impl Iterator<Item = &'a OsStr>) -> Command {
    let mut command = Command::new("script");
    command.args(["-q", "/dev/null"]).args(words);
    command
}

/// `run` by a user whom permissions bind, as all are but root.
pub fn bound_by_permissions(run: Run) -> Run {
    assert_ne!(
        codex_auth_platform::process::user(),
        0,
        "root is bound by no permissions; run the tests as a user"
    );
    run
}
