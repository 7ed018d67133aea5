//! Homes of other owners: root in the home of another user, a file that is a mount point, a read-only folder.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use crate::support::session::{PrivateSession, inside};
use crate::support::{Ended, Mounted, Run, TestHome, here, items};

/// Two different users, neither of them root.
const OWNER: u32 = 12_345;
const OTHER_OWNER: u32 = 12_346;

fn file_of(key: &str) -> String {
    format!("{{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"{key}\"\n}}")
}

fn login(home: &TestHome, key: &str) -> Run {
    home.codex(["login", "--store", "file", "--with-api-key"]).input(key)
}

/// Returns everything in a folder, itself included, that does not belong to `uid`.
fn not_owned_by(folder: &Path, uid: u32) -> Vec<PathBuf> {
    let mut strange = Vec::new();
    let mut paths = vec![folder.to_owned()];
    while let Some(path) = paths.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if (found.uid(), found.gid()) != (uid, uid) {
            strange.push(path);
        }
    }
    strange
}

/// Asserts that the owner can log in, read the token and log out.
fn assert_owner_can_continue(home: &TestHome) {
    let as_owner = |run: Run| -> Ended { run.by_user(OWNER).run() };
    as_owner(login(home, "sk-owner")).expect(0);
    assert_eq!(as_owner(home.codex(["token"])).expect(0).out, "sk-owner\n");
    as_owner(home.codex(["logout", "--local"])).expect(0);
    as_owner(home.codex(["status"])).expect(1);
    as_owner(login(home, "sk-again")).expect(0);
    assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
}

#[test]
fn files_that_root_creates_in_the_home_of_another_user_belong_to_that_user() {
    let home = TestHome::new().owned_by(OWNER);
    for key in ["sk-first", "sk-second"] {
        login(&home, key).run().expect(0);
        assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
        let token = home.codex(["token"]).by_user(OWNER).run().expect(0);
        assert_eq!(token.out, format!("{key}\n"));
    }
    assert_owner_can_continue(&home);
    home.codex(["logout", "--local"]).run().expect(0);
    assert_eq!(home.names(), ["auth.json.lock", "auth.lock", "codex-auth"]);
    assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
    assert_owner_can_continue(&home);
}

#[test]
fn a_migration_by_root_keeps_the_owner_of_every_file() {
    let session = PrivateSession::unlocked();
    let home = TestHome::within(&session).owned_by(OWNER);
    login(&home, "sk-1").run().expect(0);
    home.codex(["migrate", "--to", "keychain"]).run().expect(0);
    assert_eq!(home.names(), ["auth.json.lock", "auth.lock", "codex-auth", "config.toml"]);
    assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
    home.codex(["migrate", "--to", "file"]).run().expect(0);
    assert_eq!(home.read("auth.json"), file_of("sk-1"));
    assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
    assert_eq!(home.codex(["token"]).by_user(OWNER).run().expect(0).out, "sk-1\n");
    assert_owner_can_continue(&home);
}

#[test]
fn a_login_by_root_gives_older_files_of_root_to_the_owner_of_the_home() {
    let home = TestHome::new().owned_by(OWNER);
    for name in ["auth.json", "auth.lock", "auth.json.lock"] {
        home.write(name, if name == "auth.json" { file_of("sk-old") } else { String::new() });
        assert_eq!(fs::metadata(home.file(name)).unwrap().uid(), 0, "the tests run as root");
    }
    login(&home, "sk-new").run().expect(0);
    assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
    assert_owner_can_continue(&home);
}

#[test]
fn a_configuration_that_root_edits_keeps_its_owner_and_comments() {
    let session = PrivateSession::unlocked();
    let home = TestHome::within(&session).owned_by(OWNER);
    let config = home.write("config.toml", "# mine\nmodel = \"o\" # why\n");
    chown(&config, Some(OWNER), Some(OWNER)).unwrap();
    home.codex(["login", "--store", "keychain", "--with-api-key"]).input("sk-1").run().expect(0);
    assert_eq!(
        home.read("config.toml"),
        "# mine\nmodel = \"o\" # why\ncli_auth_credentials_store = \"keyring\"\n"
    );
    assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
}

#[test]
fn files_beside_a_linked_document_belong_to_the_owner_of_the_home() {
    let home = TestHome::new().owned_by(OWNER);
    let elsewhere = home.beside("elsewhere");
    chown(&elsewhere, Some(OWNER), Some(OWNER)).unwrap();
    link_of_owner(&elsewhere.join("auth.json"), &home.document());
    login(&home, "sk-1").run().expect(0);
    assert_eq!(not_owned_by(&home.path(), OWNER), Vec::<PathBuf>::new());
    assert_eq!(not_owned_by(&elsewhere, OWNER), Vec::<PathBuf>::new());
    assert_eq!(fs::read_to_string(elsewhere.join("auth.json")).unwrap(), file_of("sk-1"));
}

fn link_of_owner(target: &Path, link: &Path) {
    symlink(target, link).unwrap();
    std::os::unix::fs::lchown(link, Some(OWNER), Some(OWNER)).unwrap();
}

