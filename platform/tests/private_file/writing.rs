//! Tests what a replacement leaves when it is committed, dropped or killed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use codex_auth_platform::private_file::{
    self, Error, Links, MountPolicy, Removal, Replacement, ReplacementNote, read, remove, remove_leftovers,
    repair, stamp,
};

use crate::subprocess::{self, LiveProcess, RunAs, this_test};
use crate::{MANY, bytes, leftovers, replace};

fn reserve(path: &Path, size: u64) -> Result<Replacement, Error> {
    Replacement::reserve(path, size, Links::Follow, MountPolicy::Refuse)
}

#[test]
fn a_file_is_private_whatever_the_umask() {
    let name = this_test!();
    if let Some((role, path)) = subprocess::role() {
        replace(&path.join(&role), b"x").unwrap();
        drop(reserve(&path.join(&role), 10).unwrap().commit(b"y").unwrap());
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    for (role, script) in [("open", "umask 0"), ("usual", "umask 022"), ("closed", "umask 0777")] {
        subprocess::run_role(name, role, folder.path(), &RunAs::Shell(script));
        assert_eq!(subprocess::mode(&folder.path().join(role)), 0o600);
        assert_eq!(bytes(&folder.path().join(role)), b"y");
    }
}

#[test]
fn a_replacement_leaves_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for content in [&b"long enough to be seen"[..], b"short", b""] {
        let notes = replace(&path, content).unwrap();
        assert_eq!(bytes(&path), content);
        assert_eq!(notes, []);
    }
    assert_eq!(subprocess::names(folder.path()), ["file"]);
}

#[test]
fn a_reservation_has_its_space_on_the_disk_and_leaves_only_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (size, content) in [(100_000, &b"less"[..]), (3, b"more than that"), (0, b"something"), (4, b"just")]
    {
        let reserved = reserve(&path, size).unwrap();
        let temporary = leftovers(folder.path());
        assert_eq!(temporary.len(), 1);
        let found = fs::metadata(folder.path().join(&temporary[0])).unwrap();
        assert!(found.blocks() * 512 >= size && found.mode() & 0o777 == 0o600, "{found:?}");
        reserved.commit(content).unwrap();
        assert_eq!(bytes(&path), content);
        assert_eq!(subprocess::names(folder.path()), ["file"]);
    }
}

#[test]
fn a_reservation_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    drop(reserve(&path, 100).unwrap());
    assert!(subprocess::names(folder.path()).is_empty());
    replace(&path, b"old").unwrap();
    drop(reserve(&path, 100).unwrap());
    assert_eq!(subprocess::names(folder.path()), ["file"]);
    assert_eq!(bytes(&path), b"old");
}

#[test]
fn a_loose_file_is_replaced_by_a_private_one_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
    assert_eq!(replace(&path, b"y").unwrap(), [ReplacementNote::ModeRepaired { from: 0o664 }]);
    assert_eq!(subprocess::mode(&path), 0o600);
    assert_eq!(replace(&path, b"z").unwrap(), []);
}

#[test]
fn the_end_of_a_link_is_replaced_and_the_link_stays() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("inner")).unwrap();
    symlink("inner/real", at("link")).unwrap();
    for content in [b"first", b"again"] {
        replace(&at("link"), content).unwrap();
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("inner/real"));
        assert!(at("inner/real").symlink_metadata().unwrap().is_file());
        assert_eq!(bytes(&at("inner/real")), content);
    }
    let outcome = Replacement::reserve(&at("link"), 1, Links::Refuse, MountPolicy::Refuse);
    assert!(matches!(outcome, Err(Error::Link { .. })), "{outcome:?}");
    assert_eq!(remove(&at("link"), Links::Follow).unwrap(), Removal::Removed);
    assert!(at("link").is_symlink() && !at("inner/real").exists());
    assert_eq!(remove(&at("link"), Links::Follow).unwrap(), Removal::Absent);
    assert!(matches!(remove(&at("link"), Links::Refuse), Err(Error::Link { .. })));
}

#[test]
fn only_a_regular_file_is_replaced_removed_or_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, pipe) = (folder.path().join("inner"), folder.path().join("pipe"));
    fs::create_dir(&inner).unwrap();
    subprocess::run("mkfifo", &[&pipe]);
    for path in [&inner, &pipe] {
        for outcome in [
            replace(path, b"x").map(drop),
            reserve(path, 1).map(drop),
            remove(path, Links::Follow).map(drop),
            repair(path, Links::Follow).map(drop),
        ] {
            assert!(matches!(outcome, Err(Error::NotAFile { .. })), "{}: {outcome:?}", path.display());
        }
    }
    assert_eq!(subprocess::names(folder.path()), ["inner", "pipe"]);
}

