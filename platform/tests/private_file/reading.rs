//! Tests which files can be read, and which changes a stamp detects.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use codex_auth_platform::private_file::{Error, Exposure, Links, ownership, read, resolve, stamp};

use crate::subprocess;
use crate::{MANY, bytes, replace};

#[test]
fn a_missing_file_is_not_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let below = folder.path().join("missing/file");
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    for (path, links) in
        [(&path, Links::Refuse), (&below, Links::Follow), (&folder.path().join("dangling"), Links::Follow)]
    {
        assert!(read(path, MANY, links).unwrap().is_none());
        assert_eq!(stamp(path, links).unwrap(), None);
    }
}

#[test]
fn a_file_is_read_whole_up_to_its_limit_and_not_beyond() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for size in [0, 1, 4095, 4096, 100_000_u64] {
        let content = vec![b'x'; usize::try_from(size).unwrap()];
        fs::write(&path, &content).unwrap();
        let found = read(&path, size, Links::Refuse).unwrap().unwrap();
        assert_eq!(*found.bytes, content);
        assert_eq!(found.owner, fs::metadata(&path).unwrap().uid());
        if size > 0 {
            let outcome = read(&path, size - 1, Links::Refuse);
            assert!(
                matches!(outcome, Err(Error::TooLarge { limit, .. }) if limit == size - 1),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn a_file_of_unknown_length_is_read_whole() {
    // Its metadata reports a length of 0.
    let status = Path::new("/proc/self/status");
    if cfg!(target_os = "linux") {
        let found = read(status, MANY, Links::Refuse).unwrap().unwrap();
        assert!(found.bytes.len() > 512 && found.bytes.ends_with(b"\n"));
        let outcome = read(status, 100, Links::Refuse);
        assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{outcome:?}");
    }
}

#[test]
fn only_a_regular_file_is_read_and_a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    subprocess::run("mkfifo", &[&pipe]);
    symlink(&pipe, folder.path().join("link")).unwrap();
    for path in [folder.path(), &pipe, &folder.path().join("link"), Path::new("/dev/null")] {
        let outcome = read(path, MANY, Links::Follow);
        assert!(matches!(outcome, Err(Error::NotAFile { .. })), "{}: {outcome:?}", path.display());
        let outcome = stamp(path, Links::Follow);
        assert!(matches!(outcome, Err(Error::NotAFile { .. })), "{}: {outcome:?}", path.display());
    }
}

#[test]
fn the_exposure_of_a_file_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    for (mode, expected) in [
        (0o600, Exposure::Private),
        (0o400, Exposure::Private),
        (0o640, Exposure::Loose { mode: 0o640 }),
        (0o604, Exposure::Loose { mode: 0o604 }),
        (0o610, Exposure::Loose { mode: 0o610 }),
    ] {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(read(&path, MANY, Links::Refuse).unwrap().unwrap().exposure, expected);
        let found = ownership(&path, Links::Refuse).unwrap().unwrap();
        assert_eq!((found.exposure, found.mode), (expected, mode));
    }
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let found = ownership(folder.path(), Links::Refuse).unwrap().unwrap();
    assert_eq!((found.mode, found.owner), (0o711, fs::metadata(folder.path()).unwrap().uid()));
    symlink("file", folder.path().join("link")).unwrap();
    let found = ownership(&folder.path().join("link"), Links::Follow).unwrap().unwrap();
    assert_eq!(found.path, path);
    assert!(matches!(ownership(&folder.path().join("link"), Links::Refuse), Err(Error::Link { .. })));
    assert_eq!(ownership(&folder.path().join("nothing"), Links::Follow).unwrap(), None);
}

#[test]
fn debug_of_contents_shows_no_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "rosebud").unwrap();
    let shown = format!("{:?}", read(&path, MANY, Links::Refuse).unwrap().unwrap());
    assert!(shown.contains("exposure"), "{shown}");
    for secret in ["rosebud", "114, 111, 115", "bytes"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_stamp_changes_with_every_change_and_with_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&path, b"same").unwrap();
    let look = || stamp(&path, Links::Refuse).unwrap().unwrap();
    let mut last = look();
    let changes: [&dyn Fn(); 4] = [
        &|| drop(replace(&path, b"same").unwrap()),
        &|| fs::write(&path, "longer than that").unwrap(),
        &|| fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap(),
        &|| drop(replace(&path, b"same").unwrap()),
    ];
    for change in changes {
        assert_eq!(look(), last);
        read(&path, MANY, Links::Refuse).unwrap().unwrap();
        assert_eq!(look(), last, "reading is no change");
        change();
        assert_ne!(look(), last);
        last = look();
    }
}

#[test]
fn a_reader_beside_writers_sees_whole_versions_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let version = |number: u8| vec![b'a' + number; 1000 + usize::from(number) * 5000];
    replace(&path, &version(0)).unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u8)
            .map(|writer| {
                let path = &path;
                scope.spawn(move || {
                    for round in 0..40 {
                        replace(path, &version((round * 2 + writer) % 26)).unwrap();
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            let seen = bytes(&path);
            assert_eq!(seen, version(seen[0] - b'a'));
        }
    });
}

#[test]
fn links_are_followed_to_the_end_or_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("inner")).unwrap();
    fs::write(at("inner/real"), "content").unwrap();
    symlink("inner/hop", at("first")).unwrap();
    symlink("../inner/real", at("inner/hop")).unwrap();
    symlink(at("inner/real"), at("absolute")).unwrap();
    symlink("inner/new", at("dangling")).unwrap();
    for name in ["first", "absolute"] {
        let end = resolve(&at(name), Links::Follow).unwrap();
        assert_eq!(end.canonicalize().unwrap(), at("inner/real").canonicalize().unwrap());
        assert!(!end.is_symlink());
        assert_eq!(bytes(&at(name)), b"content");
        for outcome in [
            read(&at(name), MANY, Links::Refuse).map(drop),
            stamp(&at(name), Links::Refuse).map(drop),
            resolve(&at(name), Links::Refuse).map(drop),
        ] {
            assert!(matches!(&outcome, Err(Error::Link { path }) if *path == at(name)), "{outcome:?}");
        }
    }
    assert_eq!(resolve(&at("dangling"), Links::Follow).unwrap(), at("inner/new"));
    assert_eq!(resolve(&at("inner/real"), Links::Refuse).unwrap(), at("inner/real"));
}

#[test]
fn links_that_form_a_loop_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink("there", at("here")).unwrap();
    symlink("here", at("there")).unwrap();
    let outcome = read(&at("here"), MANY, Links::Follow);
    assert!(matches!(&outcome, Err(Error::LinkLoop { path }) if *path == at("here")), "{outcome:?}");
    assert!(stamp(&at("here"), Links::Follow).is_err());
}
