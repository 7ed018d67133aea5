//! Tests that the checks of a replacement and a removal have the same outcome as the changes themselves.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use codex_auth_platform::private_file::{
    Error, Flag, Links, check_can_create_directory, check_can_remove, check_can_replace, remove,
};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::replace;
use crate::subprocess::{self, OTHER_UID, RunAs, this_test};

/// Sets a flag on a file or folder until it is dropped, so that the folder of the test can be removed.
struct Flagged(PathBuf, IFlags);

impl Flagged {
    fn set(path: &Path, flag: IFlags) -> Self {
        let file = File::open(path).unwrap();
        ioctl_setflags(&file, ioctl_getflags(&file).unwrap() | flag).unwrap();
        Self(path.to_owned(), flag)
    }
}

impl Drop for Flagged {
    fn drop(&mut self) {
        let file = File::open(&self.0).unwrap();
        ioctl_setflags(&file, ioctl_getflags(&file).unwrap() - self.1).unwrap();
    }
}

/// Returns the result of both checks, and asserts that they changed nothing in the folder.
fn checked(path: &Path) -> [Result<(), Error>; 2] {
    let seen = || {
        let folder = path.parent().unwrap();
        let found = fs::metadata(folder).ok()?;
        Some((
            (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()),
            subprocess::names(folder),
        ))
    };
    let before = fs::read_dir(path.parent().unwrap()).is_ok().then(seen);
    let answer = [check_can_replace(path, Links::Follow), check_can_remove(path, Links::Follow)];
    assert_eq!(fs::read_dir(path.parent().unwrap()).is_ok().then(seen), before);
    answer
}

/// Asserts that both checks and both changes fail with the same message, and returns the error.
#[track_caller]
fn refused(path: &Path) -> Error {
    let [replaced, removed] = checked(path);
    let (replaced, removed) = (replaced.unwrap_err(), removed.unwrap_err());
    assert_eq!(replaced.to_string(), replace(path, b"new").unwrap_err().to_string());
    assert_eq!(removed.to_string(), remove(path, Links::Follow).unwrap_err().to_string());
    assert_eq!(std::mem::discriminant(&replaced), std::mem::discriminant(&removed));
    replaced
}

/// Asserts that both checks and both changes succeed.
#[track_caller]
fn allowed(path: &Path) {
    for outcome in checked(path) {
        outcome.unwrap();
    }
    replace(path, b"new").unwrap();
    remove(path, Links::Follow).unwrap();
}

fn write(path: &Path, mode: u32) {
    fs::write(path, "old").unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn mount_memory(path: &Path) {
    subprocess::run("mount", &[&"-t", &"tmpfs", &"none", &path]);
}

#[test]
fn an_own_file_can_be_replaced_and_removed_and_a_missing_one_created() {
    let folder = tempfile::tempdir().unwrap();
    allowed(&folder.path().join("missing"));
    write(&folder.path().join("file"), 0o600);
    symlink("file", folder.path().join("link")).unwrap();
    allowed(&folder.path().join("link"));
    write(&folder.path().join("closed"), 0o000);
    allowed(&folder.path().join("closed"));
}

#[test]
fn a_flag_of_the_file_is_named_with_the_command_that_removes_it() {
    subprocess::require_root();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path, 0o600);
    for (attribute, expected, command) in
        [(IFlags::IMMUTABLE, Flag::Immutable, "chattr -i"), (IFlags::APPEND, Flag::AppendOnly, "chattr -a")]
    {
        let _flag = Flagged::set(&path, attribute);
        let error = refused(&path);
        assert!(
            matches!(&error, Error::Flagged { path: named, flag } if *named == path && *flag == expected),
            "{error:?}"
        );
        assert!(error.is_read_only());
        assert_eq!(
            error.to_string(),
            format!(
                "{0} is marked {expected}, so nothing can be replaced or removed there; as root, run: {command} {0}",
                path.display()
            )
        );
    }
    allowed(&path);
}

