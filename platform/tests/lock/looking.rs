//! Tests what can be learned about locks without acquiring one.

use std::fs;

use codex_auth_platform::lock::{Error, Wait, check_support};

use crate::exclusive;
use crate::subprocess::{self, RunAs, this_test};

#[test]
fn any_file_shows_that_a_file_system_has_no_locks() {
    let name = this_test!();
    if let Some((role, path)) = subprocess::role() {
        let there = path.join("file");
        for checked in [&there, &path.join("lock"), &path.join("missing/lock")] {
            let answer = check_support(checked);
            match role.as_str() {
                "without" => assert!(
                    matches!(&answer, Err(Error::Unsupported { path, .. }) if path == checked),
                    "{answer:?}"
                ),
                _ => assert!(matches!(&answer, Err(Error::Io { .. })), "{answer:?}"),
            }
        }
        let answer = exclusive(&there, Wait::No).map(drop).unwrap_err().to_string();
        assert_eq!(answer, check_support(&there).unwrap_err().to_string());
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for checked in ["file", "lock", "missing/lock"] {
        check_support(&folder.path().join(checked)).unwrap();
    }
    for script in [
        r#"exec strace -f -o /dev/null -e inject=flock:error=ENOLCK "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=ENOSYS "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=EOPNOTSUPP "$0" "$@""#,
    ] {
        subprocess::run_role(name, "without", folder.path(), &RunAs::Shell(script));
    }
    let script = r#"exec strace -f -o /dev/null -e inject=flock:error=EIO "$0" "$@""#;
    subprocess::run_role(name, "failing", folder.path(), &RunAs::Shell(script));
}
