//! Source files as tokens, and the paths in their code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A source file.
pub struct Source {
    /// The top-level module: the first part of its path below `src`.
    pub room: String,
    pub path: PathBuf,
    pub text: String,
    /// The module path of the file. Programs are below `bin`.
    pub module: Vec<String>,
}

impl Source {
    pub fn tokens(&self) -> TokenStream {
        self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// Returns every path in the code that begins with `crate`, `self`, `super` or `first`.
    pub fn imports(&self, first: &str) -> Vec<Import> {
        let mut reader = Reader { first, found: Vec::new() };
        reader.read(self.tokens(), &self.module);
        reader.found
    }
}

/// A path in the code.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// The path from the root of the library, or from the name of another crate.
    pub path: Vec<String>,
    /// The name under which a `pub use` exports it.
    pub reexport: Option<String>,
    /// Whether it is in the unit tests of the file.
    pub in_tests: bool,
}

struct Reader<'a> {
    first: &'a str,
    found: Vec<Import>,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut public = false;
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(word) if word == "pub" => {
                    public = true;
                    at += 1;
                    if matches!(&tokens[at], TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis)
                    {
                        at += 1;
                    }
                    continue;
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = at + tokens[at..].iter().position(|token| is(token, ';')).unwrap_or(1);
                    self.tree(&tokens[at + 1..end], &[], module, public);
                    at = end;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    if let (TokenTree::Ident(name), Some(TokenTree::Group(body))) =
                        (&tokens[at + 1], tokens.get(at + 2))
                    {
                        self.read(body.stream(), &[module, &[name.to_string()]].concat());
                        at += 2;
                    }
                }
                TokenTree::Ident(_) => {
                    let (words, end) = path(&tokens, at);
                    self.add(&words, module, None);
                    at = end;
                    continue;
                }
                TokenTree::Group(group) => self.read(group.stream(), module),
                _ => {}
            }
            public = false;
            at += 1;
        }
    }

    /// Reads the paths of a `use`, which can have nested lists.
    fn tree(&mut self, tokens: &[TokenTree], before: &[String], module: &[String], public: bool) {
        for item in tokens.split(|token| is(token, ',')).filter(|item| !item.is_empty()) {
            let (words, end) = path(item, 0);
            let words = [before, &words].concat();
            match item.get(end) {
                Some(TokenTree::Group(list)) => {
                    let list: Vec<_> = list.stream().into_iter().collect();
                    self.tree(&list, &words, module, public);
                }
                _ => {
                    let name = item.last().filter(|_| public).map(ToString::to_string);
                    self.add(&words, module, name);
                }
            }
        }
    }

    fn add(&mut self, words: &[String], module: &[String], reexport: Option<String>) {
        let mut path = module.to_vec();
        let mut words = words.iter().peekable();
        match words.peek().map(|word| word.as_str()) {
            Some("self") => drop(words.next()),
            Some("crate") => {
                words.next();
                let root = if module[0] == "bin" { 2 } else { 0 };
                path.truncate(root);
            }
            Some("super") => {}
            Some(word) if word == self.first => path.clear(),
            _ => return,
        }
        while words.next_if(|word| *word == "super").is_some() {
            path.pop();
        }
        path.extend(words.cloned());
        let in_tests = module.last().is_some_and(|name| name == "tests");
        self.found.push(Import { path, reexport, in_tests });
    }
}

fn is(token: &TokenTree, letter: char) -> bool {
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == letter)
}

/// The words of the path at `at`, and its end.
fn path(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut words = Vec::new();
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        words.push(word.to_string());
        at += 1;
        match tokens.get(at..at + 2) {
            Some([one, other]) if is(one, ':') && is(other, ':') => at += 2,
            _ => break,
        }
    }
    (words, at)
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
                let below = path.strip_prefix(&base).unwrap().with_extension("");
                let mut module: Vec<_> =
                    below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                let room = module[0].clone();
                module.retain(|part| !["mod", "lib", "main"].contains(&part.as_str()));
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { room, path, text, module });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The names of public types in the code, `pub(crate)` included, without those in modules of tests.
pub fn public_types(tokens: TokenStream) -> Vec<String> {
    const KINDS: [&str; 4] = ["struct", "enum", "trait", "type"];
    let tokens: Vec<_> = tokens.into_iter().collect();
    let word = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    };
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(public) if public == "pub" => {
                let restricted = matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                let kind = at + 1 + usize::from(restricted);
                if word(kind).is_some_and(|kind| KINDS.contains(&kind.as_str())) {
                    found.extend(word(kind + 1));
                }
            }
            TokenTree::Group(body)
                if at > 1
                    && word(at - 2).is_some_and(|item| item == "mod")
                    && word(at - 1).is_none_or(|name| name != "tests") =>
            {
                found.extend(public_types(body.stream()));
            }
            _ => {}
        }
    }
    found
}

/// Adds every word of the code, including those in attributes.
pub fn words(tokens: TokenStream, into: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => drop(into.insert(word.to_string())),
            TokenTree::Group(group) => words(group.stream(), into),
            _ => {}
        }
    }
}

#[test]
fn paths_are_resolved_as_by_rust() {
    let text = r##"
        //! crate::doc
        use crate::{a::X, b, c::{self, D as E}};
        pub use self::file::{Item, other::Other as Another};
        /* crate::comment */
        fn f() -> crate::g::H { call!(crate :: i); let text = "crate::text"; super::k::<crate::l>() }
        mod tests { use super::super::m; }
    "##;
    let source = Source {
        room: "room".to_owned(),
        path: PathBuf::new(),
        text: text.to_owned(),
        module: vec!["room".to_owned(), "file".to_owned()],
    };
    let found: Vec<_> = source
        .imports("crate")
        .into_iter()
        .map(|import| (import.path.join("::"), import.reexport.unwrap_or_default()))
        .collect();
    let expected = [
        ("a::X", ""),
        ("b", ""),
        ("c::self", ""),
        ("c::D", ""),
        ("room::file::file::Item", "Item"),
        ("room::file::file::other::Other", "Another"),
        ("g::H", ""),
        ("i", ""),
        ("room::k", ""),
        ("l", ""),
        ("room::m", ""),
    ];
    assert_eq!(found, expected.map(|(path, name)| (path.to_owned(), name.to_owned())));
}

#[test]
fn public_types_are_found_outside_tests() {
    let text = "pub struct A; struct B; pub(crate) enum C {} pub mod m { pub trait D {} } mod tests { pub struct E; }";
    assert_eq!(public_types(text.parse().unwrap()), ["A", "C", "D"]);
}
