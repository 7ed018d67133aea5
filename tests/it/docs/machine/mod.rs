//! Containers in which the commands of the docs are run, to compare the documented output with the real one.

mod container;
mod newcomer;
mod output;
mod stage;
mod terminal;

use self::output::{agrees, plain};
use self::stage::Stage;
use self::terminal::Terminal;
use super::markdown::{Block, Document};
use super::scene::{Scene, headings, scene};
use super::transcript::exchanges;
use super::{every, none};
use crate::support::here;

/// Runs all commands of a block and returns the differences. A command of a `sh` block has to succeed.
fn faults(block: &Block, terminal: &mut Terminal, authority: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for exchange in exchanges(block) {
        let outcome = terminal.run(&exchange.command);
        let shown = plain(&outcome.shown, authority);
        // The variables that lead to the test's authority; a reader has none of them.
        let of_the_test = |line: &&str| line.contains(" is set in this shell but not for the service");
        let shown = shown.lines().filter(|line| !of_the_test(line)).collect::<Vec<_>>().join("\n");
        let command = &exchange.command;
        if block.language() == "sh" {
            if outcome.code != 0 {
                faults.push(format!("{command} exits with {}:\n{shown}", outcome.code));
            }
        } else if !agrees(&exchange.shown, &shown) {
            let documented = exchange.shown.join("\n");
            faults.push(format!("the output of {command} is documented as\n{documented}\nand is\n{shown}"));
        }
    }
    faults
}

/// Runs all blocks of a document and returns the differences.
fn differences(document: &Document) -> Vec<String> {
    let mut wrong = Vec::new();
    for heading in headings(&document.name) {
        let on = scene(&document.name, heading).unwrap();
        if matches!(on, Scene::Newcomer | Scene::NotRun(_)) {
            continue;
        }
        let stage = Stage::set(on);
        let mut terminal = stage.container.terminal();
        for block in document.commands().filter(|block| block.heading == heading) {
            let found = faults(block, &mut terminal, stage.authority.url());
            wrong.extend(found.into_iter().map(|fault| format!("{}: {fault}", document.at(block.line))));
        }
    }
    wrong
}

#[test]
fn the_documented_output_is_the_real_output() {
    container::inside(here!(), || {
        none(&every().flat_map(|document| differences(&document)).collect::<Vec<_>>());
    });
}

#[test]
fn a_wrong_transcript_is_detected() {
    container::inside(here!(), || {
        let text = "# codex-auth\n```console\n$ codex status\nlogged in\n$ codex token\n…\nerror: x\n```\n\
            ```sh\ncodex status\ntrue\n```\n";
        let found = differences(&Document::parse("README.md", text));
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[2].contains("codex status exits with 1"), "{found:#?}");
    });
}
