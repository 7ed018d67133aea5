//! Tests file system types, mount points and file ids on real mounts.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is set up with the tools of Linux")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod subprocess;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use codex_auth_platform::filesystem::{
    FileSystemKind, MountPoint, WatchSupport, describe, identity, is_mount_point, watch_support,
};
use subprocess::{RunAs, this_test};

#[test]
fn a_missing_path_is_on_the_file_system_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let expected = describe(folder.path()).unwrap();
    assert_eq!(describe(&folder.path().join("missing")).unwrap(), expected);
    let error = describe(&folder.path().join("missing/file")).unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing/file"), "{error}");
}

#[test]
fn an_unreadable_path_is_polled() {
    let WatchSupport::Poll { reason } = watch_support(Path::new("/nowhere/at/all")) else {
        panic!("it is watched")
    };
    assert!(reason.contains("/nowhere/at/all"), "{reason}");
}

#[test]
fn the_root_is_a_mount_point_and_a_new_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(is_mount_point(Path::new("/")).unwrap(), MountPoint::Yes);
    for path in [&file, folder.path(), &folder.path().join("missing")] {
        assert_eq!(is_mount_point(path).unwrap(), MountPoint::No, "{}", path.display());
    }
}

#[test]
fn a_replaced_file_has_another_id_and_a_rewritten_one_keeps_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other, link] = ["file", "other", "link"].map(|name| folder.path().join(name));
    assert_eq!(identity(&file), None);
    fs::write(&file, "one").unwrap();
    let first = identity(&file).unwrap();
    fs::write(&file, "two").unwrap();
    assert_eq!(identity(&file), Some(first));
    symlink(&file, &link).unwrap();
    assert_eq!(identity(&link), Some(first), "links are followed");
    fs::write(&other, "two").unwrap();
    let second = identity(&other).unwrap();
    fs::rename(&other, &file).unwrap();
    assert_ne!(first, second);
    assert_eq!((identity(&file), identity(&link)), (Some(second), Some(second)));
    fs::remove_file(&file).unwrap();
    assert_eq!((identity(&file), identity(&link)), (None, None));
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_recognized_and_watched_natively() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        for (name, kind) in [("tmpfs", FileSystemKind::Memory), ("ramfs", FileSystemKind::Memory)] {
            subprocess::run("mount", &[&"-t", &name, &"none", &path]);
            let found = describe(&path).unwrap();
            assert_eq!((found.kind, found.name.as_str()), (kind, name));
            assert_eq!(watch_support(&path), WatchSupport::Native);
            subprocess::run("umount", &[&path]);
        }
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "watcher", folder.path(), &RunAs::MountNamespace);
}

#[cfg(target_os = "linux")]
#[test]
fn procfs_is_an_unknown_file_system() {
    let found = describe(Path::new("/proc/self/status")).unwrap();
    assert_eq!((found.kind, found.name.as_str()), (FileSystemKind::Unknown, "0x9fa0"));
    let WatchSupport::Poll { reason } = watch_support(Path::new("/proc")) else { panic!("it is watched") };
    assert!(reason.contains("0x9fa0"), "{reason}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_single_file_that_is_mounted_is_a_mount_point_even_on_the_same_disk() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let at = |name: &str| path.join(name);
        for name in ["source", "with blank", "plain"] {
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir(at("folder")).unwrap();
        symlink("with blank", at("link")).unwrap();
        subprocess::run("mount", &[&"--bind", &at("source"), &at("with blank")]);
        subprocess::run("mount", &[&"--bind", &path, &at("folder")]);
        for (name, expected) in [
            ("with blank", MountPoint::Yes),
            ("folder", MountPoint::Yes),
            ("source", MountPoint::No),
            ("plain", MountPoint::No),
            ("link", MountPoint::No),
        ] {
            assert_eq!(is_mount_point(&at(name)).unwrap(), expected, "{name}");
        }
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "watcher", folder.path(), &RunAs::MountNamespace);
}
