//! Everything a paper points to: files, links, variables and tests. It has to be there.

use std::fs;
use std::path::{Path, PathBuf};

use super::paper::Paper;
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
/// Names of files of others: of the system, of other programs, or of what a reader makes.
const FILES_OF_OTHERS: &[&str] = &[
    "~/.cargo/bin",
    "pyx.rs",
    "store.rs",
    "get_token.go",
    "cache_lock.py",
    "token_cache.py",
    "MsalCacheHelper.cs",
    "internal/keyring/keyring.go",
];
/// Folders and files at the top of the repository, by which one of its paths is known.
const TOPS: &[&str] = &["src/", "tests/", "platform/", ".config/", ".github/", ".ci/", "target/"];

/// The text of every source file of the library, the program and the platform.
pub fn code() -> String {
    let all = ["src", "platform/src"].into_iter().flat_map(sources);
    all.map(|Source { text, .. }| text).collect()
}

/// What a paper points to that is not there. `code` is what names and variables have to be known to.
pub fn faults(paper: &Paper, code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for paragraph in &paper.prose {
        let at = paper.at(paragraph.line);
        let wrong = paragraph.code().into_iter().filter_map(|text| of_code(paper, &text, code));
        let broken = paragraph.links().into_iter().filter_map(|target| of_link(paper, &target));
        faults.extend(wrong.chain(broken).map(|fault| format!("{at}: {fault}")));
    }
    faults
}

fn of_code(paper: &Paper, text: &str, code: &str) -> Option<String> {
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
        let known = text.starts_with("target/") || root().join(text).exists() || beside(paper, text).exists();
        return (!known).then(|| format!("there is no {text}"));
    }
    if is_file(text) && !FILES_OF_OTHERS.contains(&text) {
        let name = Path::new(text).file_name()?.to_str()?;
        let known = code.contains(name) || root().join(text).exists() || beside(paper, text).exists();
        return (!known).then(|| format!("nothing knows the file {text}"));
    }
    None
}

/// What a paper of a folder of its own names from there.
fn beside(paper: &Paper, name: &str) -> PathBuf {
    root().join(&paper.name).with_file_name(name)
}

fn is_variable(text: &str) -> bool {
    text.len() > 3
        && text.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}

/// Whether this is the name of a file, and no address, command or method.
fn is_file(text: &str) -> bool {
    const ENDINGS: [&str; 10] =
        [".rs", ".md", ".json", ".toml", ".lock", ".py", ".go", ".cs", ".svg", ".plist"];
    let path = text.starts_with(['~', '/']) || text.ends_with("/sock");
    !text.contains(' ') && (path || ENDINGS.iter().any(|ending| text.ends_with(ending)))
}

fn of_link(paper: &Paper, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let from = root().join(&paper.name);
    let to = if file.is_empty() { from } else { from.parent()?.join(file) };
    if !to.exists() {
        return Some(format!("the link to {target} leads nowhere"));
    }
    let anchors = match anchor {
        None => return None,
        Some(_) if file.is_empty() => paper.anchors(),
        Some(_) => Paper::parse(file, &fs::read_to_string(to).ok()?).anchors(),
    };
    let known = anchors.iter().any(|known| Some(&**known) == anchor);
    (!known).then(|| format!("there is no heading {target}"))
}

/// The variables of ours that the program reads and a paper does not explain. Those that it sets for itself, and the one of
/// the tests, are its own.
pub fn unexplained(paper: &Paper, code: &str) -> Vec<String> {
    const ITS_OWN: [&str; 3] = ["CODEX_AUTH_CONFIG", "CODEX_AUTH_FAILPOINT", "CODEX_AUTH_VISITED"];
    let explained: Vec<String> = paper.prose.iter().flat_map(super::paper::Paragraph::code).collect();
    let mut read: Vec<_> =
        code.split('"').filter(|word| word.starts_with("CODEX_") && is_variable(word)).collect();
    read.sort_unstable();
    read.dedup();
    read.retain(|name| !name.ends_with('_') && !ITS_OWN.contains(name));
    read.into_iter().filter(|name| !explained.iter().any(|known| known == name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_found() {
        let planted = "# Here\n`CODEX_HOMES`, `src/no.rs`, `auth.jsonl.json`, `tests/it/structure.rs::no_such_test`,\n\
            `src/no.rs::a_test`, [a](nowhere.md), [b](#there), [c](CHANGELOG.md#nothing) and `codex-auth/keeper/sok.lock`\n";
        let found = faults(&Paper::parse("README.md", planted), &code()).join("\n");
        for fault in [
            "CODEX_HOMES",
            "no src/no.rs",
            "auth.jsonl.json",
            "no test no_such_test in tests/it/structure.rs",
            "no test a_test in src/no.rs",
            "nowhere.md",
            "heading #there",
            "heading CHANGELOG.md#nothing",
            "sok.lock",
        ] {
            assert!(found.contains(fault), "{fault} in\n{found}");
        }
        let right = "# Here\n`CODEX_HOME`, `src/lib.rs`, `auth.json`, `PATH`, [a](CHANGELOG.md#unreleased), [b](#here),\n\
            `tests/it/structure.rs::a_file_can_be_read_in_one_go` and `codex-auth/keeper/sock`\n";
        assert_eq!(faults(&Paper::parse("README.md", right), &code()), Vec::<String>::new());
        let code = r#"env("CODEX_HOME") env("CODEX_NEW") starts_with("CODEX_")"#;
        assert_eq!(unexplained(&Paper::parse("p.md", "`CODEX_HOME`\n"), code), ["CODEX_NEW"]);
    }
}