#[test]
fn a_folder_created_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let reserved = reserve(&path, 1).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(reserved.commit(b"x"), Err(Error::NotAFile { .. })));
    assert_eq!(subprocess::names(folder.path()), ["file"]);
}

#[test]
fn a_missing_folder_is_a_not_found_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/file");
    let Err(Error::Io { source, .. }) = replace(&path, b"x") else { panic!("it was replaced") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(remove(&path, Links::Follow).unwrap(), Removal::Absent);
    repair(&path, Links::Follow).unwrap();
}

#[test]
fn a_folder_that_is_renamed_meanwhile_takes_the_replacement_along() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("before")).unwrap();
    let reserved = reserve(&at("before/file"), 10).unwrap();
    fs::rename(at("before"), at("after")).unwrap();
    fs::create_dir(at("before")).unwrap();
    reserved.commit(b"x").unwrap();
    assert_eq!(bytes(&at("after/file")), b"x");
    assert!(subprocess::names(&at("before")).is_empty());
}

#[test]
fn a_loose_file_is_repaired_and_a_private_one_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    repair(&path, Links::Follow).unwrap();
    fs::write(&path, "x").unwrap();
    for (mode, left) in [(0o644, 0o600), (0o600, 0o600), (0o400, 0o400)] {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        repair(&path, Links::Refuse).unwrap();
        assert_eq!(subprocess::mode(&path), left);
    }
}

#[test]
fn only_files_of_dead_writers_are_removed() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let _reserved = reserve(&path, 100).unwrap();
        subprocess::print_line("@reserved");
        return subprocess::wait_for_stdin_end();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let others = [".file.tmp", ".file.0123456789abcdeg.tmp", ".other.0123456789abcdef.tmp"];
    for other in others {
        fs::write(folder.path().join(other), "").unwrap();
    }
    for clean in ["sweep", "reserve", "remove"] {
        let mut running =
            LiveProcess::start(subprocess::role_command(name, "writer", &path, &RunAs::Plain), "@reserved");
        assert_eq!(remove_leftovers(&path, Links::Follow), 0, "its writer lives");
        assert_eq!(leftovers(folder.path()).len(), 4);
        assert!(private_file::leftovers(&path, Links::Follow).is_empty());
        running.kill();
        for _ in 0..2 {
            let found = private_file::leftovers(&path, Links::Follow);
            assert!(found.len() == 1 && found[0].exists(), "looking removes nothing: {found:?}");
        }
        match clean {
            "sweep" => assert_eq!(remove_leftovers(&path, Links::Follow), 1),
            "reserve" => drop(reserve(&path, 1).unwrap()),
            _ => assert_eq!(remove(&path, Links::Follow).unwrap(), Removal::Absent),
        }
        assert_eq!(leftovers(folder.path()).len(), 3, "{clean}");
    }
}

#[test]
fn a_writer_killed_at_any_instant_leaves_a_whole_version() {
    let name = this_test!();
    let version = |number: u32| format!("{number}:{}", "x".repeat(20_000 + (number as usize % 7) * 30_000));
    if let Some((_, path)) = subprocess::role() {
        replace(&path, version(0).as_bytes()).unwrap();
        subprocess::print_line("@started");
        for number in 1.. {
            replace(&path, version(number).as_bytes()).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut left = 0;
    for round in 0..24_u32 {
        let mut running =
            LiveProcess::start(subprocess::role_command(name, "writer", &path, &RunAs::Plain), "@started");
        // Kills the writer after some changes, at an arbitrary instant.
        let mut last = stamp(&path, Links::Refuse).unwrap();
        for _ in 0..=round % 4 {
            while last == stamp(&path, Links::Refuse).unwrap() {
                std::hint::spin_loop();
            }
            last = stamp(&path, Links::Refuse).unwrap();
        }
        (0..round * 2_000).for_each(|_| std::hint::spin_loop());
        running.kill();
        let seen = String::from_utf8(bytes(&path)).unwrap();
        let (number, _) = seen.split_once(':').unwrap();
        assert!(seen == version(number.parse().unwrap()), "torn: {} bytes of version {number}", seen.len());
        left += remove_leftovers(&path, Links::Refuse);
        assert_eq!(subprocess::names(folder.path()), ["file"]);
    }
    assert!(left > 0, "no writer was killed while it wrote, so nothing was shown");
    assert!(read(&path, MANY, Links::Refuse).unwrap().is_some());
}
