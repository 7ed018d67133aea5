//! The macOS implementation of the helpers for every system.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;

use super::program::Run;

/// The service attribute of a login's keychain item: not Codex's.
pub const SERVICE: &str = "codex-auth";

/// Runs `body` while no other test uses the ports of this machine: macOS has no private networks.
pub fn in_private_network(_test: &str, body: impl FnOnce()) {
    let turn = File::create(std::env::temp_dir().join("codex-auth-tests.ports")).unwrap();
    turn.lock().unwrap();
    body();
}

/// Runs the command line `words` in a pseudo-terminal, whose screen goes to standard output.
pub fn terminal<'a>(words: impl Iterator<Item = &'a OsStr>) -> Command {
    let mut command = Command::new("script");
    command.args(["-q", "/dev/null"]).args(words);
    command
}

/// `run` by a user other than root.
pub fn bound_by_permissions(run: Run) -> Run {
    assert_ne!(
        codex_auth_platform::process::effective_uid(),
        0,
        "root is bound by no permissions; run the tests as a user"
    );
    run
}
