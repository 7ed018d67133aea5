//! Holds the architecture: which room may import which, how long a file is, how it opens, and that dependencies are used.

mod circles;
mod source;

use std::collections::BTreeSet;
use std::fs;

use proc_macro2::{TokenStream, TokenTree};

use self::circles::{arrows, circle};
use self::source::words;
pub use self::source::{Source, root, sources};

/// The most lines of a file before its tests.
const LONGEST: usize = 400;

/// Which rooms each room of the library may import. A room that is not named may not be imported.
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
    (
        "login",
        &[
            "authority",
            "claims",
            "clock",
            "config",
            "document",
            "failpoint",
            "home",
            "remedy",
            "secret",
            "store",
        ],
    ),
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

/// The modules of the platform that a room may use. A room that is not named may use none.
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

/// Rooms whose files import each other in one direction only.
const ACYCLIC: &[&str] = &["authority", "document", "external", "keeper"];

/// Files that open with two sentences.
const TWO_SENTENCES: &[&str] = &["bin/codex/status.rs", "manager/recovery.rs", "store/preference.rs"];

fn everything() -> Vec<Source> {
    ["src", "platform/src", "platform/tests", "tests/it", "tests/bench", "tests/authority/src"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

fn allowed(table: &'static [(&str, &[&str])], room: &str) -> &'static [&'static str] {
    table.iter().find(|(name, _)| *name == room).map_or(&[], |(_, names)| names)
}

#[test]
fn a_room_imports_only_what_lies_below_it() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| source.room != "lib" && source.room != "bin") {
        assert!(RULES.iter().any(|(room, _)| *room == source.room), "a room without a rule: {}", source.room);
        for import in source.imports("crate") {
            let room = import.path.first().map_or("the crate's root", String::as_str);
            if room != source.room && !allowed(RULES, &source.room).contains(&room) {
                wrong.push(format!("{} imports {room}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rules_point_down_only() {
    for (at, (room, below)) in RULES.iter().enumerate() {
        for name in *below {
            assert!(
                RULES[..at].iter().any(|(known, _)| known == name),
                "{room} may import {name}, which is not below"
            );
        }
    }
}

#[test]
fn the_files_of_a_room_import_each_other_in_one_direction() {
    let sources = sources("src");
    let circles: Vec<_> = ACYCLIC.iter().filter_map(|room| circle(&arrows(room, &sources))).collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn the_platform_is_reached_only_through_the_rooms_that_may() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let imports = source.imports("codex_auth_platform").into_iter();
        for name in imports
            .filter(|import| import.path[..].first().is_some_and(|first| first == "codex_auth_platform"))
        {
            let name = name.path.get(1).map_or("*", String::as_str);
            if !allowed(SEAMS, &source.room).contains(&name) {
                wrong.push(format!("{} uses platform::{name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_platform_knows_nothing_of_what_is_built_on_it() {
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
fn operating_systems_are_told_apart_in_the_platform_alone_and_architectures_nowhere() {
    for source in sources("src").iter().chain(&sources("platform/src")) {
        let mut found = BTreeSet::new();
        words(source.tokens(), &mut found);
        let in_platform = source.path.starts_with(root().join("platform"));
        assert!(in_platform || !found.contains("target_os"), "{}", source.path.display());
        assert!(!found.contains("target_arch"), "{}", source.path.display());
    }
}

#[test]
fn every_dependency_is_used() {
    for (package, folders) in [
        ("", &["src", "tests/it", "tests/bench"][..]),
        ("platform", &["platform/src", "platform/tests"]),
        ("tests/authority", &["tests/authority/src", "tests/authority/tests"]),
        ("tests/fuzz", &["tests/fuzz/fuzz_targets", "src/bin/codex/app_server"]),
    ] {
        let mut used = BTreeSet::new();
        for source in folders.iter().flat_map(|folder| sources(folder)) {
            words(source.tokens(), &mut used);
        }
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let manifest: toml_edit::DocumentMut = manifest.parse().unwrap();
        let systems = manifest.get("target").and_then(|systems| systems.as_table_like());
        let systems = systems.into_iter().flat_map(|systems| systems.iter().map(|(_, system)| system));
        for table in [manifest.as_item()].into_iter().chain(systems) {
            for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
                let names = table.get(kind).and_then(|names| names.as_table_like());
                for (name, _) in names.into_iter().flat_map(|names| names.iter()) {
                    assert!(
                        used.contains(&name.replace('-', "_")),
                        "{package}/Cargo.toml: {name} is not used"
                    );
                }
            }
        }
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
        let tokens: TokenStream = fs::read_to_string(root().join(file)).unwrap().parse().unwrap();
        assert!(tokens.to_string().contains("forbid (unsafe_code)"), "{file}");
    }
}

#[test]
fn a_file_opens_with_one_sentence_about_it() {
    let mut wrong = Vec::new();
    for source in everything() {
        let lines = source.text.lines().map_while(|line| line.strip_prefix("//! "));
        let sentence = lines.collect::<Vec<_>>().join(" ");
        let one = !sentence.contains(". ") || TWO_SENTENCES.iter().any(|file| source.path.ends_with(file));
        if sentence.len() < 12 || !sentence.ends_with(['.', ':']) || !one {
            wrong.push(format!("{}: {sentence:?}", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The line of the inline tests of a file, which are its last item.
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
fn a_file_can_be_read_in_one_go() {
    let mut wrong = Vec::new();
    for source in everything().iter().filter(|source| !source.path.ends_with("document/tests.rs")) {
        let lines = tests_of(source).map_or_else(|| source.text.lines().count(), |line| line - 1);
        if lines > LONGEST {
            wrong.push(format!("{} has {lines} lines before its tests", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
        let lists = [parent.join("mod.rs"), parent.with_extension("rs"), parent.join("main.rs")];
        let lists = lists.into_iter().find(|path| path.exists()).unwrap();
        let listed = fs::read_to_string(&lists).unwrap();
        let names = [format!("mod {name};"), format!("path = \"{name}.rs\"")];
        assert!(names.iter().any(|name| listed.contains(name)), "{} does not list {name}", lists.display());
    }
}
