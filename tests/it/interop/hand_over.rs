//! OpenAI's Codex after this program on PATH: it works as before, and its login does not break.

use std::ffi::OsString;
use std::path::Path;

use super::codex::{codex_0169, codex_0171};
use super::provider::Provider;
use crate::manager::world::World;
use crate::support::{Machine, Run, TestHome, search_path};

/// The `PATH` with `codex` at the end.
fn path(home: &TestHome, codex: &Path) -> OsString {
    let folder = home.path().with_file_name("next");
    if !folder.exists() {
        std::os::unix::fs::symlink(codex, home.beside("next").join("codex")).unwrap();
    }
    let folders: Vec<_> = std::env::split_paths(&search_path()).chain([folder]).collect();
    std::env::join_paths(folders).unwrap()
}

#[test]
fn version_and_other_commands_reach_codex() {
    let home = TestHome::new();
    let through = |words: &[&str]| {
        home.codex(words.iter().copied()).env("PATH", path(&home, &codex_0169())).run().expect(0)
    };
    let version = through(&["--version"]).out;
    assert_eq!(version, format!("codex-cli 0.169.0\ncodex-auth {}\n", env!("CARGO_PKG_VERSION")));
    for words in [&["exec", "--help"][..], &["-c", "model=o3", "mcp", "--help"], &["help", "exec"]] {
        let direct = Run::of(&codex_0169(), words.iter().copied()).envs(home.variables()).run().expect(0);
        assert_eq!(through(words).out, direct.out);
    }
    let help = through(&["--help"]).out;
    assert!(help.contains("  token ") && help.contains("  exec "), "{help}");
    // Codex's own report follows, and may find problems.
    let doctor = home.codex(["doctor"]).env("PATH", path(&home, &codex_0169())).run().out;
    assert!(doctor.contains("ok       next codex    codex-cli 0.169.0, a tested version ("), "{doctor}");
}

/// Runs eight `codex exec` at once through this program, with `words` after the command: one request serves all.
pub(super) fn eight_cost_one_request(codex: &Path, world: &World<'_>, words: &[&str]) {
    let home = &world.machine.home;
    let provider = Provider::start();
    let settings = provider.settings();
    let always = ["exec", "--skip-git-repo-check", "-s", "read-only"];
    let words = always.into_iter().chain(words.iter().copied()).chain(settings.iter().map(String::as_str));
    let words: Vec<_> = words.chain(["ping"]).collect();
    let folder = home.beside("work");
    let before = world.requests();
    let start = || {
        let run = world.codex(words.iter().copied()).env("PATH", path(home, codex)).env("HOME", &folder);
        run.start()
    };
    let children: Vec<_> = (0..8).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"pong\n"[..]), "{stderr}");
    }
    assert_eq!(world.requests() - before, 1, "{words:?}");
    let token = world.stored_token("access_token");
    let bearers = provider.bearers();
    assert!(bearers.len() == 8 && bearers.iter().all(|bearer| *bearer == token), "{words:?} {bearers:?}");
}

/// As [`eight_cost_one_request`], with the grant of `world`.
fn eight_keep_the_grant(codex: &Path, world: &World<'_>, words: &[&str]) {
    eight_cost_one_request(codex, world, words);
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}

#[test]
fn eight_codex_processes_with_an_expired_login_cost_one_request() {
    for codex in [codex_0169(), codex_0171()] {
        eight_keep_the_grant(&codex, &World::expired(&mut Machine::with_file()), &[]);
    }
}

#[test]
fn eight_codex_processes_within_five_minutes_of_the_end_cost_one_request() {
    for codex in [codex_0169(), codex_0171()] {
        eight_keep_the_grant(&codex, &World::stale(&mut Machine::with_file()), &[]);
    }
}

#[test]
fn eight_codex_processes_with_a_store_from_the_command_line_or_a_profile_cost_one_request() {
    for codex in [codex_0169(), codex_0171()] {
        for words in [["-c", "cli_auth_credentials_store=\"file\""], ["--profile", "work"]] {
            let mut machine = Machine::with_file();
            let world = World::expired(&mut machine);
            world.machine.home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
            world.machine.home.write("work.config.toml", "cli_auth_credentials_store = \"file\"\n");
            eight_keep_the_grant(&codex, &world, &words);
        }
    }
}
