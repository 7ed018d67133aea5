//! Homes that are missing, unreadable, read-only, or have invalid files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Folder, TestHome, snapshot_filters};

const API_KEY: &str = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#;
const EVERY_COMMAND: [&[&str]; 6] = [
    &["status"],
    &["token"],
    &["login", "--with-api-key"],
    &["logout"],
    &["migrate", "--to", "file"],
    &["login", "status", "--json"],
];

#[test]
fn a_missing_codex_home_is_an_error_and_is_not_created() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    let file = home.write("file", "content");
    let mut output = String::new();
    for place in [home.file("missing"), file, home.file("file/below")] {
        for arguments in EVERY_COMMAND {
            let run = home.codex(arguments.iter().copied()).env("CODEX_HOME", &place);
            let err = run.input("sk-new").run().refused(1).err;
            if !output.contains(&err) {
                output.push_str(&err);
            }
        }
    }
    insta::assert_snapshot!(output, @r"
    error: CODEX_HOME points to [home]/missing, which does not exist; create the folder or unset CODEX_HOME
    error: CODEX_HOME points to [home]/file, which is not a folder; correct or unset CODEX_HOME
    error: CODEX_HOME points to [home]/file/below, which is not a folder; correct or unset CODEX_HOME
    ");
    assert_eq!(home.names(), ["file"]);
}

/// Messages up to the owner of a file, who is another user only where root runs the tests.
fn without_owner(err: &str) -> String {
    let end = "cannot be read by this user";
    let cut = |line: &str| line.find(end).map_or(line.len(), |start| start + end.len());
    err.lines().map(|line| line[..cut(line)].to_owned() + "\n").collect()
}