#[test]
fn a_flag_of_the_folder_names_the_folder() {
    subprocess::require_root();
    let outer = tempfile::tempdir().unwrap();
    for (attribute, expected) in [(IFlags::IMMUTABLE, "chattr -i "), (IFlags::APPEND, "chattr -a ")] {
        let folder = outer.path().join(expected.trim());
        fs::create_dir(&folder).unwrap();
        write(&folder.join("file"), 0o600);
        let _flag = Flagged::set(&folder, attribute);
        let error = refused(&folder.join("file"));
        assert!(matches!(&error, Error::Flagged { path, .. } if *path == folder), "{error:?}");
        let command = format!("{expected}'{}'", folder.display());
        assert!(error.to_string().contains(&command), "{error} lacks {command}");
        let [replaced, removed] = checked(&folder.join("missing"));
        assert!(matches!(replaced, Err(Error::Flagged { .. })), "{replaced:?}");
        assert!(matches!(replace(&folder.join("missing"), b"x"), Err(Error::Flagged { .. })));
        removed.unwrap();
    }
}

#[test]
fn a_file_on_a_read_only_file_system_may_not_be_changed() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        mount_memory(&path);
        write(&path.join("file"), 0o600);
        subprocess::run("mount", &[&"-o", &"remount,bind,ro", &path]);
        let error = refused(&path.join("file"));
        let Error::ReadOnly { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        let [replaced, removed] = checked(&path.join("missing"));
        assert!(matches!(replaced, Err(Error::ReadOnly { .. })), "{replaced:?}");
        removed.unwrap();
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "reader", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_file_that_is_a_mount_point_may_not_be_changed_and_one_in_a_mounted_folder_may() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let at = |name: &str| path.join(name);
        for name in ["source", "file", "self", "shadowed"] {
            write(&at(name), 0o600);
        }
        subprocess::run("mount", &[&"--bind", &at("source"), &at("file")]);
        subprocess::run("mount", &[&"--bind", &at("self"), &at("self")]);
        for name in ["file", "self"] {
            let error = refused(&at(name));
            assert!(matches!(&error, Error::MountPoint { path } if *path == at(name)), "{error:?}");
        }
        allowed(&at("source"));

        // Mounts the folder again elsewhere, and another folder over that.
        fs::create_dir(at("elsewhere")).unwrap();
        subprocess::run("mount", &[&"--bind", &path, &at("elsewhere")]);
        allowed(&at("elsewhere/shadowed"));
        mount_memory(&at("elsewhere"));
        write(&at("elsewhere/shadowed"), 0o600);
        allowed(&at("elsewhere/shadowed"));
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "mounter", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_file_that_is_a_mount_point_in_another_view_of_its_folder_may_not_be_changed() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let at = |name: &str| path.join(name);
        for folder in ["real", "view"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for name in ["source", "real/file", "real/other"] {
            write(&at(name), 0o600);
        }
        subprocess::run("mount", &[&"--bind", &at("real"), &at("view")]);
        subprocess::run("mount", &[&"--bind", &at("source"), &at("view/file")]);
        let error = refused(&at("real/file"));
        assert!(matches!(error, Error::MountPoint { .. }), "{error:?}");
        allowed(&at("real/other"));
        subprocess::run("umount", &[&at("view/file")]);
        allowed(&at("real/file"));
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "mounter", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_sticky_folder_keeps_a_file_for_its_owner() {
    let name = this_test!();
    if let Some((role, path)) = subprocess::role() {
        if role == "namespace root" {
            let error = refused(&path.join("of other user"));
            assert!(matches!(error, Error::ForeignOwner { uid: OTHER_UID, .. }), "{error:?}");
            return subprocess::report_done();
        }
        let error = refused(&path.join("of root"));
        assert!(matches!(error, Error::ForeignOwner { uid: 0, .. }), "{error:?}");
        assert!(error.to_string().contains("belongs to user 0"), "{error}");
        allowed(&path.join("of other user"));
        return subprocess::report_done();
    }
    subprocess::require_root();
    let folder = subprocess::open_folder();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    for name in ["of root", "of other user"] {
        write(&folder.path().join(name), 0o666);
    }
    chown(folder.path().join("of other user"), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    // In a namespace whose root owns the folder and may change everything in it.
    chown(folder.path(), Some(1), Some(1)).unwrap();
    subprocess::run_role(name, "namespace root", folder.path(), &RunAs::NamespaceRoot);
    subprocess::run_role(name, "other user", folder.path(), &RunAs::OtherUser);
    write(&folder.path().join("of other user"), 0o600);
    chown(folder.path().join("of other user"), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    allowed(&folder.path().join("of other user"));
}

#[test]
fn a_folder_that_this_user_may_not_write_to_or_search_refuses() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        for folder in ["readable", "writable but closed", "unreadable"] {
            let error = refused(&path.join(folder).join("file"));
            let unsearchable = folder == "writable but closed";
            assert_eq!(matches!(error, Error::Unreadable { .. }), unsearchable, "{folder}: {error:?}");
            assert_eq!(matches!(error, Error::ReadOnly { .. }), !unsearchable, "{folder}: {error:?}");
        }
        check_can_remove(&path.join("readable/missing"), Links::Follow).unwrap();
        return subprocess::report_done();
    }
    subprocess::require_root();
    let folder = subprocess::open_folder();
    for (name, mode) in [("readable", 0o755), ("writable but closed", 0o666), ("unreadable", 0o733)] {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        write(&folder.join("file"), 0o666);
        fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
    }
    subprocess::run_role(name, "other user", folder.path(), &RunAs::OtherUser);
}

#[test]
fn a_file_that_cannot_be_given_to_the_owner_of_its_folder_may_not_be_replaced() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let replaced = check_can_replace(&path.join("file"), Links::Refuse);
        assert!(matches!(replaced, Err(Error::ForeignOwner { .. })), "{replaced:?}");
        assert!(matches!(replace(&path.join("file"), b"new"), Err(Error::ForeignOwner { .. })));
        check_can_remove(&path.join("file"), Links::Refuse).unwrap();
        return subprocess::report_done();
    }
    let folder = subprocess::folder_of_other_user();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    write(&folder.path().join("file"), 0o600);
    check_can_replace(&folder.path().join("file"), Links::Refuse).unwrap();
    subprocess::run_role(name, "namespace root", folder.path(), &RunAs::NamespaceRoot);
}

