//! Checks the references of a document: links, paths in the repository, environment variables and tests.

use std::fs;
use std::path::PathBuf;

use super::markdown::Document;
use crate::structure::{Source, root, sources};

/// Upper-case names that are no environment variables of this program.
const OTHER_NAMES: &[&str] = &[
    "PATH",
    "EBUSY",
    "F_FULLFSYNC",
    "F_PREALLOCATE",
    "PR_SET_DUMPABLE",
    "PT_DENY_ATTACH",
    "RLIMIT_CORE",
    "SO_PEERCRED",
];
/// The beginnings by which a path in the repository is recognised.
const TOPS: &[&str] = &["src/", "tests/", "platform/", ".config/", ".github/", ".ci/", "target/"];

/// The text of all source files of the library, the program and the platform.
pub fn code() -> String {
    let all = ["src", "platform/src"].into_iter().flat_map(sources);
    all.map(|Source { text, .. }| text).collect()
}

/// The invalid references of a document. `code` is searched for names and variables.
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
        let known = constant || code.contains(&format!("\"{text}\"")) || OTHER_NAMES.contains(&text);
        let known = known || is_read_by_a_release_script(text);
        return (!known).then(|| format!("nothing reads the variable {text}"));
    }
    if TOPS.iter().any(|top| text.starts_with(top)) {
        let text = text.split(' ').next()?;
        let known =
            text.starts_with("target/") || root().join(text).exists() || resolve(document, text).exists();
        return (!known).then(|| format!("there is no {text}"));
    }
    None
}

fn is_read_by_a_release_script(variable: &str) -> bool {
    let files = fs::read_dir(root().join(".github")).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("${{{variable}:"))))
}

/// Resolves a path relative to the folder of the document.
fn resolve(document: &Document, name: &str) -> PathBuf {
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

/// The environment variables of the program that a document does not explain.
pub fn unexplained(document: &Document, code: &str) -> Vec<String> {
    // Set by the program for its child processes, or only by tests.
    const INTERNAL: [&str; 3] = ["CODEX_AUTH_CONFIG", "CODEX_AUTH_FAILPOINT", "CODEX_AUTH_VISITED"];
    let explained: Vec<String> = document.prose.iter().flat_map(super::markdown::Paragraph::code).collect();
    let mut read: Vec<_> =
        code.split('"').filter(|word| word.starts_with("CODEX_") && is_variable(word)).collect();
    read.sort_unstable();
    read.dedup();
    read.retain(|name| !name.ends_with('_') && !INTERNAL.contains(name));
    read.into_iter().filter(|name| !explained.iter().any(|known| known == name)).map(str::to_owned).collect()
}
