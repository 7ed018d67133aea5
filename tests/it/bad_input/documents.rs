//! An invalid `auth.json` or keychain item.

use std::fs;
use std::process::Command;

use crate::support::{Machine, TestHome, jwt, now, over_both_stores, snapshot_filters};

over_both_stores![
    an_invalid_document_is_named_and_kept,
    an_invalid_document_is_not_migrated_and_is_replaced_by_a_login_and_removed_by_a_logout,
    a_document_with_warnings_is_usable,
];

/// Returns invalid documents with the error of each.
fn invalid_documents() -> Vec<(Vec<u8>, &'static str)> {
    let twice = r#"{"OPENAI_API_KEY":"sk-marked-1","OPENAI_API_KEY":"sk-marked-2"}"#;
    let twice_inside = r#"{"tokens":{"access_token":"marked-1","access_token":"marked-2"}}"#;
    let deep = format!("{}\"marked\"{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let deep_list = "[".repeat(500_000);
    [
        ("", "it is empty"),
        (" \n\t ", "it is empty"),
        ("{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"sk-marked", "it is not valid JSON"),
        ("{}{\"OPENAI_API_KEY\":\"marked\"}", "it is not valid JSON"),
        ("\u{feff}{\"OPENAI_API_KEY\":\"sk-marked\"}", "it starts with a byte order mark"),
        (twice, "it is not valid JSON"),
        (twice_inside, "it is not valid JSON"),
        (&deep, "it is not valid JSON"),
        (&deep_list, "it is not valid JSON"),
        ("[\"marked\"]", "it is not a JSON object"),
        ("\"marked\"", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("{\"tokens\":\"marked\"}", "tokens must be an object"),
        ("{\"OPENAI_API_KEY\":{\"marked\":1}}", "OPENAI_API_KEY must be a string"),
        ("{\"auth_mode\":7}", "auth_mode must be a string"),
    ]
    .into_iter()
    .map(|(text, message)| (text.as_bytes().to_vec(), message))
    .chain([(b"{\"OPENAI_API_KEY\":\"sk-marked\xff\"}".to_vec(), "it is not UTF-8")])
    .collect()
}

fn an_invalid_document_is_named_and_kept(machine: &mut Machine) {
    for (bytes, message) in invalid_documents() {
        machine.store_text(&bytes);
        let before = (machine.stored_text(), machine.home.tree());
        let start = format!("error: cannot parse {}: {message}\nhint: ", machine.location());
        for command in ["status", "token"] {
            let ended = machine.codex([command]).run().refused(1);
            assert!(ended.err.starts_with(&start), "{ended}");
        }
        // Even the cause of the error shows nothing of the document.
        let ended = machine.codex(["status", "--json", "-v"]).run().expect(1);
        assert!(!ended.to_string().contains("marked"), "{ended}");
        assert_eq!((machine.stored_text(), machine.home.tree()), before);
    }
}

fn an_invalid_document_is_not_migrated_and_is_replaced_by_a_login_and_removed_by_a_logout(
    machine: &mut Machine,
) {
    for bytes in [b"".as_slice(), b"{\"OPENAI_API_KEY\":\"sk-ma", b"\xff{}"] {
        machine.store_text(bytes);
        let before = (machine.stored_text(), machine.home.names());
        let ended = machine.codex(["migrate", "--to", machine.other_store()]).run().refused(1);
        assert_eq!((machine.stored_text(), machine.home.names()), before, "{ended}");
        machine.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
        assert_eq!(machine.codex(["token"]).run().expect(0).out, "sk-new\n");
        machine.store_text(bytes);
        // A document without a revocable token may hold another secret.
        machine.codex(["logout"]).run().expect(if bytes.is_empty() { 0 } else { 5 });
        machine.codex(["logout", "--force"]).run().expect(0);
        assert_eq!(machine.stored_text(), None);
        for lock in ["auth.lock", "auth.json.lock"] {
            fs::remove_file(machine.home.file(lock)).unwrap();
        }
    }
}

fn a_document_with_warnings_is_usable(machine: &mut Machine) {
    let access = jwt(&serde_json::json!({"exp": now() + 3600}));
    for (mode, id_token, refresh) in [
        ("fromTheFuture", "e30.e30.e30", "rt"),
        ("chatgpt", "no JWT", "rt"),
        ("chatgpt", "a.b.c", "rt"),
        ("chatgpt", "", "rt"),
        ("chatgpt", "e30.e30.e30", ""),
    ] {
        machine.store_text(format!(
            r#"{{"auth_mode":"{mode}","tokens":{{"id_token":"{id_token}","access_token":"{access}","refresh_token":"{refresh}"}}}}"#
        ));
        assert_eq!(machine.codex(["token"]).run().expect(0).out, format!("{access}\n"));
        machine.codex(["status"]).run().expect(0);
    }
}

#[test]
fn a_file_of_ten_megabytes_is_neither_read_nor_replaced() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    let content = format!("{{\"OPENAI_API_KEY\":\"{}\"}}", "m".repeat(10_000_000));
    home.write("auth.json", &content);
    insta::assert_snapshot!(home.codex(["status"]).run(), @r"
    exit 1
    --- stdout
    --- stderr
    error: [home]/auth.json is larger than 1048576 bytes, so it cannot be the expected file; check its content
    ");
    for arguments in [&["token"][..], &["login", "--with-api-key"], &["logout"], &["migrate", "--to", "file"]]
    {
        let code = if arguments == ["logout"] { 5 } else { 1 };
        let ended = home.codex(arguments.iter().copied()).input("sk-new").run().refused(code);
        assert!(ended.err.contains("auth.json is larger than 1048576 bytes"), "{ended}");
        assert_eq!(home.read("auth.json"), content, "{arguments:?}");
    }
}

#[test]
fn a_path_that_is_not_a_file_is_an_error_without_waiting() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    let document = home.document();
    let path = document.to_str().unwrap();
    for make in [&["mkdir", path][..], &["mkfifo", path], &["mknod", path, "c", "1", "5"]] {
        // Only root can create devices.
        if make[0] == "mknod" && codex_auth_platform::process::effective_uid() != 0 {
            continue;
        }
        assert!(Command::new(make[0]).args(&make[1..]).status().unwrap().success());
        for arguments in
            [&["status"][..], &["token"], &["login", "--with-api-key"], &["migrate", "--to", "file"]]
        {
            let ended = home.codex(arguments.iter().copied()).input("sk-new").run();
            insta::allow_duplicates!(
                insta::assert_snapshot!(ended.refused(1).err, @"error: [home]/auth.json is not a regular file; move it out of the way")
            );
            let kind = fs::symlink_metadata(&document).unwrap().file_type();
            assert!(!kind.is_file() && !kind.is_symlink(), "{arguments:?}");
        }
        let ended = home.codex(["logout"]).run();
        insta::allow_duplicates!(insta::assert_snapshot!(ended.refused(5).err, @r"
        error: the copy in [home]/auth.json was not removed: [home]/auth.json is not a regular file; move it out of the way
        hint: then run again: codex logout
        "));
        assert!(fs::symlink_metadata(&document).is_ok());
        assert!(Command::new("rm").args(["-r", path]).status().unwrap().success());
    }
}

#[test]
fn a_link_to_itself_is_named_and_kept() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    std::os::unix::fs::symlink(home.document(), home.document()).unwrap();
    for arguments in [&["status"][..], &["login", "--with-api-key"], &["logout"]] {
        let ended = home.codex(arguments.iter().copied()).input("sk-new").run();
        insta::allow_duplicates!(insta::assert_snapshot!(ended, @r"
        exit 5
        --- stdout
        --- stderr
        error: [home]/auth.json is a symbolic link that leads back to itself; remove it
        "));
    }
    assert!(home.document().is_symlink());
}
