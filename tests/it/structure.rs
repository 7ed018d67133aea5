//! Holds the house together: who may import whom, how long a file is, and how it opens.

use std::fs;
use std::path::{Path, PathBuf};

/// A file ends being readable in one go about here; its inline tests do not count.
const LONGEST: usize = 400;

/// Who may import which rooms of the library. A room that is not named may not be imported.
const RULES: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("clock", &[]),
    ("home", &[]),
    ("config", &["secret"]),
    ("redaction", &[]),
    ("remedy", &[]),
    ("failpoint", &["config"]),
    ("guide", &[]),
    ("claims", &["secret"]),
    ("document", &["claims", "secret"]),
    ("store", &["claims", "clock", "config", "document", "failpoint", "home", "remedy", "secret"]),
    ("authority", &["claims", "config", "document", "redaction", "remedy", "secret"]),
    ("external", &["claims", "config", "document", "redaction", "remedy", "secret"]),
    ("login", &["authority", "claims", "clock", "config", "document", "home", "remedy", "secret", "store"]),
    ("watch", &["home"]),
    (
        "manager",
        &[
            "authority",
            "claims",
            "clock",
            "config",
            "document",
            "external",
            "failpoint",
            "home",
            "remedy",
            "secret",
            "store",
            "watch",
        ],
    ),
    ("keeper", &["clock", "config", "document", "manager", "home", "remedy", "secret", "store", "watch"]),
    ("error", &["config", "login", "manager", "remedy", "store"]),
];

/// The seams of the platform that a room may use. A room that is not named may use none.
const SEAMS: &[(&str, &[&str])] = &[
    // A home is canonical by construction, which only the file system can tell.
    ("home", &["filesystem", "private_file"]),
    ("store", &["filesystem", "keychain", "lock", "private_file", "process", "search_path"]),
    // For the one file it reads, the certificates that the user adds; links among those are usual.
    ("authority", &["private_file"]),
    ("external", &["process"]),
    ("failpoint", &["failpoint"]),
    ("login", &["filesystem", "peer", "port", "process"]),
    ("watch", &["filesystem"]),
    ("keeper", &["filesystem", "lock", "peer"]),
    ("bin", &["filesystem", "hardening", "peer", "process", "search_path", "service"]),
];

