//! The name of an account, which the user chooses, and its id, which never changes.

use std::fmt;
use std::io;
use std::str::FromStr;

/// The text is no name of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account name has 1 to 64 letters, digits, dots, underscores and dashes, and begins with a letter or digit"
)]
#[non_exhaustive]
pub struct InvalidName;

/// The most characters of a name.
const MAX_LENGTH: usize = 64;
/// The hex digits of an id.
const ID_DIGITS: usize = 16;

/// The name of an account: 1 to 64 letters, digits, dots, underscores and dashes of ASCII, of which the first is a letter
/// or a digit. Two names are equal if they differ in case only.
#[derive(Clone, Debug)]
pub struct AccountName(String);

impl AccountName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
        let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        match begins_well && text.len() <= MAX_LENGTH && text.bytes().all(is_letter) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidName),
        }
    }

    /// Returns a name made of the valid characters of `text`; `None` if there are none to begin with.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let valid = text.chars().filter(|letter| letter.is_ascii_alphanumeric() || "._-".contains(*letter));
        let valid: String = valid.take(MAX_LENGTH).collect();
        Self::parse(valid.trim_start_matches(['.', '_', '-'])).ok()
    }

    /// Returns the name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns this name with `-NUMBER` after it, shortened if necessary.
    pub(super) fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        Self(format!("{}{suffix}", &self.0[..self.0.len().min(MAX_LENGTH - suffix.len())]))
    }
}

impl PartialEq for AccountName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for AccountName {}

impl FromStr for AccountName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an account, which is the name of its folder. It is random, so it is never used again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountId(String);

impl AccountId {
    /// Returns a new id.
    ///
    /// # Errors
    /// The operating system returned no random bytes.
    pub(super) fn random() -> Result<Self, io::Error> {
        let mut random = [0; ID_DIGITS / 2];
        getrandom::fill(&mut random)?;
        Ok(Self(random.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Parses an id; `None` if `text` is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == ID_DIGITS && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// Returns the text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_a_letter_or_digit_and_has_no_other_characters() {
        for good in ["work", "a", "7", "Work.2_x-y", &"a".repeat(64)] {
            assert_eq!(AccountName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".work", "-work", "_work", "a/b", "a b", "wörk", "a\n", "..", &"a".repeat(65)] {
            assert!(AccountName::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(AccountName::parse("Work").unwrap(), AccountName::parse("wORK").unwrap());
    }

    #[test]
    fn a_name_is_made_of_any_text() {
        let name = |text| AccountName::from_text(text).map(|name| name.0);
        assert_eq!(name("ada+codex"), Some("adacodex".to_owned()));
        assert_eq!(name("-_ada"), Some("ada".to_owned()));
        assert_eq!(name("ä+"), None);
        assert_eq!(AccountName::parse(&"a".repeat(64)).unwrap().numbered(12).as_str().len(), 64);
    }

    #[test]
    fn ids_are_random_and_parsed_exactly() {
        let id = AccountId::random().unwrap();
        assert_ne!(id, AccountId::random().unwrap());
        assert_eq!(AccountId::parse(id.as_str()), Some(id));
        for bad in ["", "0123456789ABCDEF", "0123456789abcde", "../../etc/passwd"] {
            assert_eq!(AccountId::parse(bad), None, "{bad}");
        }
    }
}
