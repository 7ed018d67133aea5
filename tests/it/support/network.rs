//! A network of a test's own: this machine alone, with every port of it free.
//!
//! A login by browser comes back to one of two ports that are fixed for the whole machine, so two tests of it would meet.

use std::process::Command;

/// Says that this process is in a network of its own already.
const INSIDE: &str = "PRIVATE_NETWORK";

/// Runs `body` in a copy of this test process that has a network of its own. `test` is the full name of the calling test,
/// as the test harness knows it.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let isolation = if codex_auth_platform::process::user() == 0 { "-n" } else { "-Urn" };
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
