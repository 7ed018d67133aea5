//! OpenAI's Codex 0.169 after this program on PATH: it works as before, and its login does not break.

use std::ffi::OsString;

use super::codex::codex_0169;
use super::provider::Provider;
use crate::manager::world::World;
use crate::support::{Machine, Run, TestHome, search_path};

/// The `PATH` with Codex 0.169 at the end.
fn path(home: &TestHome) -> OsString {
    let folder = home.path().with_file_name("next");
    if !folder.exists() {
        std::os::unix::fs::symlink(codex_0169(), home.beside("next").join("codex")).unwrap();
    }
    let folders: Vec<_> = std::env::split_paths(&search_path()).chain([folder]).collect();
    std::env::join_paths(folders).unwrap()
}

#[test]
fn version_and_other_commands_reach_codex() {
    let home = TestHome::new();
    let through = |words: &[&str]| home.codex(words.iter().copied()).env("PATH", path(&home)).run().expect(0);
    let version = through(&["--version"]).out;
    assert_eq!(version, format!("codex-cli 0.169.0\ncodex-auth {}\n", env!("CARGO_PKG_VERSION")));
    for words in [&["exec", "--help"][..], &["-c", "model=o3", "mcp", "--help"], &["help", "exec"]] {
        let direct = Run::of(&codex_0169(), words.iter().copied()).envs(home.variables()).run().expect(0);
        assert_eq!(through(words).out, direct.out);
    }
    let help = through(&["--help"]).out;
    assert!(help.contains("  token ") && help.contains("  exec "), "{help}");
    // Codex's own report follows, and may find problems.
    let doctor = home.codex(["doctor"]).env("PATH", path(&home)).run().out;
    assert!(doctor.contains("ok       next codex    codex-cli 0.169.0, a tested version ("), "{doctor}");
}

#[test]
fn eight_codex_processes_with_an_expired_login_cost_one_request() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let home = &world.machine.home;
    let provider = Provider::start();
    let settings = provider.settings();
    let words = ["exec", "--skip-git-repo-check", "-s", "read-only"];
    let words: Vec<_> =
        words.into_iter().chain(settings.iter().map(String::as_str)).chain(["ping"]).collect();
    let folder = home.beside("work");
    let start = || {
        let run = world.codex(words.iter().copied()).env("PATH", path(home)).env("HOME", &folder);
        run.start()
    };
    let children: Vec<_> = (0..8).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"pong\n"[..]), "{stderr}");
    }
    assert_eq!(world.requests(), 1);
    let token = world.stored_token("access_token");
    let bearers = provider.bearers();
    assert!(bearers.len() == 8 && bearers.iter().all(|bearer| *bearer == token), "{bearers:?}");
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}
