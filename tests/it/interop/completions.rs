//! The completion script of this program in front of OpenAI's Codex completes the commands of both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::codex::{codex_0169, codex_0171};
use crate::cli::hand_over::path;
use crate::cli::shells::{SHELLS, accepted, completed, in_zsh};
use crate::manager::world::World;
use crate::support::{Machine, Run, TestHome, program};

/// A folder with only `codex`, for PATH.
fn next(home: &TestHome, codex: &Path) -> PathBuf {
    let folder = home.beside("next");
    std::os::unix::fs::symlink(codex, folder.join("codex")).unwrap();
    folder
}

/// The options and subcommands of every command in a script for bash, without placeholders of words.
fn offered(script: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut offered = BTreeMap::new();
    let mut command = "";
    for line in script.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(')').filter(|name| name.starts_with("codex")) {
            command = name;
        } else if let Some(words) = line.strip_prefix("opts=\"").and_then(|line| line.strip_suffix('"')) {
            let words = words.split(' ').filter(|word| !word.is_empty() && !word.starts_with(['[', '<']));
            // Versions of clap_complete name the commands in two ways.
            offered.insert(command.replace("subcmd__", ""), words.map(str::to_owned).collect());
        }
    }
    offered
}

fn knows_both(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let home = &world.machine.home;
    let search_path = path([&*next(home, codex)]);
    let script = |words: [&str; 2]| {
        let ended = world.codex(words).env("PATH", &search_path).run().expect(0);
        assert_eq!(ended.err, "");
        home.write(&words.join("."), ended.out)
    };
    for shell in SHELLS {
        let script = script(["completions", shell]);
        for (line, expected) in [
            ("codex stat", &["status"][..]),
            ("codex feat", &["features"]),
            ("codex exec --sandb", &["--sandbox"]),
            ("codex exec --sandbox read", &["read-only"]),
            ("codex token --min", &["--min-ttl"]),
            ("codex login --store f", &["file"]),
            ("codex login --with-a", &["--with-access-token", "--with-api-key"]),
            ("codex mcp li", &["list"]),
            ("codex sync inst", &["install"]),
            ("codex tran", &[]),
        ] {
            assert_eq!(completed(shell, &script, line), expected, "{shell}: {line}");
        }
    }
    let zsh = script(["completion", "zsh"]);
    for (line, expected) in [
        ("codex feat", "codex features"),
        ("codex refr", "codex refresh"),
        ("codex app-server daemon rest", "codex app-server daemon restart"),
        ("codex exec --output-sch", "codex exec --output-schema"),
        ("codex migrate --dr", "codex migrate --dry-run"),
        ("codex -s work", "codex -s workspace-write"),
    ] {
        assert_eq!(in_zsh(&zsh, line), expected);
    }

    let theirs = Run::of(codex, ["completion", "bash"]).envs(home.variables()).run().expect(0).out;
    let both = offered(&std::fs::read_to_string(script(["completion", "bash"])).unwrap());
    let theirs = offered(&theirs);
    assert!(theirs.len() > 100, "{}", theirs.len());
    for (command, words) in &theirs {
        let known = both.get(command).unwrap_or_else(|| panic!("{command} is missing"));
        // Hidden here.
        let missing: Vec<_> =
            words.difference(known).filter(|word| !word.starts_with("--experimental_")).collect();
        assert!(missing.is_empty(), "{command} lacks {missing:?}");
    }
    assert_eq!(world.requests(), 0);
}

#[test]
fn the_script_completes_the_commands_of_codex_0169_too() {
    knows_both(&codex_0169());
}

#[test]
fn the_script_completes_the_commands_of_codex_0171_too() {
    knows_both(&codex_0171());
}

#[test]
fn both_spellings_can_be_sourced_when_a_shell_starts() {
    let home = TestHome::new();
    let next = next(&home, &codex_0171());
    let ours = program();
    let search_path = path([ours.parent().unwrap(), &*next]);
    for (command, expected) in [("completion", "exec"), ("completions", "exec"), ("completion", "status")] {
        let script = format!(
            "source <(codex {command} bash); COMP_WORDS=(codex {expected}) COMP_CWORD=1; _codex codex {expected} codex; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.env_clear().envs(home.variables()).env("PATH", &search_path).args(["-c", &script]);
        let offered = accepted(&mut bash);
        assert!(offered.lines().any(|word| word == expected), "{command} {expected}\n{offered}");
    }
}
