//! Homes on read-only mounts, and documents that are mount points.

use crate::support::{Mounted, TestHome, snapshot_filters};

const API_KEY: &str = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#;
#[test]
fn a_home_on_a_read_only_mount_is_read_and_not_changed() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.codex(["login", "--with-api-key"]).input("sk-test").run().expect(0);
    let before = home.tree();
    let read_only = "mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"";
    let mounted = Mounted::by(home, read_only);
    mounted.codex(["status"]).run().expect(0);
    assert_eq!(mounted.codex(["token"]).run().expect(0).out, "sk-test\n");
    let mut output = String::new();
    for arguments in [&["login", "--with-api-key"][..], &["logout"], &["migrate", "--to", "file"]] {
        let err = mounted.codex(arguments.iter().copied()).input("sk-new").run().refused(5).err;
        output.push_str(&format!("{}: {err}", arguments[0]));
    }
    insta::assert_snapshot!(output, @r"
    login: error: [home] is read-only: a login in it can be used, but not stored, refreshed or removed
    hint: make the folder and the file writable for this user
    logout: error: [home] is read-only: a login in it can be used, but not stored, refreshed or removed
    hint: make the folder and the file writable for this user
    migrate: error: [home]/auth.json cannot be changed here; make its folder writable for this user
    hint: make the folder and the file writable for this user
    ");
    assert_eq!(mounted.home.tree(), before);
}

#[test]
fn a_document_that_is_a_mount_point_is_written_in_place_only_by_a_login_with_a_warning() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.write("auth.json", API_KEY);
    home.write("config.toml", "cli_auth_credentials_store = \"file\"\n");
    let mounted = Mounted::by(home, "mount --bind \"$home/auth.json\" \"$home/auth.json\"");
    insta::assert_snapshot!(mounted.codex(["login", "--with-api-key"]).input("sk-new").run(), @r"
    exit 0
    --- stdout
    --- stderr
    logged in with an API key, in place of the old login
    stored in the file store, [home]/auth.json (config.toml says so)
    warning: [home]/auth.json is a mount point and was written in place (the old content is in [home]/auth.json.bak); mount its folder instead
    ");
    assert!(mounted.home.read("auth.json").contains("sk-new"));
    insta::assert_snapshot!(mounted.codex(["logout"]).run(), @r"
    exit 5
    --- stdout
    --- stderr
    error: the copy in [home]/auth.json was not removed: [home]/auth.json is mounted by itself and cannot be replaced safely; mount the folder instead of the file
    hint: mount the folder into the container, not the file
    hint: then run again: codex logout
    ");
    assert!(mounted.home.read("auth.json").contains("sk-new"));
}
