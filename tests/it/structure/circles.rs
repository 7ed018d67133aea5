//! Circles among the files of a room.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Which files import which, each by its module.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Which files of a room import which. What its `mod.rs` passes on counts as imported from the file that defines it.
pub fn arrows(room: &str, sources: &[Source]) -> Arrows {
    let files: Vec<_> = sources.iter().filter(|source| source.room == room).collect();
    let file_of = |path: &[String]| -> Option<Vec<String>> {
        let of = |end: usize| files.iter().find(|file| file.module == path[..end]);
        (1..=path.len()).rev().find_map(of).map(|file| file.module.clone())
    };
    let mut passed_on = BTreeMap::new();
    for file in files.iter().filter(|file| file.module.len() == 1) {
        for import in file.imports("crate") {
            if let (Some(name), Some(of)) = (import.reexport, file_of(&import.path)) {
                passed_on.insert(name, of);
            }
        }
    }
    let mut arrows = Arrows::new();
    for file in &files {
        let to = arrows.entry(file.module.join("::")).or_default();
        for import in file.imports("crate").iter().filter(|import| import.reexport.is_none()) {
            let item = import.path.get(1).filter(|_| import.path[0] == room);
            let of = item.and_then(|item| passed_on.get(item)).cloned();
            to.extend(of.or_else(|| file_of(&import.path)).map(|of| of.join("::")));
        }
        to.remove(&file.module.join("::"));
    }
    arrows
}

/// A way along the arrows that comes back to where it began.
pub fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    fn walk<'a>(
        arrows: &'a Arrows,
        at: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if way.contains(&at) {
            way.push(at);
            return true;
        }
        way.push(at);
        let found = !done.contains(at)
            && arrows.get(at).is_some_and(|to| to.iter().any(|to| walk(arrows, to, way, done)));
        if !found {
            way.pop();
            done.insert(at);
        }
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|from| {
        let mut way = Vec::new();
        walk(arrows, from, &mut way, &mut done).then(|| way.into_iter().map(str::to_owned).collect())
    })
}

#[test]
fn a_circle_is_found() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut arrows = Arrows::new();
        for (from, to) in pairs {
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circle(&arrows)
    };
    assert_eq!(arrows(&[("a", "b"), ("a", "c"), ("b", "c")]), None);
    assert_eq!(arrows(&[("a", "b"), ("b", "c"), ("c", "b")]).unwrap(), ["a", "b", "c", "b"]);
}