pub struct Source {
    /// The room: the first part of its path below `src`.
    pub room: String,
    pub path: PathBuf,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn sources(folder: &str) -> Vec<Source> {
    let base = root().join(folder);
    let mut found = Vec::new();
    let mut folders = vec![base.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&base).unwrap();
                let first = below.components().next().unwrap().as_os_str().to_string_lossy();
                let room = first.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { room, path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn everything() -> Vec<Source> {
    ["src", "platform/src", "platform/tests", "tests/it", "tests/bench", "tests/authority/src"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

/// What stands behind every `prefix` in code, up to the end of the name; a braced list yields each of its names.
fn names_behind(text: &str, prefix: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let name = |text: &str| -> String {
            text.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
        };
        match rest.strip_prefix('{') {
            None => names.push(name(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for letter in list.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(name(&std::mem::take(&mut item))),
                        _ => {}
                    }
                    if letter != ',' || depth > 0 {
                        item.push(letter);
                    }
                }
                names.push(name(&item));
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn allowed(table: &'static [(&str, &[&str])], room: &str) -> &'static [&'static str] {
    table.iter().find(|(name, _)| *name == room).map_or(&[], |(_, names)| names)
}

#[test]
fn a_room_imports_only_what_lies_below_it() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| source.room != "lib" && source.room != "bin") {
        assert!(RULES.iter().any(|(room, _)| *room == source.room), "a room without a rule: {}", source.room);
        for name in names_behind(&source.text, "crate::") {
            if name != source.room && !allowed(RULES, &source.room).contains(&name.as_str()) {
                wrong.push(format!("{} imports {name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_platform_is_reached_only_through_the_rooms_that_may() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for name in names_behind(&source.text, "codex_auth_platform::") {
            if !allowed(SEAMS, &source.room).contains(&name.as_str()) {
                wrong.push(format!("{} uses platform::{name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_platform_has_never_heard_of_what_is_built_on_it() {
    let strangers = ["auth.json", "token", "http", "tokio", "codex"];
    let mut wrong = Vec::new();
    for source in sources("platform/src") {
        for (number, line) in source.text.lines().enumerate() {
            let line = line.to_lowercase();
            // The crate's own name is the one exception; URLs in comments are no protocol.
            let line = line
                .replace("codex_auth_platform", "")
                .replace("codex-auth-platform", "")
                .replace("https://", "");
            for stranger in strangers.iter().filter(|stranger| line.contains(**stranger)) {
                wrong.push(format!("{}:{} says {stranger}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn operating_systems_are_told_apart_in_the_platform_alone() {
    for source in sources("src") {
        assert!(!source.text.contains("target_os"), "{}", source.path.display());
    }
}

/// Under `support` each system has its own file, as in the platform; elsewhere a test is there or not, with its reason.
#[test]
fn a_test_that_one_system_lacks_says_why() {
    let table = fs::read_to_string(root().join("tests/it/README.md")).unwrap();
    let (_, table) = table.split_once("## Tests of one system\n").unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut unused: Vec<_> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    let mut wrong = Vec::new();
    let known = unused.clone();
    for source in
        sources("tests/it").iter().filter(|source| !["support", "structure"].contains(&&*source.room))
    {
        let lines: Vec<_> = source.text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[1].contains("target_os")) {
            let reasons = match (pair[0].split_once(": "), pair[1]) {
                (Some(("// Linux", reasons)), r#"#[cfg(target_os = "linux")]"#) => reasons,
                (Some(("// macOS", reasons)), r#"#[cfg(target_os = "macos")]"#) => reasons,
                _ => "",
            };
            for reason in reasons.trim_end_matches('.').replace(" and ", ", ").split(", ") {
                unused.retain(|row| *row != reason);
                if !known.contains(&reason) {
                    wrong.push(format!("{}: {:?} before {}", source.path.display(), pair[0], pair[1]));
                }
            }
        }
    }
    assert!(wrong.is_empty() && unused.is_empty(), "{wrong:#?}, and no test needs {unused:?}");
}

#[test]
fn the_library_and_the_program_forbid_unsafe_code() {
    for file in ["src/lib.rs", "src/bin/codex/main.rs", "src/bin/codex-auth/main.rs"] {
        assert!(fs::read_to_string(root().join(file)).unwrap().contains("#![forbid(unsafe_code)]"), "{file}");
    }
}

#[test]
fn a_file_opens_with_what_it_is_for() {
    for source in everything() {
        let first = source.text.lines().next().unwrap_or_default();
        assert!(
            first.len() > 12 && first.starts_with("//! "),
            "{} opens with {first:?}",
            source.path.display()
        );
    }
}

#[test]
fn a_file_can_be_read_in_one_go() {
    for source in everything() {
        let lines = source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let tests = source.path.ends_with("document/tests.rs");
        assert!(tests || lines <= LONGEST, "{} has {lines} lines", source.path.display());
    }
}

#[test]
fn no_test_file_is_forgotten() {
    for source in sources("tests/it").iter().filter(|source| source.room != "main") {
        let name = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = source.path.parent().unwrap();
        let (name, parent) = if name == "mod" {
            (folder.file_name().unwrap().to_string_lossy().into_owned(), folder.parent().unwrap())
        } else {
            (name, folder)
        };
        let lists = if parent.ends_with("tests/it") { parent.join("main.rs") } else { parent.join("mod.rs") };
        let listed = fs::read_to_string(&lists).unwrap();
        let names = [format!("mod {name};"), format!("path = \"{name}.rs\"")];
        assert!(names.iter().any(|name| listed.contains(name)), "{} does not list {name}", lists.display());
    }
}

#[test]
fn the_rule_reader_sees_through_lists_and_paths() {
    let text = "use crate::{a::X, b};\nuse crate::c::{D, E};\n// crate::f\nlet x = crate::g::h();";
    assert_eq!(names_behind(text, "crate::"), ["a", "b", "c", "g"]);
}
