//! `codex migrate` without a keychain.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Guarded, Machine, TestHome, over_both_stores};

over_both_stores![a_login_that_is_there_already_stays, without_a_login_nothing_is_created,];

fn a_login_that_is_there_already_stays(machine: &mut Machine) {
    machine.store_chatgpt("acct-1", 10, 60);
    let before = machine.stored_text();
    insta::assert_snapshot!(machine.output_of(&["migrate", "--to", machine.store()]), @r"
    exit 0
    --- stdout
    --- stderr
    the login is already in the [store] store, [location]
    ");
    assert_eq!(machine.stored_text(), before);
}

fn without_a_login_nothing_is_created(machine: &mut Machine) {
    let before = machine.home.tree();
    insta::assert_snapshot!(machine.output_of(&["migrate", "--to", "file"]), @r"
    exit 1
    --- stdout
    --- stderr
    error: not logged in
    hint: log in first: codex login
    ");
    assert_eq!(machine.home.tree(), before);
}

/// A program called `codex` that runs until it is dropped, started with the home `other`.
pub fn another_codex(home: &TestHome, other: &Path) -> Guarded {
    let program = home.path().with_file_name("codex");
    if !program.exists() {
        // A file that this process or its fork has open for writing cannot be run.
        assert!(Command::new("cp").arg("/bin/sleep").arg(&program).status().unwrap().success());
    }
    let mut command = Command::new(&program);
    Guarded(command.arg("1000").env("CODEX_HOME", other).stdin(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_codex_that_runs_on_this_place_is_named_and_one_elsewhere_is_not() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    let printed = || home.codex(["migrate", "--to", "file", "--dry-run"]).run().expect(0).err;
    let _elsewhere = another_codex(&home, home.path().parent().unwrap());
    assert!(!printed().contains("pid"), "{}", printed());
    let here = another_codex(&home, &home.path());
    let warning = format!(
        "warning: Codex is running with this login (pid {}); it may write to the old store until it is restarted\n",
        here.0.id()
    );
    assert!(printed().starts_with(&warning), "{}", printed());
    let report = home.codex(["migrate", "--to", "file", "--json"]).run().expect(0).json();
    assert_eq!(report["other_programs"], json!([here.0.id()]));
}

#[test]
fn a_codex_that_calls_this_place_by_another_name_is_named_too() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    let link = home.path().with_file_name("link");
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    for name in [link, home.path().join(".")] {
        let here = another_codex(&home, &name);
        let report = home.codex(["migrate", "--to", "file", "--dry-run", "--json"]).run().expect(0).json();
        assert_eq!(report["other_programs"], json!([here.0.id()]), "{}", name.display());
    }
}

#[test]
fn a_login_can_be_moved_to_a_keychain_or_a_file_and_nowhere_else() {
    let home = TestHome::new();
    for store in ["auto", "ephemeral", "floppy", ""] {
        home.codex(["migrate", "--to", store]).run().expect(2);
    }
    home.codex(["migrate"]).run().expect(2);
    assert!(home.names().is_empty());
}
