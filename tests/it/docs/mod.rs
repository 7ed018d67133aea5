//! The Markdown of this repository: its commands are run, and its references are checked.

mod commands;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod generated;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod machine;
mod markdown;
mod references;
mod scene;
mod transcript;

use std::process::Command;

use self::markdown::Document;
use crate::structure::root;
use crate::support::{TestHome, program};

/// Every Markdown file of the repository.
fn every() -> impl Iterator<Item = Document> {
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
    assert!(found.contains(&"README.md".to_owned()));
    found.sort();
    found.into_iter().map(|name| Document::read(&name))
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_documented_command_and_option_exists() {
    let program = commands::Program::new();
    let faults: Vec<_> = every().flat_map(|document| program.faults(&document)).collect();
    none(&faults);
}

#[test]
fn the_readme_mentions_every_command_and_variable() {
    let readme = Document::read("README.md");
    none(&commands::Program::new().not_mentioned(&readme));
    none(&references::unexplained(&readme, &references::code()));
}

#[test]
fn every_documented_link_path_variable_and_test_exists() {
    let code = references::code();
    let faults: Vec<_> = every().flat_map(|document| references::faults(&document, &code)).collect();
    none(&faults);
}

#[test]
fn every_command_block_has_a_scene_and_every_scene_a_block() {
    for document in every() {
        for block in document.commands() {
            let scene = scene::scene(&document.name, &block.heading);
            assert!(scene.is_some(), "{}: no scene for {:?}", document.at(block.line), block.heading);
        }
        for heading in scene::headings(&document.name) {
            let known = document.commands().any(|block| block.heading == heading);
            assert!(known, "{}: no commands under {heading:?}", document.name);
        }
    }
}

#[test]
fn the_documented_config_toml_examples_work() {
    let mut blocks = 0;
    for document in every() {
        for block in document.blocks.iter().filter(|block| block.language() == "toml") {
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
                    document.at(block.line)
                );
                blocks += 1;
            }
        }
    }
    assert!(blocks > 0);
}

#[test]
fn the_picture_is_up_to_date_with_its_script() {
    let drawn = Command::new(root().join("tests/picture")).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let kept = std::fs::read(root().join(".github/one-refresh.svg")).unwrap();
    assert!(drawn.stdout == kept, "run: tests/picture > .github/one-refresh.svg");
}
