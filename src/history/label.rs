//! Short names of programs, accounts and hosts, made of harmless characters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most characters of a label.
const MAX_LENGTH: usize = 64;

/// A name of at most 64 ASCII letters, digits, dots, dashes, underscores and colons. Other characters are left out, and
/// a name that has more or looks like a token is `…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// Returns the label of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let is_harmless = |letter: &char| letter.is_ascii_alphanumeric() || "._-:".contains(*letter);
        let is_secret = ["sk-", "at-", "rt-", "rt_", "eyJ"].iter().any(|prefix| text.starts_with(prefix));
        if is_secret || text.len() > MAX_LENGTH {
            return Self("…".to_owned());
        }
        Self(text.chars().filter(is_harmless).collect())
    }

    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        // Also in a history that another program wrote.
        Self::of(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process, by its id and the name of its program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessLabel {
    /// The process id, as seen in its own container.
    pub pid: u32,
    /// The name of the program.
    pub program: Label,
}

impl ProcessLabel {
    /// Returns the label of the process `pid`, which runs `program`.
    #[must_use]
    pub fn new(pid: u32, program: &str) -> Self {
        Self { pid, program: Label::of(program) }
    }
}

impl fmt::Display for ProcessLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_harmless_characters_and_no_token() {
        assert_eq!(Label::of("codex\u{1b}[31m work").as_str(), "codex31mwork");
        for secret in ["rt-0123", "eyJhbGciOi.eyJ.c2ln", &"a".repeat(65)] {
            assert_eq!(Label::of(secret).as_str(), "…");
        }
        let read: Label = serde_json::from_str(r#""a\u001b]0;x""#).unwrap();
        assert_eq!(read.as_str(), "a0x");
    }
}
