//! Programs called codex that another user could have planted are not run, and are named with the reason.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use super::hand_over::{REPORTS, folder, path};
use crate::support::{Run, TestHome};

/// The user who runs the program, whose group has the same number and no other member.
const USER: u32 = 1500;
/// Another user.
const STRANGER: u32 = 1501;
/// A group of several users.
const SHARED_GROUP: u32 = 100;

fn give(path: &Path, owner: u32, group: u32, mode: u32) {
    chown(path, Some(owner), Some(group)).expect("the tests run as root");
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder with a `codex` of `owner`.
fn program_of(home: &TestHome, name: &str, owner: u32, group: u32, mode: u32) -> PathBuf {
    let folder = folder(home, name, "codex", REPORTS);
    give(&folder, owner, group, mode);
    give(&folder.join("codex"), owner, group, mode);
    folder
}

fn codex(home: &TestHome, words: &[&'static str], folder: &Path) -> Run {
    home.codex(words.iter().copied()).env("PATH", path([folder])).env("HOME", home.path())
}

/// Asserts that the program in `folder` is not run, and that the error and `codex doctor` say `why`.
#[track_caller]
fn is_named(home: &TestHome, folder: &Path, why: &str, way: impl Fn(Run) -> Run) {
    let said = format!("{}/codex is not run: {why}", folder.display());
    let ended = way(codex(home, &["exec"], folder)).run().refused(2);
    assert!(ended.err.contains(&format!("hint: {said}\n")), "{said}\n{ended}");
    let doctor = way(codex(home, &["doctor"], folder)).run();
    assert!(doctor.out.contains(&format!("warning  next codex    {said}\n")), "{said}\n{doctor}");
}

#[test]
fn a_program_of_the_private_group_of_the_user_is_run_and_one_of_a_shared_group_is_named() {
    let home = TestHome::new().owned_by(USER);
    let private = program_of(&home, "private", USER, USER, 0o775);
    codex(&home, &["exec"], &private).by_user(USER).run().expect(7);
    let shared = program_of(&home, "shared", USER, SHARED_GROUP, 0o775);
    is_named(&home, &shared, "its mode 775 lets other users write to it", |run| run.by_user(USER));
}

#[test]
fn a_program_of_an_owner_outside_of_the_user_namespace_is_run() {
    let home = TestHome::new();
    let folder = program_of(&home, "foreign", STRANGER, STRANGER, 0o755);
    let why = format!("it belongs to another user (uid {STRANGER})");
    is_named(&home, &folder, &why, |run| run);
    codex(&home, &["exec"], &folder).through(["unshare", "-Ur"]).run().expect(7);
}

#[test]
fn a_link_of_a_stranger_to_a_program_of_the_system_is_named() {
    let home = TestHome::new().owned_by(USER);
    let folder = home.beside("open");
    give(&folder, 0, 0, 0o1777);
    let link = folder.join("codex");
    symlink("/bin/sh", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(STRANGER), Some(STRANGER)).unwrap();
    let why = format!("the link belongs to another user (uid {STRANGER})");
    is_named(&home, &folder, &why, |run| run.by_user(USER));
    is_named(&home, &folder, &why, |run| run);
}

#[test]
fn a_hard_link_in_a_folder_where_others_write_is_named() {
    let home = TestHome::new().owned_by(USER);
    let own = program_of(&home, "own", USER, USER, 0o755);
    let open = home.beside("open");
    give(&open, 0, 0, 0o1777);
    fs::hard_link(own.join("codex"), open.join("codex")).unwrap();
    let why = format!("it is a hard link in {}, where other users can write", open.display());
    is_named(&home, &open, &why, |run| run.by_user(USER));
    // Where only this user writes, it is a program like any other.
    codex(&home, &["exec"], &own).by_user(USER).run().expect(7);
}

#[test]
fn a_program_of_the_working_folder_is_named() {
    let home = TestHome::new();
    let project = home.beside("project");
    let installed = project.join("node_modules/.bin");
    fs::create_dir_all(&installed).unwrap();
    let source = folder(&home, "source", "codex", REPORTS);
    for folder in [&project, &installed] {
        fs::copy(source.join("codex"), folder.join("codex")).unwrap();
    }
    let there = project.to_str().unwrap();
    for folder in [&project, &installed] {
        let why = format!("{} belongs to the working folder", folder.display());
        is_named(&home, folder, &why, |run| run.through(["env", "-C", there]));
        // Elsewhere it is a program like any other.
        codex(&home, &["exec"], folder).through(["env", "-C", "/"]).run().expect(7);
    }
    let relative =
        home.codex(["exec"]).env("PATH", "./node_modules/.bin").through(["/usr/bin/env", "-C", there]);
    let ended = relative.run().refused(2);
    let said =
        "hint: ./node_modules/.bin/codex is not run: its folder on PATH is relative to the working folder\n";
    assert!(ended.err.contains(said), "{ended}");
}
