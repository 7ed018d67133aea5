//! A full disk leaves the stored login whole and no half-written files.

use std::fs;
use std::io::Write as _;

use crate::support::{Mounted, TestHome, snapshot_filters};

/// Checks that the home and `codex-auth` contain only the files that a login creates.
fn assert_no_leftovers(home: &std::path::Path) {
    for folder in [home.to_owned(), home.join("codex-auth")] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = [
                "auth.json",
                "auth.json.lock",
                "auth.lock",
                "codex-auth",
                "config.toml",
                "history",
                "refresh.lock",
                "state.json",
                "filling",
            ];
            assert!(known.contains(&name.as_str()), "{name} was left in {}", folder.display());
        }
    }
}

/// Returns a home with a login on a file system of 64 KiB that has `pages` free pages.
fn nearly_full(pages: u64) -> Mounted {
    let disk = Mounted::by(TestHome::new(), "mount -t tmpfs -o size=64k,mode=700 tmpfs \"$home\"");
    disk.codex(["login", "--store", "file", "--with-api-key"]).input("sk-old").run().expect(0);
    let mut filling = fs::File::create(disk.path().join("filling")).unwrap();
    while filling.write_all(&[0; 4096]).is_ok() {}
    let size = filling.metadata().unwrap().len();
    filling.set_len(size - pages * 4096).unwrap();
    disk
}

#[test]
fn a_full_disk_keeps_the_old_login_byte_for_byte() {
    let disk = nearly_full(0);
    let _filters = snapshot_filters(&disk.home);
    let before = fs::read(disk.path().join("auth.json")).unwrap();
    let ended = disk.codex(["login", "--with-api-key"]).input("sk-new").run();
    insta::assert_snapshot!(ended.refused(5), @r"
    exit 5
    --- stdout
    --- stderr
    error: no space for 32768 bytes in [home]/auth.json; free some, or raise the quota
    hint: free some space; the stored login is unchanged
    ");
    assert_eq!(fs::read(disk.path().join("auth.json")).unwrap(), before);
    assert_no_leftovers(&disk.path());
    assert_eq!(disk.codex(["token"]).run().expect(0).out, "sk-old\n");
    fs::remove_file(disk.path().join("filling")).unwrap();
    disk.codex(["login", "--with-api-key"]).input("sk-new").run().expect(0);
    assert_eq!(disk.codex(["token"]).run().expect(0).out, "sk-new\n");
}

#[test]
fn logging_out_works_on_a_full_disk() {
    let disk = nearly_full(0);
    let ended = disk.codex(["logout"]).run();
    assert!(!disk.path().join("auth.json").exists(), "{ended}");
    assert_no_leftovers(&disk.path());
    ended.expect(0);
}

#[test]
fn a_disk_that_becomes_full_at_any_step_leaves_one_whole_login() {
    for pages in 0..6 {
        let disk = nearly_full(pages);
        let ended = disk.codex(["login", "--store", "auto", "--with-api-key"]).input("sk-new").run();
        let token = disk.codex(["token"]).run().expect(0).out;
        match ended.code {
            Some(0) => assert_eq!(token, "sk-new\n", "{ended}"),
            _ => assert!(token == "sk-old\n" || token == "sk-new\n", "{token}"),
        }
        if ended.code != Some(0) {
            ended.refused(5);
        }
        assert_no_leftovers(&disk.path());
    }
}

#[test]
fn a_file_size_limit_has_the_effect_of_a_full_disk() {
    let home = TestHome::new();
    for limit in [0, 4, 30, 60, 80] {
        home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-old").run().expect(0);
        let before = home.read("auth.json");
        let limit = format!("--fsize={limit}");
        let run = home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-a-new-and-longer-one");
        let ended = run.through(["prlimit", &limit]).run();
        assert_no_leftovers(&home.path());
        let kept = home.read("auth.json");
        assert!(kept == before || kept.contains("sk-a-new-and-longer-one\"\n}"), "{kept}");
        let ended = ended.refused(5);
        assert!(ended.err.starts_with("error: no space for ") && ended.err.contains("\nhint: "), "{ended}");
    }
}

#[test]
fn a_file_size_limit_does_not_prevent_reading_a_token() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    for arguments in [["token"], ["status"]] {
        home.codex(arguments).through(["prlimit", "--fsize=0"]).run().expect(0);
    }
}
