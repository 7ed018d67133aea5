//! The second name, `codex-auth`: every command is ours, and that program runs the `codex` beside it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::hand_over::{REPORTS, before, folder, path, placed};
use crate::support::{Run, TestHome, program};

/// A run of the program by its second name, at `path`.
pub(super) fn second(home: &TestHome, path: &Path, words: &[&str]) -> Run {
    Run::of(path, words.iter().copied()).envs(home.variables())
}

/// The second program.
const SECOND: &str = env!("CARGO_BIN_EXE_codex-auth");

#[test]
fn under_the_second_name_every_command_is_ours() {
    let home = TestHome::new();
    let own = folder(&home, "own", "unused", "");
    symlink(program(), own.join("codex-auth")).unwrap();
    let run = |words: &[&str]| before(&home, REPORTS, second(&home, &own.join("codex-auth"), words)).run();
    let ended = run(&["exec"]).refused(2);
    assert!(ended.err.starts_with("error: unknown command 'exec'\n\nhint: under the name codex"), "{ended}");
    assert!(run(&["status"]).expect(1).out.contains("not logged in"));
    assert!(run(&["whoami"]).expect(1).out.contains("not logged in"));
    // Codex's forms of a command that both have.
    for arguments in [&["app-server", "daemon"][..], &["app-server", "--listen", "unix:///x"]] {
        let ended = run(arguments).refused(2);
        assert!(ended.err.contains("`codex-auth app-server` serves standard input"), "{ended}");
    }
    assert!(run(&["--version"]).expect(0).out.contains(env!("CARGO_PKG_VERSION")));
    let help = run(&["--help"]).expect(0);
    assert!(help.out.contains("Usage: codex-auth") && !help.out.contains("next "), "{help}");
}

/// Installs both programs in one folder.
fn installed(home: &TestHome, name: &str) -> PathBuf {
    let folder = home.beside(name);
    placed(&program(), &folder.join("codex"));
    placed(Path::new(SECOND), &folder.join("codex-auth"));
    folder
}

#[test]
fn the_second_program_runs_the_first_by_its_second_name() {
    let home = TestHome::new();
    let folder = installed(&home, "installed");
    let links = home.beside("links");
    symlink(folder.join("codex-auth"), links.join("codex-auth")).unwrap();
    for second in [folder.join("codex-auth"), links.join("codex-auth")] {
        let run = |words: &[&str]| before(&home, REPORTS, self::second(&home, &second, words)).run();
        let ended = run(&["exec"]).refused(2);
        assert!(
            ended.err.starts_with("error: unknown command 'exec'\n\nhint: under the name codex"),
            "{ended}"
        );
        assert!(run(&["--help"]).expect(0).out.contains("Usage: codex-auth"));
        assert!(run(&["status"]).expect(1).out.contains("not logged in"));
    }
    // The second program keeps arguments and streams.
    let words = ["login", "--with-api-key", "--store", "file"];
    let login = Run::of(&folder.join("codex-auth"), words).envs(home.variables());
    login.input("sk-1").run().expect(0);
    let mut command = Command::new(folder.join("codex-auth"));
    command.arg(OsStr::from_bytes(b"\xff")).envs(home.variables());
    assert_eq!(command.output().unwrap().status.code(), Some(2), "words are no text");
}

#[test]
fn the_second_program_says_what_is_missing() {
    let home = TestHome::new();
    let alone = home.beside("alone");
    placed(Path::new(SECOND), &alone.join("codex-auth"));
    let run = || Run::of(&alone.join("codex-auth"), ["status"]).envs(home.variables()).run().refused(1);
    let folder = alone.display();
    assert_eq!(
        run().err,
        format!(
            "error: {folder}/codex does not exist, but codex-auth runs it\n\
             hint: put both programs into one folder; every release archive contains both\n"
        )
    );
    fs::write(alone.join("codex"), "").unwrap();
    let ended = run();
    assert!(ended.err.starts_with(&format!("error: cannot run {folder}/codex: ")), "{ended}");
}

#[test]
fn a_link_to_the_second_program_is_skipped() {
    let home = TestHome::new();
    let (one, other) = (installed(&home, "one"), installed(&home, "other"));
    let links = home.beside("links");
    symlink(other.join("codex-auth"), links.join("codex")).unwrap();
    let exec = |path: OsString| home.codex(["exec"]).env("PATH", path).run();
    exec(path([&*one, &*links, &*other])).refused(2);
    let next = folder(&home, "next", "codex", REPORTS);
    let ended = exec(path([&*links, &*one, &*links, &*other, &*next])).expect(7);
    assert_eq!(ended.out.matches("next").count(), 1, "{ended}");
    // The link itself runs as the second program.
    let linked = Run::of(&links.join("codex"), ["exec"]).envs(home.variables());
    linked.env("PATH", path([&*links, &*one, &*next])).run().refused(2);
}
