//! Folders: made private, repaired, refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use codex_auth_platform::private_file::{
    Created, DirectoryState, Error, canonical, create_directory, directory,
};

use crate::again::{self, Stage, this_test};

#[test]
fn a_folder_and_those_above_it_are_made_private_whatever_the_umask() {
    let name = this_test!();
    if let Some((part, path)) = again::part() {
        assert_eq!(create_directory(&path.join(&part).join("b/c")).unwrap(), Created::New);
        return again::played();
    }
    let folder = tempfile::tempdir().unwrap();
    for (part, script) in [("open", "umask 0"), ("closed", "umask 0777")] {
        again::play(name, part, folder.path(), &Stage::After(script));
        for below in ["", "b", "b/c"] {
            assert_eq!(again::mode(&folder.path().join(part).join(below)), 0o700, "{part} {below}");
        }
    }
}

#[test]
fn a_folder_that_is_there_is_kept_and_a_loose_one_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    assert_eq!(create_directory(&path).unwrap(), Created::New);
    fs::write(path.join("kept"), "").unwrap();
    assert_eq!(create_directory(&path).unwrap(), Created::Existed);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(create_directory(&path).unwrap(), Created::ModeRepaired { from: 0o755 });
    assert_eq!(again::mode(&path), 0o700);
    assert_eq!(again::names(&path), ["kept"]);
}

#[test]
fn a_folder_above_keeps_its_mode() {
    let folder = again::open_folder();
    create_directory(&folder.path().join("a")).unwrap();
    assert_eq!(again::mode(folder.path()), 0o755);
}

#[test]
fn what_has_the_name_of_the_folder_is_refused() {
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
    assert_eq!(create_directory(&at("link/below")).unwrap(), Created::New, "links above are followed");
    assert_eq!(again::names(folder.path()), ["dangling", "file", "link", "real"]);
}

#[test]
fn several_may_make_a_folder_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/c/d");
    let outcomes = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(|| create_directory(&path).unwrap())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Created::New).count(), 1, "{outcomes:?}");
}

#[test]
fn a_folder_tells_what_can_be_done_in_it() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        assert_eq!(directory(&path).unwrap(), DirectoryState::ReadOnly);
        let outcome = create_directory(&path.join("new"));
        assert!(outcome.as_ref().is_err_and(Error::is_read_only), "{outcome:?}");
        assert_eq!(create_directory(&path.join("there")).unwrap(), Created::Existed);
        return again::played();
    }
    let folder = again::open_folder();
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
        assert_eq!(directory(&at(name)).unwrap(), expected, "{name}");
    }
    assert_eq!(canonical(&at("link")).unwrap(), canonical(folder.path()).unwrap().join("there"));
    assert!(canonical(&at("missing")).is_err());
    if cfg!(target_os = "linux") {
        again::play(name, "stranger", folder.path(), &Stage::Somebody);
    }
}
