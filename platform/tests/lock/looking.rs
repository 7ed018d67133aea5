//! What is found out about locks without taking one.

use std::fs;

use codex_auth_platform::lock::{Error, Wait, check_support};

use crate::again::{self, Stage, this_test};
use crate::exclusive;

#[test]
fn a_file_system_without_locks_is_told_by_any_file_on_it() {
    let name = this_test!();
    if let Some((part, path)) = again::part() {
        let there = path.join("file");
        for asked in [&there, &path.join("lock"), &path.join("missing/lock")] {
            let told = check_support(asked);
            match part.as_str() {
                "without" => assert!(
                    matches!(&told, Err(Error::Unsupported { path, .. }) if path == asked),
                    "{told:?}"
                ),
                _ => assert!(matches!(&told, Err(Error::Io { .. })), "{told:?}"),
            }
        }
        let told = exclusive(&there, Wait::No).map(drop).unwrap_err().to_string();
        assert_eq!(told, check_support(&there).unwrap_err().to_string());
        return again::played();
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for asked in ["file", "lock", "missing/lock"] {
        check_support(&folder.path().join(asked)).unwrap();
    }
    for script in [
        r#"exec strace -f -o /dev/null -e inject=flock:error=ENOLCK "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=ENOSYS "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=EOPNOTSUPP "$0" "$@""#,
    ] {
        again::play(name, "without", folder.path(), &Stage::After(script));
    }
    let script = r#"exec strace -f -o /dev/null -e inject=flock:error=EIO "$0" "$@""#;
    again::play(name, "failing", folder.path(), &Stage::After(script));
}
