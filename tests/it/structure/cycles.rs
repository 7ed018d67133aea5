//! Finds import cycles among the files of a module.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// The files that each file imports, by module path.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// The imports among the files of a module. A name that its `mod.rs` re-exports counts as imported from the file that
/// defines it.
pub fn imports_of(room: &str, sources: &[Source]) -> Imports {
    let files: Vec<_> = sources.iter().filter(|source| source.room == room).collect();
    let file_of = |path: &[String]| -> Option<Vec<String>> {
        let of = |end: usize| files.iter().find(|file| file.module == path[..end]);
        (1..=path.len()).rev().find_map(of).map(|file| file.module.clone())
    };
    let mut reexports = BTreeMap::new();
    for file in files.iter().filter(|file| file.module.len() == 1) {
        for import in file.imports("crate") {
            if let (Some(name), Some(of)) = (import.reexport, file_of(&import.path)) {
                reexports.insert(name, of);
            }
        }
    }
    let mut found = Imports::new();
    for file in &files {
        let to = found.entry(file.module.join("::")).or_default();
        for import in
            file.imports("crate").iter().filter(|import| import.reexport.is_none() && !import.in_tests)
        {
            let item = import.path.get(1).filter(|_| import.path[0] == room);
            let of = item.and_then(|item| reexports.get(item)).cloned();
            to.extend(of.or_else(|| file_of(&import.path)).map(|of| of.join("::")));
        }
        to.remove(&file.module.join("::"));
    }
    found
}

/// Returns a cycle, if there is one.
pub fn cycle(imports: &Imports) -> Option<Vec<String>> {
    fn walk<'a>(
        imports: &'a Imports,
        file: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if path.contains(&file) {
            path.push(file);
            return true;
        }
        path.push(file);
        let found = !done.contains(file)
            && imports.get(file).is_some_and(|to| to.iter().any(|to| walk(imports, to, path, done)));
        if !found {
            path.pop();
            done.insert(file);
        }
        found
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|file| {
        let mut path = Vec::new();
        walk(imports, file, &mut path, &mut done).then(|| path.into_iter().map(str::to_owned).collect())
    })
}

#[test]
fn a_cycle_is_found() {
    let cycle_of = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in pairs {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        cycle(&imports)
    };
    assert_eq!(cycle_of(&[("a", "b"), ("a", "c"), ("b", "c")]), None);
    assert_eq!(cycle_of(&[("a", "b"), ("b", "c"), ("c", "b")]).unwrap(), ["a", "b", "c", "b"]);
}
