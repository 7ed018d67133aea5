//! What tests ask of Linux alone, and what they ask of every system as Linux does it.

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

/// The service of the keychain item of a login: Codex's own.
pub const SERVICE: &str = "Codex Auth";
/// Says that this process is in a network of its own already.
const INSIDE: &str = "PRIVATE_NETWORK";

/// Whether these tests run as root, who may mount, and whom permissions do not bind.
pub fn is_root() -> bool {
    codex_auth_platform::process::effective_uid() == 0
}

/// Runs `body` in a copy of this test process that has a network of its own. `test` is the full name of the calling test,
/// as the test harness knows it.
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

/// The program of `words` on a terminal of its own, which shows what it prints.
pub fn terminal<'a>(words: impl Iterator<Item = &'a OsStr>) -> Command {
    let quoted = |word: &OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"));
    let line = words.map(quoted).collect::<Vec<_>>().join(" ");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    command
}

/// `run` by a user whom permissions bind.
pub fn bound_by_permissions(run: Run) -> Run {
    if is_root() { run.by_user(65534) } else { run }
}

/// `run` without the capabilities of root, so that permissions bind it and files stay its own.
pub fn without_capabilities(run: Run) -> Run {
    if is_root() { run.through(["setpriv", "--bounding-set=-all", "--inh-caps=-all"]) } else { run }
}

impl Run {
    /// Runs it as another user. Root opens it first: where it was built, others may not be able to go.
    pub fn by_user(self, uid: u32) -> Self {
        let person = format!("setpriv --reuid={uid} --regid={uid} --clear-groups");
        self.through(["sh", "-c", &format!(r#"exec 9<"$0"; cd /; exec {person} /proc/self/fd/9 "$@""#)])
    }
}

impl TestHome {
    /// The home of another user, who can go there. Only root can give one away.
    pub fn owned_by(self, uid: u32) -> Self {
        let folder = self.path().parent().unwrap().to_owned();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(self.path(), Some(uid), Some(uid)).expect("the tests run as root");
        self
    }
}

/// The secret of every item that has the name of a home's, as any program finds it.
pub fn items(home: &TestHome) -> Vec<Vec<u8>> {
    let name = SsCredential::new_with_target(None, "Codex Auth", &account(home)).unwrap();
    match name.map_matching_items(|item| Ok(item.get_secret().unwrap()), false) {
        Err(keyring3::Error::NoEntry) => Vec::new(),
        found => found.unwrap(),
    }
}

/// Makes one more item of that name, as only a program can that does not look first.
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
