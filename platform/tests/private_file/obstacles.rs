//! Tests real full, limited and read-only file systems, and files that are mount points.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use codex_auth_platform::private_file::{
    DirectoryState, Error, FileMode, Links, MountPolicy, Removal, Replacement, ReplacementNote,
    create_directory, directory_state, remove, repair, replace as replace_with,
};

use crate::subprocess::{self, RunAs, this_test};
use crate::{bytes, leftovers, replace};

fn reserve(path: &Path, size: u64, over: MountPolicy) -> Result<Replacement, Error> {
    Replacement::reserve(path, size, Links::Follow, over)
}

fn mount_memory(path: &Path, options: &str) {
    subprocess::run("mount", &[&"-t", &"tmpfs", &"-o", &options, &"none", &path]);
}

fn mount_file(source: &Path, path: &Path) {
    subprocess::run("mount", &[&"--bind", &source, &path]);
}

/// Fills the disk.
fn fill(path: &Path) {
    let mut filler = fs::File::create(path).unwrap();
    let error = std::io::copy(&mut std::io::repeat(b'.'), &mut filler).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn on_a_full_disk_the_old_content_stays_and_nothing_is_left() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        mount_memory(&path, "size=256k");
        let file = path.join("file");
        replace(&file, b"old").unwrap();
        fill(&path.join("filler"));
        for outcome in
            [replace(&file, &[b'n'; 9000]).map(drop), reserve(&file, 9000, MountPolicy::Refuse).map(drop)]
        {
            assert!(matches!(outcome, Err(Error::NoSpace { needed: 9000, .. })), "{outcome:?}");
        }
        assert_eq!(bytes(&file), b"old");
        assert_eq!(subprocess::names(&path), ["file", "filler"]);
        assert_eq!(remove(&file, Links::Follow).unwrap(), Removal::Removed);
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn reserved_space_can_be_used_on_a_disk_that_became_full() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        mount_memory(&path, "size=256k");
        let file = path.join("file");
        let reserved = reserve(&file, 50_000, MountPolicy::Refuse).unwrap();
        fill(&path.join("filler"));
        reserved.commit(&[b'n'; 50_000]).unwrap();
        assert_eq!(bytes(&file), [b'n'; 50_000]);

        fs::remove_file(path.join("filler")).unwrap();
        let reserved = reserve(&file, 10, MountPolicy::Refuse).unwrap();
        fill(&path.join("filler"));
        let outcome = reserved.commit(&[b'm'; 60_000]);
        assert!(matches!(outcome, Err(Error::NoSpace { needed: 60_000, .. })), "{outcome:?}");
        assert_eq!(bytes(&file), [b'n'; 50_000]);
        assert!(leftovers(&path).is_empty());
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_file_system_that_cannot_allocate_is_written_to() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        subprocess::run("mount", &[&"-t", &"ramfs", &"none", &path]);
        let file = path.join("file");
        let reserved = reserve(&file, 50_000, MountPolicy::Refuse).unwrap();
        let temporary = path.join(&leftovers(&path)[0]);
        assert_eq!(fs::metadata(temporary).unwrap().len(), 50_000);
        reserved.commit(b"short").unwrap();
        assert_eq!(bytes(&file), b"short");
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_file_size_limit_is_reported_as_no_space() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let file = path.join("file");
        replace(&file, b"old").unwrap();
        for outcome in [
            replace(&file, &[b'n'; 100_000]).map(drop),
            reserve(&file, 100_000, MountPolicy::Refuse).map(drop),
        ] {
            assert!(matches!(outcome, Err(Error::NoSpace { needed: 100_000, .. })), "{outcome:?}");
        }
        assert_eq!(bytes(&file), b"old");
        assert_eq!(subprocess::names(&path), ["file"]);
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::Shell("trap '' XFSZ; ulimit -f 16"));
}

