//! Tests how folders are created, repaired and refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use codex_auth_platform::private_file::{DirectoryState, Error, create_directory, directory_state};

use crate::subprocess::{self, RunAs, this_test};

#[test]
fn a_folder_and_those_above_it_are_created_private_whatever_the_umask() {
    let name = this_test!();
    if let Some((role, path)) = subprocess::role() {
        create_directory(&path.join(&role).join("b/c")).unwrap();
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    for (role, script) in [("open", "umask 0"), ("closed", "umask 0777")] {
        subprocess::run_role(name, role, folder.path(), &RunAs::Shell(script));
        for below in ["", "b", "b/c"] {
            assert_eq!(subprocess::mode(&folder.path().join(role).join(below)), 0o700, "{role} {below}");
        }
    }
}

#[test]
fn an_existing_folder_is_kept_and_a_loose_one_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    create_directory(&path).unwrap();
    fs::write(path.join("kept"), "").unwrap();
    create_directory(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    create_directory(&path).unwrap();
    assert_eq!(subprocess::mode(&path), 0o700);
    assert_eq!(subprocess::names(&path), ["kept"]);
}

#[test]
fn a_folder_above_keeps_its_mode() {
    let folder = subprocess::open_folder();
    create_directory(&folder.path().join("a")).unwrap();
    assert_eq!(subprocess::mode(folder.path()), 0o755);
}

#[test]
fn other_files_at_the_path_of_a_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("file"), "").unwrap();
    symlink("real", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    for link in ["link", "dangling"] {
        let outcome = create_directory(&at(link));
        assert!(matches!(outcome, Err(Error::Link { .. })), "{link}: {outcome:?}");
    }
    let outcome = create_directory(&at("file"));
    assert!(matches!(outcome, Err(Error::NotADirectory { .. })), "{outcome:?}");
    assert!(create_directory(&at("file/below")).is_err());
    assert!(create_directory(&at("dangling/below")).is_err());
    create_directory(&at("link/below")).expect("links above are followed");
    assert_eq!(subprocess::names(folder.path()), ["dangling", "file", "link", "real"]);
}

#[test]
fn a_folder_can_be_created_concurrently() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/c/d");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| create_directory(&path).unwrap());
        }
    });
    assert_eq!(subprocess::mode(&path), 0o700);
}

#[test]
fn the_state_of_a_folder_is_reported() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        assert_eq!(directory_state(&path).unwrap(), DirectoryState::ReadOnly);
        let outcome = create_directory(&path.join("new"));
        assert!(outcome.as_ref().is_err_and(Error::is_read_only), "{outcome:?}");
        create_directory(&path.join("there")).unwrap();
        return subprocess::report_done();
    }
    let folder = subprocess::open_folder();
    let at = |name: &str| folder.path().join(name);
    create_directory(&at("there")).unwrap();
    fs::write(at("file"), "").unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("there", at("link")).unwrap();
    for (name, expected) in [
        ("there", DirectoryState::Writable),
        ("link", DirectoryState::Writable),
        ("missing", DirectoryState::Missing),
        ("dangling", DirectoryState::Missing),
        ("file", DirectoryState::NotADirectory),
        ("file/below", DirectoryState::NotADirectory),
    ] {
        assert_eq!(directory_state(&at(name)).unwrap(), expected, "{name}");
    }
    if cfg!(target_os = "linux") {
        subprocess::run_role(name, "other user", folder.path(), &RunAs::OtherUser);
    }
}
