//! Tests of the files of the source code: their docs, their sizes, and that they are compiled.

use std::fs;

use proc_macro2::TokenTree;

use super::source::{Source, sources};

/// The maximum number of lines of a file before its tests.
const MAX_LINES: usize = 400;

/// Files whose docs begin with two sentences.
const TWO_SENTENCES: &[&str] = &["bin/codex/status.rs"];

fn all_sources() -> Vec<Source> {
    ["src", "platform/src", "platform/tests", "tests/it", "tests/bench", "tests/authority/src"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

#[test]
fn the_docs_of_a_file_begin_with_one_sentence() {
    let mut wrong = Vec::new();
    for source in all_sources() {
        let lines = source.text.lines().map_while(|line| line.strip_prefix("//! "));
        let sentence = lines.collect::<Vec<_>>().join(" ");
        let one = !sentence.contains(". ") || TWO_SENTENCES.iter().any(|file| source.path.ends_with(file));
        if sentence.len() < 12 || !sentence.ends_with(['.', ':']) || !one {
            wrong.push(format!("{}: {sentence:?}", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The line of the unit tests of a file, if these are its last item.
fn tests_of(source: &Source) -> Option<usize> {
    let tokens: Vec<_> = source.tokens().into_iter().collect();
    let [.., TokenTree::Punct(mark), TokenTree::Group(cfg), TokenTree::Ident(item), _, body] = &tokens[..]
    else {
        return None;
    };
    let tests = cfg.stream().to_string().replace(' ', "") == "cfg(test)" && item == "mod";
    (tests && matches!(body, TokenTree::Group(_))).then(|| mark.span().start().line)
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for source in all_sources().iter().filter(|source| !source.path.ends_with("document/tests.rs")) {
        let lines = tests_of(source).map_or_else(|| source.text.lines().count(), |line| line - 1);
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines before its tests", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_file_is_compiled() {
    for source in sources("tests/it").iter().filter(|source| source.room != "main") {
        let name = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = source.path.parent().unwrap();
        let (name, parent) = if name == "mod" {
            (folder.file_name().unwrap().to_string_lossy().into_owned(), folder.parent().unwrap())
        } else {
            (name, folder)
        };
        let lists = [parent.join("mod.rs"), parent.with_extension("rs"), parent.join("main.rs")];
        let lists = lists.into_iter().find(|path| path.exists()).unwrap();
        let listed = fs::read_to_string(&lists).unwrap();
        let names = [format!("mod {name};"), format!("path = \"{name}.rs\"")];
        assert!(names.iter().any(|name| listed.contains(name)), "{} does not list {name}", lists.display());
    }
}
