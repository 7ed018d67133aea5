//! The papers of this repository, held to what is so: whatever they show is run, and whatever they name is looked for.

mod commands;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod machine;
mod paper;
mod references;
mod scene;
mod transcript;

use std::process::Command;

use self::paper::Paper;
use crate::structure::root;
use crate::support::{TestHome, program};

/// Every paper that shows commands, or names what is in the repository.
const PAPERS: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
    "platform/README.md",
    "tests/bench/README.md",
    "tests/it/README.md",
];

/// The kinds of blocks that there may be. Rust is run by rustdoc: `src/lib.rs` includes the README for it.
const LANGUAGES: &[&str] = &["console", "sh", "toml", "rust"];

fn every() -> impl Iterator<Item = Paper> {
    PAPERS.iter().map(|name| Paper::read(name))
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_command_and_option_that_a_paper_names_is_understood() {
    let faults: Vec<_> = every().flat_map(|paper| commands::faults(&paper)).collect();
    none(&faults);
}

#[test]
fn the_readme_leaves_out_no_command_and_no_variable() {
    let readme = Paper::read("README.md");
    // What is asked for by a longer name goes with it.
    let mut commands = commands::subcommands(&TestHome::new());
    commands.retain(|command| !["sync", "login status"].contains(&&**command));
    none(&commands::left_out(&readme, &commands));
    none(&references::unexplained(&readme, &references::code()));
}

#[test]
fn everything_that_a_paper_points_to_is_there() {
    let code = references::code();
    let faults: Vec<_> = every().flat_map(|paper| references::faults(&paper, &code)).collect();
    none(&faults);
}

#[test]
fn every_block_is_of_a_kind_that_is_held_to_something() {
    for paper in every() {
        for block in &paper.blocks {
            assert!(LANGUAGES.contains(&&*block.language), "{}: {:?}", paper.at(block.line), block.language);
            let doctested = block.language != "rust" || paper.name == "README.md";
            assert!(doctested, "{}: rustdoc does not see it", paper.at(block.line));
        }
        for heading in scene::headings(&paper.name) {
            assert!(paper.blocks.iter().any(|block| block.heading == heading), "{}: {heading:?}", paper.name);
        }
    }
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert!(library.contains("#[cfg(doctest)]\n#[doc = include_str!(\"../README.md\")]"));
}

#[test]
fn no_paper_is_forgotten() {
    let mut folders = vec![root().to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && ![".git", "target"].contains(&&*name) {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(name);
            }
        }
    }
    found.sort();
    let mut known = PAPERS.to_vec();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn what_is_shown_of_config_toml_does_what_it_is_for() {
    let mut blocks = 0;
    for paper in every() {
        for block in paper.blocks.iter().filter(|block| block.language == "toml") {
            let home = TestHome::new();
            home.write("config.toml", block.text.join("\n"));
            home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
            let commands = block.text.iter().filter_map(|line| line.strip_prefix("[model_providers."));
            for provider in commands.filter_map(|rest| rest.strip_suffix(".auth]")) {
                let run = home.codex(["token", "--provider", provider]);
                let ended = run.env("PATH", program().parent().unwrap()).run();
                assert_eq!(
                    (ended.code, &*ended.out),
                    (Some(0), "sk-1\n"),
                    "{}: {ended}",
                    paper.at(block.line)
                );
                blocks += 1;
            }
        }
    }
    assert!(blocks > 0);
}

#[test]
fn tests_run_runs_the_steps_that_are_told_to_contributors() {
    let script = std::fs::read_to_string(root().join("tests/run")).unwrap();
    none(&commands::not_in_tests_run(&Paper::read(".github/CONTRIBUTING.md"), &script));
}

#[test]
fn the_picture_is_what_its_script_draws() {
    let drawn = Command::new(root().join("tests/picture")).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    let kept = std::fs::read_to_string(root().join(".github/one-refresh.svg")).unwrap();
    assert!(drawn == kept, "run: tests/picture > .github/one-refresh.svg");
    // Read aloud, in either light, and without asking any other machine for anything.
    for part in ["<title ", "<desc ", "role=\"img\"", "prefers-color-scheme: dark", "<text "] {
        assert!(kept.contains(part), "{part}");
    }
    let fetched = ["@import", "url(", "href", "<script", "<image"];
    assert!(fetched.iter().all(|part| !kept.contains(part)));
}
