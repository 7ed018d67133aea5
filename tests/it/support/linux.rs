//! Helpers for Linux, and the Linux implementation of those for every system.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use keyring3::credential::CredentialApi as _;
use keyring3::secret_service::SsCredential;

use super::TestHome;
use super::machine::account;
use super::program::Run;

/// The service attribute of a login's keychain item: the same as Codex's.
pub const SERVICE: &str = "Codex Auth";
/// Set in a process that runs in a private network.
const INSIDE: &str = "PRIVATE_NETWORK";

/// Whether the tests run as root, which can mount and is not bound by permissions.
pub fn is_root() -> bool {
    codex_auth_platform::process::effective_uid() == 0
}

/// Runs `body` in a copy of this test process with a private network. `test` is the full name of the calling test.
pub fn in_private_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let isolation = if is_root() { "-n" } else { "-Urn" };
    let copy = Command::new("unshare")
        .args([isolation, "sh", "-euc", "ip link set lo up; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1) is installed");
    let (out, err) = (String::from_utf8_lossy(&copy.stdout), String::from_utf8_lossy(&copy.stderr));
    assert!(copy.status.success() && out.contains("1 passed"), "{test} in its network:\n{out}\n{err}");
}

/// Runs the command line `words` in a pseudo-terminal, whose screen goes to standard output.
pub fn terminal<'a>(words: impl Iterator<Item = &'a OsStr>) -> Command {
    let quoted = |word: &OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"));
    let line = words.map(quoted).collect::<Vec<_>>().join(" ");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    command
}

/// `run` by a user other than root.
pub fn bound_by_permissions(run: Run) -> Run {
    if is_root() { run.by_user(65534) } else { run }
}

/// `run` as root without capabilities, so that it is bound by permissions and owns the files.
pub fn without_capabilities(run: Run) -> Run {
    if is_root() { run.through(["setpriv", "--bounding-set=-all", "--inh-caps=-all"]) } else { run }
}

impl Run {
    /// Runs it as another user. Root opens the program first: other users may have no access to the build folder.
    pub fn by_user(self, uid: u32) -> Self {
        let person = format!("setpriv --reuid={uid} --regid={uid} --clear-groups");
        self.through(["sh", "-c", &format!(r#"exec 9<"$0"; cd /; exec {person} /proc/self/fd/9 "$@""#)])
    }
}

impl TestHome {
    /// Gives the home to another user, with access to the folders above. Needs root.
    pub fn owned_by(self, uid: u32) -> Self {
        let folder = self.path().parent().unwrap().to_owned();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(self.path(), Some(uid), Some(uid)).expect("the tests run as root");
        self
    }
}

/// The secrets of all items with the service and account of the home.
pub fn items(home: &TestHome) -> Vec<Vec<u8>> {
    let name = SsCredential::new_with_target(None, "Codex Auth", &account(home)).unwrap();
    match name.map_matching_items(|item| Ok(item.get_secret().unwrap()), false) {
        Err(keyring3::Error::NoEntry) => Vec::new(),
        found => found.unwrap(),
    }
}

/// Creates another item with the same service and account, as a program does that does not search first.
pub fn add_second_item(home: &TestHome, secret: &[u8]) {
    let planted = SsCredential::new_with_target(None, "Codex Auth", "planted").unwrap();
    planted.set_secret(secret).unwrap();
    let account = account(home);
    let name =
        HashMap::from([("service", "Codex Auth"), ("username", account.as_str()), ("target", "default")]);
    let renamed = planted.map_matching_items(|item| item.set_attributes(name.clone()).map_err(refused), true);
    renamed.unwrap();
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> keyring3::Error {
    keyring3::Error::PlatformFailure(Box::new(error))
}
