//! Tests of the source code: allowed imports, names, and unused dependencies.

mod cycles;
mod files;
mod imports;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proc_macro2::TokenStream;

use self::cycles::{cycle, imports_of};
use self::imports::{ALLOWED_IMPORTS, PLATFORM_IMPORTS};
pub use self::source::{Source, root, sources};
use self::source::{public_types, words};

/// Names that types of several modules share.
const SHARED_NAMES: &[&str] = &["Client", "Error"];

/// What the library alone uses: the lease, writers and stores, and requests to the authority.
const ONLY_IN_THE_LIBRARY: &[&str] = &[
    "Authority",
    "CommitLocks",
    "Endpoint",
    "FileStore",
    "KeychainStore",
    "Lease",
    "Refresh",
    "Revocation",
    "Writer",
    "commit_login",
];

fn allowed(table: &'static [(&str, &[&str])], room: &str) -> &'static [&'static str] {
    table.iter().find(|(name, _)| *name == room).map_or(&[], |(_, names)| names)
}

#[test]
fn a_module_imports_only_allowed_modules() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| source.room != "lib" && source.room != "bin") {
        assert!(
            ALLOWED_IMPORTS.iter().any(|(room, _)| *room == source.room),
            "not in the table: {}",
            source.room
        );
        for import in source.imports("crate") {
            let room = import.path.first().map_or("the crate's root", String::as_str);
            if room != source.room && !allowed(ALLOWED_IMPORTS, &source.room).contains(&room) {
                wrong.push(format!("{} imports {room}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn allowed_imports_point_down_only() {
    for (at, (room, below)) in ALLOWED_IMPORTS.iter().enumerate() {
        for name in *below {
            assert!(
                ALLOWED_IMPORTS[..at].iter().any(|(known, _)| known == name),
                "{room} may import {name}, which is not above it in the table"
            );
        }
    }
}

#[test]
fn the_files_of_a_module_have_no_import_cycle() {
    let sources = sources("src");
    let rooms = ALLOWED_IMPORTS.iter().map(|(room, _)| *room).chain(["bin"]);
    let cycles: Vec<_> = rooms.filter_map(|room| cycle(&imports_of(room, &sources))).collect();
    assert!(cycles.is_empty(), "{cycles:#?}");
}

#[test]
fn no_two_public_types_share_a_name() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for source in ["src", "platform/src"].into_iter().flat_map(sources) {
        for name in public_types(source.tokens()) {
            places.entry(name).or_default().push(source.path.display().to_string());
        }
    }
    // The systems implement the same types in files of their own, and so does a library without a feature.
    places.retain(|name, files| {
        files.retain(|file| !file.ends_with("macos.rs") && !file.contains("/no_"));
        files.len() > 1 && !SHARED_NAMES.contains(&name.as_str())
    });
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn every_allowed_import_is_used() {
    let mut unused = Vec::new();
    for (table, first) in [(ALLOWED_IMPORTS, "crate"), (PLATFORM_IMPORTS, "codex_auth_platform")] {
        let mut used = BTreeSet::new();
        for source in sources("src") {
            for import in source.imports(first) {
                let name = match first {
                    "crate" => import.path.first(),
                    _ => import.path.get(1).filter(|_| import.path[0] == first),
                };
                used.extend(name.map(|name| (source.room.clone(), name.clone())));
            }
        }
        for (room, names) in table {
            let edges = names.iter().map(|name| ((*room).to_owned(), (*name).to_owned()));
            unused.extend(edges.filter(|edge| !used.contains(edge)));
        }
    }
    assert!(unused.is_empty(), "{unused:#?}");
}

#[test]
fn a_module_imports_only_allowed_platform_modules() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let imports = source.imports("codex_auth_platform").into_iter();
        for name in imports
            .filter(|import| import.path[..].first().is_some_and(|first| first == "codex_auth_platform"))
        {
            let name = name.path.get(1).map_or("*", String::as_str);
            if !allowed(PLATFORM_IMPORTS, &source.room).contains(&name) {
                wrong.push(format!("{} uses platform::{name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A host sees these as types of the library.
#[test]
fn only_two_modules_export_types_of_the_platform() {
    let is_export = |source: &Source| {
        let imports = source.imports("codex_auth_platform");
        imports.iter().any(|import| import.reexport.is_some() && import.path[0] == "codex_auth_platform")
    };
    let all = sources("src");
    let found: BTreeSet<_> =
        all.iter().filter(|source| is_export(source)).map(|source| &*source.room).collect();
    assert_eq!(found, BTreeSet::from(["redaction", "store"]));
}

#[test]
fn the_platform_does_not_mention_the_library() {
    let words = ["auth.json", "token", "http", "tokio", "codex"];
    let mut wrong = Vec::new();
    for source in sources("platform/src") {
        for (number, line) in source.text.lines().enumerate() {
            let line = line.to_lowercase();
            // Except its own name, and URLs in comments.
            let line = line
                .replace("codex_auth_platform", "")
                .replace("codex-auth-platform", "")
                .replace("https://", "");
            for word in words.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{} mentions {word}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_platform_distinguishes_systems_and_nothing_architectures() {
    for source in sources("src").iter().chain(&sources("platform/src")) {
        let mut found = BTreeSet::new();
        words(source.tokens(), &mut found);
        let in_platform = source.path.starts_with(root().join("platform"));
        assert!(in_platform || !found.contains("target_os"), "{}", source.path.display());
        assert!(!found.contains("target_arch"), "{}", source.path.display());
    }
}

#[test]
fn the_program_leaves_leases_writes_and_requests_to_the_library() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| source.room == "bin") {
        for import in source.imports("codex_auth").iter().filter(|import| import.path[0] == "codex_auth") {
            let name = import.path.iter().find(|name| ONLY_IN_THE_LIBRARY.contains(&name.as_str()));
            wrong.extend(name.map(|name| format!("{} uses {name}", source.path.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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

/// `support` has a file for each system; elsewhere a comment gives the reason why a test is only for one.
#[test]
fn a_test_for_one_system_gives_a_reason() {
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
fn the_contributing_guide_lists_every_module() {
    let guide = fs::read_to_string(root().join(".github/CONTRIBUTING.md")).unwrap();
    let (_, table) = guide.split_once("| modules, from top to bottom |").unwrap();
    let rows = table.lines().take_while(|line| !line.is_empty()).skip(2);
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let mut listed: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let mut modules: Vec<_> = ALLOWED_IMPORTS.iter().map(|(module, _)| *module).collect();
    listed.sort_unstable();
    modules.sort_unstable();
    assert_eq!(listed, modules);
}

#[test]
fn the_library_and_the_program_forbid_unsafe_code() {
    for file in ["src/lib.rs", "src/bin/codex/main.rs", "src/bin/codex-auth/main.rs"] {
        let tokens: TokenStream = fs::read_to_string(root().join(file)).unwrap().parse().unwrap();
        assert!(tokens.to_string().contains("forbid (unsafe_code)"), "{file}");
    }
}
