//! Tests files of several users: what root gives to its owner and what it does not change.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use codex_auth_platform::lock::{FileLock, LockFileMode, Wait};
use codex_auth_platform::peer;
use codex_auth_platform::private_file::{
    Error, Links, MountPolicy, Replacement, ReplacementNote, ReservedFile, create_directory, read, remove,
    rename, repair, resolve,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::subprocess::{self, OTHER_UID, RunAs, this_test};
use crate::{MANY, bytes, replace};

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[test]
fn files_that_root_creates_in_a_users_folder_belong_to_that_user() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        assert_eq!(bytes(&path.join("file")), b"from root");
        replace(&path.join("file"), b"from its owner").unwrap();
        replace(&path.join("a/b/file"), b"x").unwrap();
        return subprocess::report_done();
    }
    let folder = subprocess::folder_of_other_user();
    let path = folder.path().join("file");
    let given = [ReplacementNote::OwnerGiven { uid: OTHER_UID }];
    for _ in 0..2 {
        assert_eq!(replace(&path, b"from root").unwrap(), given);
        assert_eq!((owner(&path), subprocess::mode(&path)), ((OTHER_UID, OTHER_UID), 0o600));
    }
    let reserved = Replacement::reserve(&path, 9, Links::Follow, MountPolicy::Refuse).unwrap();
    for name in subprocess::names(folder.path()) {
        assert_eq!(owner(&folder.path().join(name)), (OTHER_UID, OTHER_UID), "before it has its name");
    }
    assert_eq!(reserved.commit(b"from root").unwrap(), given);
    create_directory(&folder.path().join("a/b")).unwrap();
    for below in ["a", "a/b"] {
        assert_eq!(owner(&folder.path().join(below)), (OTHER_UID, OTHER_UID), "{below}");
    }
    subprocess::run_role(name, "owner", folder.path(), &RunAs::OtherUser);
    assert_eq!(bytes(&path), b"from its owner");
}

#[test]
fn a_file_that_cannot_be_given_to_its_owner_is_not_created() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        assert_eq!(rustix::process::geteuid().as_raw(), 0);
        let outcome = replace(&path.join("file"), b"new");
        assert!(matches!(outcome, Err(Error::ForeignOwner { .. })), "{outcome:?}");
        assert!(outcome.unwrap_err().is_read_only());
        assert!(matches!(create_directory(&path.join("new")), Err(Error::ForeignOwner { .. })));
        return subprocess::report_done();
    }
    let folder = subprocess::folder_of_other_user();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    subprocess::run_role(name, "namespace root", folder.path(), &RunAs::NamespaceRoot);
    assert_eq!(bytes(&path), b"old");
    assert_eq!(subprocess::names(folder.path()), ["file"]);
}

#[test]
fn a_file_of_root_in_a_users_folder_is_not_changed() {
    let folder = subprocess::folder_of_other_user();
    let precious = tempfile::NamedTempFile::new_in(folder.path().parent().unwrap()).unwrap();
    fs::write(precious.path(), "root's own").unwrap();
    fs::set_permissions(precious.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let trap = folder.path().join("file");
    fs::hard_link(precious.path(), &trap).unwrap();
    let outcome = repair(&trap, Links::Follow);
    assert!(matches!(outcome, Err(Error::ForeignOwner { uid: 0, .. })), "{outcome:?}");
    replace(&trap, b"theirs").unwrap();
    assert_eq!(fs::read(precious.path()).unwrap(), b"root's own");
    assert_eq!((owner(precious.path()), subprocess::mode(precious.path())), ((0, 0), 0o644));
    fs::set_permissions(&trap, PermissionsExt::from_mode(0o666)).unwrap();
    repair(&trap, Links::Follow).unwrap();
    assert_eq!(subprocess::mode(&trap), 0o600);
}

#[test]
fn a_link_of_another_user_is_not_followed() {
    subprocess::require_root();
    let folder = subprocess::open_folder();
    let theirs = subprocess::folder_of_other_user();
    for folder in [folder.path(), theirs.path()] {
        fs::write(folder.join("real"), "content").unwrap();
        let owner = fs::metadata(folder).unwrap().uid();
        lchown(folder.join("real"), Some(owner), Some(owner)).unwrap();
        symlink("real", folder.join("link")).unwrap();
        lchown(folder.join("link"), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    }
    let link = folder.path().join("link");
    for outcome in [
        resolve(&link, Links::Follow).map(drop),
        read(&link, MANY, Links::Follow).map(drop),
        replace(&link, b"x").map(drop),
    ] {
        assert!(
            matches!(&outcome, Err(Error::ForeignLink { path, uid: OTHER_UID }) if *path == link),
            "{outcome:?}"
        );
    }
    assert_eq!(bytes(&theirs.path().join("link")), b"content", "followed in a folder of the same user");
}

#[test]
fn a_folder_that_is_not_ours_to_change_is_read_only_and_can_be_read() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        assert_eq!(bytes(&path.join("open")), b"content");
        assert!(matches!(read(&path.join("closed"), MANY, Links::Refuse), Err(Error::Unreadable { .. })));
        for outcome in [
            replace(&path.join("open"), b"x").map(drop),
            Replacement::reserve(&path.join("new"), 1, Links::Refuse, MountPolicy::Refuse).map(drop),
            codex_auth_platform::private_file::remove(&path.join("open"), Links::Refuse).map(drop),
        ] {
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        }
        let outcome = repair(&path.join("open"), Links::Refuse);
        assert!(matches!(outcome, Err(Error::ForeignOwner { uid: 0, .. })), "{outcome:?}");
        return subprocess::report_done();
    }
    let folder = subprocess::open_folder();
    subprocess::require_root();
    for (name, mode) in [("open", 0o644), ("closed", 0o600)] {
        fs::write(folder.path().join(name), "content").unwrap();
        fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    subprocess::run_role(name, "other user", folder.path(), &RunAs::OtherUser);
    assert_eq!(subprocess::names(folder.path()), ["closed", "open"]);
}

#[test]
fn a_folder_that_its_owner_swaps_for_a_link_never_leads_root_into_another_folder() {
    let home = subprocess::folder_of_other_user();
    let roots = subprocess::open_folder();
    fs::write(roots.path().join("precious"), "root's own").unwrap();
    fs::create_dir(home.path().join("records")).unwrap();
    symlink(roots.path(), home.path().join("evil")).unwrap();
    for name in ["records", "evil"] {
        lchown(home.path().join(name), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    }
    let at = |name: &str| home.path().join("records").join(name);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (home.path().join("records"), home.path().join("evil"));
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..300 {
            let _ = replace(&at("replaced"), b"x");
            let _ = ReservedFile::create(&at("reserved"), 64).and_then(|reserved| reserved.write(b"x"));
            let _ = create_directory(&at("folder"));
            let _ = FileLock::acquire(&at("private"), LockFileMode::Private, Wait::No);
            let _ = FileLock::acquire(&at("shared"), LockFileMode::SharedWithFolder, Wait::No);
            let _ = FileLock::seize(&at("seized"));
            let _ = peer::bind(&at("socket"));
            let _ = remove(&at("precious"), Links::Refuse);
            let _ = rename(&at("precious"), "renamed".as_ref());
            let _ = repair(&at("precious"), Links::Refuse);
            let found = read(&at("precious"), MANY, Links::Refuse);
            assert!(!matches!(found, Ok(Some(_))), "root's file was read");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(subprocess::names(roots.path()), ["precious"]);
    assert_eq!(subprocess::mode(&roots.path().join("precious")), 0o644);
}