#[test]
fn root_follows_no_link_in_the_home_of_another_user_to_a_file_of_a_third() {
    for (owner, file_owner) in [(0, 0), (OTHER_OWNER, OTHER_OWNER), (OWNER, 0)] {
        for name in ["auth.json", "config.toml"] {
            let home = TestHome::new().owned_by(OWNER);
            let elsewhere = home.beside("elsewhere");
            let file = elsewhere.join("precious");
            let content = if name == "auth.json" { file_of("sk-root") } else { "# root's\n".to_owned() };
            fs::write(&file, &content).unwrap();
            chown(&file, Some(file_owner), Some(file_owner)).unwrap();
            chown(&elsewhere, Some(owner), Some(owner)).unwrap();
            link_of_owner(&file, &home.file(name));
            let before = (fs::metadata(&file).unwrap().ino(), home.names());
            for arguments in [
                &["logout", "--local"][..],
                &["logout", "--force"],
                &["login", "--store", "file", "--with-api-key"],
                &["migrate", "--to", "file"],
                &["token"],
                &["status"],
                &["doctor", "--fix"],
            ] {
                let ended = home.codex(arguments.iter().copied()).input("sk-new").run();
                assert!(!ended.out.contains("sk-root"), "{ended}");
                assert_eq!(fs::read_to_string(&file).unwrap(), content, "{arguments:?}: {ended}");
                assert_eq!(fs::metadata(&file).unwrap().ino(), before.0, "{arguments:?}: {ended}");
                assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "{arguments:?}: {ended}");
            }
            let ended = home.codex(["login", "--store", "keychain", "--with-api-key"]).input("sk").run();
            assert_eq!(fs::read_to_string(&file).unwrap(), content, "{ended}");
            let ended = home.codex(["token"]).run().expect(5);
            assert!(ended.err.contains(&format!("of user {OWNER} is not followed to ")), "{ended}");
        }
    }
}

/// Mounts a file outside the home as its `auth.json`; returns that file too.
fn with_a_mounted_file(home: TestHome) -> (Mounted, PathBuf) {
    let outside = home.beside("outside").join("login.json");
    fs::write(&outside, file_of("sk-old")).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
    home.write("auth.json", "");
    let mounted = Mounted::by(home, "mount --bind \"$home/../outside/login.json\" \"$home/auth.json\"");
    (mounted, outside)
}

#[test]
fn a_login_writes_a_file_that_is_a_mount_point_in_place_with_a_backup_and_a_warning() {
    let (mounted, outside) = with_a_mounted_file(TestHome::new());
    let before = fs::metadata(&outside).unwrap().ino();
    let login = ["login", "--store", "file", "--with-api-key"];
    let ended = mounted.codex(login).input("sk-new").run().expect(0);
    assert!(ended.err.contains("is a mount point and was written in place"), "{ended}");
    let backup = mounted.home.file("auth.json.bak");
    assert!(ended.err.contains(&backup.display().to_string()), "{ended}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), file_of("sk-new"));
    assert_eq!(fs::metadata(&outside).unwrap().ino(), before);
    assert_eq!(fs::read_to_string(&backup).unwrap(), file_of("sk-old"));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(mounted.codex(["token"]).run().expect(0).out, "sk-new\n");
}

#[test]
fn a_legacy_token_that_is_removed_from_a_mounted_configuration_is_left_in_no_backup() {
    let home = TestHome::new();
    home.write("config.toml", "model = 'o5'\nauth_token = \"marked\"\n");
    let mounted = Mounted::by(home, "mount --bind \"$home/config.toml\" \"$home/config.toml\"");
    mounted.codex(["logout"]).run().expect(0);
    for (path, _, content) in mounted.home.tree() {
        assert!(!String::from_utf8_lossy(&content).contains("marked"), "{}", path.display());
    }
    assert_eq!(mounted.home.read("config.toml"), "model = 'o5'\n");
}

#[test]
fn a_file_that_is_a_mount_point_is_neither_removed_nor_replaced_by_a_migration() {
    let session = PrivateSession::unlocked();
    let home = TestHome::within(&session);
    home.codex(["login", "--store", "keychain", "--with-api-key"]).input("sk-kept").run().expect(0);
    let (mounted, outside) = with_a_mounted_file(home);
    let ended = mounted.codex(["migrate", "--to", "file"]).run().expect(5);
    assert!(ended.err.contains("hint: mount the folder"), "{ended}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), file_of("sk-old"));
    assert_eq!(mounted.codex(["token"]).run().expect(0).out, "sk-kept\n");

    let ended = mounted.codex(["logout", "--local"]).run().expect(5);
    assert!(ended.err.contains("hint: mount the folder"), "{ended}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), file_of("sk-old"));
}

#[test]
fn a_read_only_home_is_read_and_nothing_is_written_there_or_elsewhere() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        login(&home, "sk-kept").run().expect(0);
        let state = home.read("codex-auth/state.json");
        let names = home.names();
        let remount = "mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"";
        let mounted = Mounted::by(home, remount);
        assert_eq!(mounted.codex(["token"]).run().expect(0).out, "sk-kept\n");
        mounted.codex(["status"]).run().expect(0);
        for arguments in [
            &["login", "--store", "file", "--with-api-key"][..],
            &["login", "--store", "keychain", "--with-api-key"],
            &["logout", "--local"],
            &["migrate", "--to", "keychain"],
            &["migrate", "--to", "keychain", "--dry-run"],
        ] {
            let ended = mounted.codex(arguments.iter().copied()).input("sk-new").run().expect(5);
            assert!(ended.err.contains("hint: "), "{ended}");
            // A command that cannot write the home writes nothing elsewhere.
            assert_eq!(items(&mounted.home), Vec::<Vec<u8>>::new(), "{ended}");
        }
        assert_eq!(mounted.home.names(), names);
        assert_eq!(mounted.home.read("auth.json"), file_of("sk-kept"));
        assert_eq!(mounted.home.read("codex-auth/state.json"), state);
    });
}

#[test]
fn a_read_only_home_without_a_login_counts_as_logged_out() {
    let mounted =
        Mounted::by(TestHome::new(), "mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"");
    mounted.codex(["status"]).run().expect(1);
    mounted.codex(["token"]).run().expect(1);
    let login = ["login", "--store", "file", "--with-api-key"];
    mounted.codex(login).input("sk-1").run().expect(5);
    assert!(mounted.home.names().is_empty());
}