#[test]
fn a_read_only_file_system_can_be_read_and_is_reported() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        mount_memory(&path, "size=256k");
        let file = path.join("file");
        fs::write(&file, "old").unwrap();
        let reserved = reserve(&path.join("other"), 10, MountPolicy::Refuse).unwrap();
        drop(reserved);
        subprocess::run("mount", &[&"-o", &"remount,bind,ro", &path]);
        assert_eq!(directory_state(&path).unwrap(), DirectoryState::ReadOnly);
        assert_eq!(bytes(&file), b"old");
        for outcome in [
            replace(&file, b"new").map(drop),
            reserve(&file, 1, MountPolicy::InPlace).map(drop),
            remove(&file, Links::Follow).map(drop),
            repair(&file, Links::Follow).map(drop),
            create_directory(&path.join("folder")).map(drop),
        ] {
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        }
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "reader", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_file_that_is_a_mount_point_is_refused_before_anything_is_done() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let (source, file) = (path.join("source"), path.join("file"));
        fs::write(&source, "old").unwrap();
        fs::write(&file, "under it").unwrap();
        mount_file(&source, &file);
        for outcome in [
            replace(&file, b"new").map(drop),
            reserve(&file, 1, MountPolicy::Refuse).map(drop),
            remove(&file, Links::Follow).map(drop),
        ] {
            assert!(matches!(&outcome, Err(Error::MountPoint { path }) if *path == file), "{outcome:?}");
            assert!(outcome.unwrap_err().to_string().contains("mount the folder"));
        }
        assert_eq!(bytes(&file), b"old");
        assert_eq!(subprocess::names(&path), ["file", "source"]);
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_file_that_becomes_a_mount_point_meanwhile_is_unchanged() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let (source, file) = (path.join("source"), path.join("file"));
        fs::write(&source, "old").unwrap();
        fs::write(&file, "under it").unwrap();
        let refusing = reserve(&file, 10, MountPolicy::Refuse).unwrap();
        let insisting = reserve(&file, 10, MountPolicy::InPlace).unwrap();
        mount_file(&source, &file);
        assert!(matches!(refusing.commit(b"new"), Err(Error::MountPoint { .. })));
        assert_eq!(bytes(&file), b"old");
        let notes = insisting.commit(b"new").unwrap();
        assert!(
            notes.contains(&ReplacementNote::WrittenInPlace { backup: Some(path.join("file.bak")) }),
            "{notes:?}"
        );
        assert_eq!((bytes(&file), bytes(&path.join("file.bak"))), (b"new".to_vec(), b"old".to_vec()));
        assert!(leftovers(&path).is_empty());
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_mounted_file_is_written_in_place_on_request_with_a_backup() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let (source, file) = (path.join("source"), path.join("file"));
        fs::write(&source, "rather long old content").unwrap();
        subprocess::run("chmod", &[&"644", &source]);
        fs::write(&file, "").unwrap();
        mount_file(&source, &file);
        let before = fs::metadata(&file).unwrap().ino();
        let notes =
            replace_with(&file, b"new", Links::Follow, MountPolicy::InPlace, FileMode::Private).unwrap();
        let backup = path.join("file.bak");
        assert_eq!(
            notes,
            [
                ReplacementNote::ModeRepaired { from: 0o644 },
                ReplacementNote::WrittenInPlace { backup: Some(backup.clone()) }
            ]
        );
        assert_eq!(fs::metadata(&file).unwrap().ino(), before);
        assert_eq!(bytes(&source), b"new");
        assert_eq!(bytes(&backup), b"rather long old content");
        assert_eq!((subprocess::mode(&backup), subprocess::mode(&file)), (0o600, 0o600));
        assert_eq!(subprocess::names(&path), ["file", "file.bak", "source"]);
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_mounted_file_is_left_alone_when_there_is_no_space_to_overwrite_it() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        mount_memory(&path, "size=256k");
        let (source, file) = (path.join("source"), path.join("file"));
        fs::write(&source, "old").unwrap();
        fs::write(&file, "").unwrap();
        mount_file(&source, &file);
        fill(&path.join("filler"));
        for outcome in [
            reserve(&file, 9000, MountPolicy::InPlace).map(drop),
            replace_with(&file, &[b'n'; 9000], Links::Follow, MountPolicy::InPlace, FileMode::Private)
                .map(drop),
        ] {
            assert!(matches!(outcome, Err(Error::NoSpace { .. })), "{outcome:?}");
        }
        assert_eq!(bytes(&file), b"old");
        assert!(leftovers(&path).is_empty());
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_mounted_file_in_a_read_only_folder_is_overwritten_without_a_copy() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let (source, inner) = (path.join("source"), path.join("inner"));
        fs::write(&source, "old").unwrap();
        fs::create_dir(&inner).unwrap();
        mount_memory(&inner, "size=64k");
        let file = inner.join("file");
        fs::write(&file, "").unwrap();
        mount_file(&source, &file);
        subprocess::run("mount", &[&"-o", &"remount,bind,ro", &inner]);
        let notes =
            replace_with(&file, b"new", Links::Follow, MountPolicy::InPlace, FileMode::Private).unwrap();
        assert!(notes.contains(&ReplacementNote::WrittenInPlace { backup: None }), "{notes:?}");
        assert_eq!(bytes(&source), b"new");
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", folder.path(), &RunAs::MountNamespace);
}
