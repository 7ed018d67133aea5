//! What is found out about locks without taking one.

use std::fs;
use std::process::Command;

use codex_auth_platform::lock::{Error, Wait, check_support, is_held};

use crate::again::{self, Actor, Stage, this_test};
use crate::{exclusive, shared};

#[test]
fn a_lock_is_held_while_a_process_has_it_and_a_note_alone_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    assert!(!is_held(&path), "there is no file");
    fs::write(&path, format!("{} program\n", std::process::id())).unwrap();
    assert!(!is_held(&path), "it is signed and not held");
    let lock = exclusive(&path, Wait::No).unwrap();
    assert!(is_held(&path));
    drop(lock);
    assert!(!is_held(&path));

    let mut command = Command::new("flock");
    command.arg(&path).args(["-c", "echo @held; read answer"]);
    let actor = Actor::start(command, "@held");
    assert!(is_held(&path));
    drop(actor);
    drop(exclusive(&path, crate::LONG).unwrap());

    // Those who only share it leave room for others, and whoever looks takes none from them.
    let lock = shared(&path).unwrap();
    assert!(!is_held(&path));
    drop(lock);
}

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
