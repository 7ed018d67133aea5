//! Machines on which the docs are carried out, so that what they show is what happens.

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

/// Types all of a block, and says what does not come of it as the block says. A command of a `sh` block has to succeed.
fn faults(block: &Block, terminal: &mut Terminal, authority: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for exchange in exchanges(block) {
        let outcome = terminal.run(&exchange.command);
        let shown = plain(&outcome.shown, authority);
        let command = &exchange.command;
        if block.language() == "sh" {
            if outcome.code != 0 {
                faults.push(format!("{command} exits with {}:\n{shown}", outcome.code));
            }
        } else if !agrees(&exchange.shown, &shown) {
            let said = exchange.shown.join("\n");
            faults.push(format!("{command} is said to show\n{said}\nand shows\n{shown}"));
        }
    }
    faults
}

/// Runs everything that a document shows under headings of their own machines, and says what does not come of it.
fn shown_wrongly(document: &Document) -> Vec<String> {
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
fn what_the_docs_show_is_what_happens() {
    container::inside(here!(), || {
        none(&every().flat_map(|document| shown_wrongly(&document)).collect::<Vec<_>>());
    });
}

#[test]
fn a_transcript_that_is_wrong_is_found() {
    container::inside(here!(), || {
        let text = "# How do I use two accounts?\n```console\n$ codex status\nlogged in\n$ codex token\n…\nerror: x\n```\n\
            ```sh\ncodex status\ntrue\n```\n";
        let found = shown_wrongly(&Document::parse("README.md", text));
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[2].contains("codex status exits with 1"), "{found:#?}");
    });
}
