//! Value parsers of the command line.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use codex_auth::config::StoreSelection;

/// Parses one of a few words, and lists them for completions.
#[derive(Clone, Debug)]
pub(crate) struct WordParser<T> {
    pub(crate) words: &'static [&'static str],
    pub(crate) parse: fn(&str) -> Result<T, String>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for WordParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, word: &OsStr) -> Result<T, clap::Error> {
        self.parse.parse_ref(command, argument, word)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}

/// The parser of `--store`.
pub(crate) const STORES: WordParser<StoreSelection> =
    WordParser { words: &["keychain", "file", "auto"], parse: selection };

/// Also accepts Codex's names.
fn selection(word: &str) -> Result<StoreSelection, String> {
    StoreSelection::from_name(word).ok_or_else(|| "keychain, file or auto".to_owned())
}
