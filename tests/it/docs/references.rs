//! What a document points to: links, paths of the repository, variables and tests.

use std::fs;
use std::path::PathBuf;

use super::markdown::Document;
use crate::structure::{Source, root, sources};

/// What looks like a variable of ours and is the system's: a variable that nobody reads by its name, or a constant.
const OF_THE_SYSTEM: &[&str] = &[
    "PATH",
    "EBUSY",
    "F_FULLFSYNC",
    "F_PREALLOCATE",
    "PR_SET_DUMPABLE",
    "PT_DENY_ATTACH",
    "RLIMIT_CORE",
    "SO_PEERCRED",
];
/// Folders and files at the top of the repository, by which one of its paths is known.
const TOPS: &[&str] = &["src/", "tests/", "platform/", ".config/", ".github/", ".ci/", "target/"];

/// The text of every source file of the library, the program and the platform.
pub fn code() -> String {
    let all = ["src", "platform/src"].into_iter().flat_map(sources);
    all.map(|Source { text, .. }| text).collect()
}

/// What a document points to that is not there. `code` is what names and variables have to be known to.
pub fn faults(document: &Document, code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for paragraph in &document.prose {
        let at = document.at(paragraph.line);
        let wrong = paragraph.code().into_iter().filter_map(|text| of_code(document, &text, code));
        let broken = paragraph.links().into_iter().filter_map(|target| of_link(document, &target));
        faults.extend(wrong.chain(broken).map(|fault| format!("{at}: {fault}")));
    }
    faults
}

fn of_code(document: &Document, text: &str, code: &str) -> Option<String> {
    if let Some((path, test)) = text.split_once("::").filter(|(path, _)| path.ends_with(".rs")) {
        let file = fs::read_to_string(root().join(path)).unwrap_or_default();
        let known = file.contains(&format!("fn {test}("));
        return (!known).then(|| format!("no test {test} in {path}"));
    }
    if is_variable(text) {
        let constant = code.contains(&format!("const {text}:"));
        let known = constant || code.contains(&format!("\"{text}\"")) || OF_THE_SYSTEM.contains(&text);
        return (!known).then(|| format!("nothing reads the variable {text}"));
    }
    if TOPS.iter().any(|top| text.starts_with(top)) {
        let text = text.split(' ').next()?;
        let known =
            text.starts_with("target/") || root().join(text).exists() || beside(document, text).exists();
        return (!known).then(|| format!("there is no {text}"));
    }
    None
}

/// A path that is named from the folder of the document.
fn beside(document: &Document, name: &str) -> PathBuf {
    root().join(&document.name).with_file_name(name)
}

fn is_variable(text: &str) -> bool {
    text.len() > 3
        && text.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}

fn of_link(document: &Document, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let from = root().join(&document.name);
    let to = if file.is_empty() { from } else { from.parent()?.join(file) };
    if !to.exists() {
        return Some(format!("the link to {target} leads nowhere"));
    }
    let anchors = match anchor {
        None => return None,
        Some(_) if file.is_empty() => document.anchors(),
        Some(_) => Document::parse(file, &fs::read_to_string(to).ok()?).anchors(),
    };
    let known = anchors.iter().any(|known| Some(&**known) == anchor);
    (!known).then(|| format!("there is no heading {target}"))
}

/// The variables of ours that the program reads and a document does not explain. Those that it sets for itself, and the one of
/// the tests, are its own.
pub fn unexplained(document: &Document, code: &str) -> Vec<String> {
    const ITS_OWN: [&str; 3] = ["CODEX_AUTH_CONFIG", "CODEX_AUTH_FAILPOINT", "CODEX_AUTH_VISITED"];
    let explained: Vec<String> = document.prose.iter().flat_map(super::markdown::Paragraph::code).collect();
    let mut read: Vec<_> =
        code.split('"').filter(|word| word.starts_with("CODEX_") && is_variable(word)).collect();
    read.sort_unstable();
    read.dedup();
    read.retain(|name| !name.ends_with('_') && !ITS_OWN.contains(name));
    read.into_iter().filter(|name| !explained.iter().any(|known| known == name)).map(str::to_owned).collect()
}