#[test]
fn only_a_regular_file_can_be_replaced_or_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    subprocess::run("mkfifo", &[&at("pipe")]);
    for name in ["folder", "pipe"] {
        let error = refused(&at(name));
        assert!(matches!(error, Error::NotAFile { .. }), "{name}: {error:?}");
    }
    symlink("nothing", at("link")).unwrap();
    for outcome in
        [check_can_replace(&at("link"), Links::Refuse), check_can_remove(&at("link"), Links::Refuse)]
    {
        assert!(matches!(outcome, Err(Error::Link { .. })), "{outcome:?}");
    }
    symlink("circle", at("circle")).unwrap();
    assert!(matches!(refused(&at("circle")), Error::LinkLoop { .. }));

    let missing = at("missing/file");
    let replaced = check_can_replace(&missing, Links::Follow).unwrap_err();
    assert_eq!(replaced.to_string(), replace(&missing, b"x").unwrap_err().to_string());
    let Error::Io { source, .. } = replaced else { panic!("{replaced:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    check_can_remove(&missing, Links::Follow).unwrap();
}

#[test]
fn a_folder_that_another_process_creates_during_the_check_is_no_obstacle() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("folder");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
                fs::remove_dir(&path).unwrap();
            }
        });
        let outcome = (0..20_000).try_for_each(|_| match check_can_create_directory(&path) {
            // Between its creation and its mode, the folder of this test is not private.
            Err(Error::NotAFile { .. }) => Err("a folder was taken for a file"),
            _ => Ok(()),
        });
        ended.store(true, Ordering::SeqCst);
        outcome.unwrap();
    });
}

#[test]
fn a_check_leaves_temporary_files_of_killed_writers() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".file.0123456789abcdef.tmp"), "half").unwrap();
    for outcome in checked(&folder.path().join("file")) {
        outcome.unwrap();
    }
    assert_eq!(subprocess::names(folder.path()), [".file.0123456789abcdef.tmp"]);
}

#[test]
fn a_check_that_a_system_call_filter_forbids_counts_as_allowed() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        for outcome in checked(&path.join("file")) {
            outcome.unwrap();
        }
        let outcome = replace(&path.join("file"), b"new");
        assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        return subprocess::report_done();
    }
    subprocess::require_root();
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("file"), 0o600);
    let _flag = Flagged::set(&folder.path().join("file"), IFlags::IMMUTABLE);
    for script in [
        r#"exec strace -f -o /dev/null -e inject=statx,faccessat,faccessat2:error=EPERM "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=statx,faccessat,faccessat2:error=ENOSYS "$0" "$@""#,
    ] {
        subprocess::run_role(name, "filtered", folder.path(), &RunAs::Shell(script));
    }
}