#[test]
fn an_unreadable_home_is_an_error_that_names_it() {
    let folder = Folder::new();
    let home = folder.home(0o000);
    let mut output = String::new();
    for arguments in EVERY_COMMAND {
        let err = folder.codex(&home, arguments.iter().copied()).input("sk-new").run().refused(5).err;
        let err = err.replace(home.to_str().unwrap(), "[home]");
        let err = without_owner(&err);
        if !output.contains(&err) {
            output.push_str(&err);
        }
    }
    insta::assert_snapshot!(output, @r"
    error: [home]/codex-auth/accounts.toml cannot be read by this user
    ");
}

#[test]
fn an_unreadable_document_is_an_error_and_not_a_logged_out_state() {
    let folder = Folder::new();
    let home = folder.home(0o777);
    let document = home.join("auth.json");
    fs::write(&document, API_KEY).unwrap();
    fs::set_permissions(&document, fs::Permissions::from_mode(0o000)).unwrap();
    let mut output = String::new();
    for arguments in EVERY_COMMAND {
        let err = folder.codex(&home, arguments.iter().copied()).input("sk-new").run().refused(5).err;
        let err = err.replace(home.to_str().unwrap(), "[home]");
        let err = without_owner(&err);
        if !output.contains(&err) {
            output.push_str(&err);
        }
    }
    insta::assert_snapshot!(output, @r"
    error: [home]/auth.json cannot be read by this user
    error: the copy in [home]/auth.json was not removed: [home]/auth.json cannot be read by this user
    hint: then run again: codex logout
    ");
    fs::set_permissions(&document, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::read_to_string(document).unwrap(), API_KEY);
}

#[test]
fn a_home_without_write_permission_is_read_and_not_changed() {
    let folder = Folder::new();
    let home = folder.home(0o755);
    fs::write(home.join("auth.json"), API_KEY).unwrap();
    fs::set_permissions(home.join("auth.json"), fs::Permissions::from_mode(0o644)).unwrap();
    folder.set_mode(0o555);
    folder.codex(&home, ["status"]).run().expect(0);
    assert_eq!(folder.codex(&home, ["token"]).run().expect(0).out, "sk-test\n");
    let mut output = String::new();
    for arguments in [&["login", "--with-api-key"][..], &["logout"], &["migrate", "--to", "file"]] {
        let err = folder.codex(&home, arguments.iter().copied()).input("sk-new").run().refused(5).err;
        output.push_str(&format!("{}: {}", arguments[0], err.replace(home.to_str().unwrap(), "[home]")));
    }
    insta::assert_snapshot!(output, @r"
    login: error: [home] is read-only: a login in it can be used, but not stored, refreshed or removed
    hint: make the folder and the file writable for this user
    logout: error: [home] is read-only: a login in it can be used, but not stored, refreshed or removed
    hint: make the folder and the file writable for this user
    migrate: error: [home]/auth.json cannot be changed here; make its folder writable for this user
    hint: make the folder and the file writable for this user
    ");
    assert_eq!(fs::read_to_string(home.join("auth.json")).unwrap(), API_KEY);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
}

#[test]
fn a_home_keeps_its_mode() {
    let home = TestHome::new();
    for mode in [0o700, 0o750, 0o755, 0o2775] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        home.codex(["login", "--with-api-key"]).input("sk-test").run().expect(0);
        assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn an_invalid_configuration_is_an_error_with_the_line_number_and_no_quote() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.write("auth.json", API_KEY);
    let mut output = String::new();
    for config in [
        b"model = \"o5\"\nauth_token = \"sk-marked\nother = 1\n".as_slice(),
        b"auth_token = sk-marked\n",
        b"\"sk-marked\n",
        b"[sk-marked\n",
        b"sk-marked = 1\nsk-marked = 2\n",
        b"auth_token = \"sk-marked\xff\"\n",
        b"cli_auth_credentials_store = \"sk-marked\"\n",
        b"cli_auth_credentials_store = [\"file\"]\n",
    ] {
        home.write("config.toml", config);
        let before = home.tree();
        // A logout does without the file.
        for arguments in EVERY_COMMAND.iter().filter(|arguments| arguments[0] != "logout") {
            for verbose in [None, Some("-v")] {
                let line = arguments.iter().copied().chain(verbose);
                let ended = home.codex(line).input("sk-new").run().expect(1);
                assert!(!ended.to_string().contains("marked"), "{ended}");
                assert_eq!(home.tree(), before, "{arguments:?}");
            }
        }
        output.push_str(&home.codex(["token"]).run().refused(1).err);
    }
    insta::assert_snapshot!(output, @r#"
    error: cannot parse [home]/config.toml: line 2 is not valid TOML: invalid basic string, expected `"`
    error: cannot parse [home]/config.toml: line 1 is not valid TOML: string values must be quoted, expected literal string
    error: cannot parse [home]/config.toml: line 1 is not valid TOML: key with no value, expected `=`
    error: cannot parse [home]/config.toml: line 1 is not valid TOML: unclosed table, expected `]`
    error: cannot parse [home]/config.toml: line 2 is not valid TOML: duplicate key
    error: cannot parse [home]/config.toml: line 1 is not valid TOML: it is not UTF-8
    error: cannot parse [home]/config.toml: cli_auth_credentials_store must be one of "file", "keyring", "auto", "ephemeral"
    error: cannot parse [home]/config.toml: cli_auth_credentials_store must be one of "file", "keyring", "auto", "ephemeral"
    "#);
}

#[test]
fn an_invalid_state_file_is_replaced_and_the_login_stays() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.codex(["login", "--with-api-key"]).input("sk-test").run().expect(0);
    let state = home.file("codex-auth/state.json");
    for garbage in
        [b"".as_slice(), b"{\"generation\": \"marked", b"[1]", b"\xff\xfe", b"{\"spent\":[\"marked\"]}"]
    {
        fs::write(&state, garbage).unwrap();
        assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-test\n");
        for arguments in [&["status"][..], &["login", "--with-api-key"], &["logout"]] {
            let ended = home.codex(arguments.iter().copied()).input("sk-test").run().expect(0);
            assert!(!ended.err.contains("marked") && !ended.err.contains("panicked"), "{ended}");
        }
        home.codex(["login", "--with-api-key"]).input("sk-test").run().expect(0);
        serde_json::from_slice::<serde_json::Value>(&fs::read(&state).unwrap()).unwrap();
    }
    fs::write(&state, "{").unwrap();
    insta::assert_snapshot!(home.codex(["login", "--with-api-key"]).input("sk-test").run().err, @r"
    logged in with an API key, in place of the old login
    stored in the file store, [home]/auth.json (it already holds a login)
    warning: cannot parse [home]/codex-auth/state.json, which will be replaced: EOF while parsing an object at line 1 column 1
    ");
}

#[test]
fn an_obstacle_in_place_of_a_file_is_named_and_kept() {
    let mut output = String::new();
    for (name, is_folder) in [
        ("codex-auth", false),
        ("codex-auth/refresh.lock", true),
        ("codex-auth/state.json", true),
        ("auth.lock", true),
        ("auth.json.lock", true),
        ("config.toml", true),
    ] {
        let home = TestHome::new();
        home.write("auth.json", API_KEY);
        fs::create_dir(home.file("codex-auth")).unwrap();
        if is_folder {
            fs::create_dir(home.file(name)).unwrap();
        } else {
            fs::remove_dir(home.file(name)).unwrap();
            home.write(name, "");
        }
        let ended = home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-new").run();
        assert!(matches!(ended.code, Some(1 | 5)) && ended.err.contains(name), "{name}: {ended}");
        let code = ended.code.unwrap();
        output.push_str(&format!(
            "{code} {}",
            ended.refused(code).err.replace(home.path().to_str().unwrap(), "[home]")
        ));
        assert_eq!(fs::symlink_metadata(home.file(name)).unwrap().is_dir(), is_folder);
        let kept = home.read("auth.json");
        assert!(kept == API_KEY || kept.contains("sk-new"), "{kept}");
    }
    insta::assert_snapshot!(output, @r"
    5 error: [home]/codex-auth is not a directory; move it out of the way
    5 error: [home]/codex-auth/refresh.lock is not a regular file and cannot be a lock; remove it
    1 error: [home]/codex-auth/state.json is not a regular file; move it out of the way
    5 error: [home]/auth.lock is not a regular file and cannot be a lock; remove it
    5 error: [home]/auth.json.lock is not a regular file and cannot be a lock; remove it
    1 error: [home]/config.toml is not a regular file; move it out of the way
    ");
}

// Linux: file names that are not UTF-8.
#[cfg(target_os = "linux")]
#[test]
fn a_home_whose_path_is_not_utf8_works_in_every_command() {
    use crate::support::Run;

    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use crate::app_server::client::Client;
    use crate::keeper::process::{AT_WORK, Process};

    let home = TestHome::new();
    let folder = home.path().join(OsStr::from_bytes(b"not\xffutf8"));
    fs::create_dir(&folder).unwrap();
    // The same folder as CODEX_HOME, and as the default home of a user whose HOME is not UTF-8.
    fs::create_dir(folder.join(".codex")).unwrap();
    let by_variable = |run: Run| run.env("CODEX_HOME", &folder);
    let by_default = |run: Run| run.without("CODEX_HOME").env("HOME", &folder);
    let ways: [&dyn Fn(Run) -> Run; 2] = [&by_variable, &by_default];
    for in_home in ways {
        let run = |words: &str| in_home(home.codex(words.split_whitespace())).run();
        in_home(home.codex(["login", "--with-api-key", "--store", "file"])).input("sk-1").run().expect(0);
        for words in [
            "status",
            "status --json",
            "login status",
            "token",
            "token --json",
            "refresh",
            "refresh --json",
            "migrate --to file",
            "migrate --to file --json",
            "doctor",
            "doctor --json",
            "doctor --fix",
            "sync status",
            "sync status --json",
            "sync install --dry-run",
            "sync uninstall --dry-run",
            "transaction",
        ] {
            let ended = run(words);
            assert!(!ended.err.contains("panicked") && ended.code != Some(101), "{words}: {ended}");
            if words.ends_with("--json") {
                let place = ended.json()["home"].as_str().unwrap().to_owned();
                assert!(place.contains("not\u{fffd}utf8"), "{words}: {place}");
            }
        }
        assert_eq!(run("token").out, "sk-1\n");

        let keeper = Process::start(in_home(home.codex(["sync", "run"])));
        keeper.until(AT_WORK);
        assert_eq!(run("token --json").expect(0).json()["token"], "sk-1");
        assert_eq!(run("sync status --json").expect(0).json()["running"], true);
        keeper.signal("-TERM");
        assert_eq!(keeper.wait().0, Some(0));

        let mut editor = Client::start(in_home(home.codex(["app-server"])).into_command());
        let initialized = editor.initialize(&serde_json::json!({}));
        assert!(initialized.to_string().contains("not\u{fffd}utf8"), "{initialized}");
        assert_eq!(editor.call("account/read", serde_json::json!({}))["account"]["type"], "apiKey");
        drop(editor);

        assert_eq!(run("logout --json").expect(0).json()["logged_out"], true);
    }
}
