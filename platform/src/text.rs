//! Makes foreign text safe to print on a terminal.

use std::borrow::Cow;
use std::path::Path;

/// Returns the first `longest` printable characters of `text`, without control characters and bidirectional marks.
#[must_use]
pub fn printable(text: &str, longest: usize) -> String {
    text.chars().filter(|letter| is_printable(*letter)).take(longest).collect()
}

/// Returns `text` with every letter that is not [printable](is_printable) escaped, such as `\u{1b}`, except line ends and
/// tabs. With [`Styles::Keep`], the sequences that only set a colour or weight stay.
#[must_use]
pub fn escape(text: &str, styles: Styles) -> Cow<'_, str> {
    let is_kept = |letter| is_printable(letter) || letter == '\n' || letter == '\t';
    if text.chars().all(is_kept) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let style = if styles == Styles::Keep { leading_style(rest) } else { "" };
        let step = if style.is_empty() { letter.len_utf8() } else { style.len() };
        let (piece, after) = rest.split_at(step);
        if is_kept(letter) || !style.is_empty() {
            escaped.push_str(piece);
        } else {
            escaped.extend(letter.escape_unicode());
        }
        rest = after;
    }
    escaped.into()
}

/// Returns `path` as one word for a shell, quoted where it needs that. Bytes that are not UTF-8 are replaced.
#[must_use]
pub fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+,@%=:".contains(letter);
    if text.chars().all(is_plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Whether [`escape`] keeps terminal sequences that set a colour or weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "styles are kept or not")]
pub enum Styles {
    /// For text that the program itself has coloured.
    Keep,
    /// Escape them like any other control character.
    Escape,
}

/// Returns the terminal sequence at the start of `text`, if it sets a colour, a weight or nothing. None of these hides text.
fn leading_style(text: &str) -> &str {
    let Some((numbers, _)) = text.strip_prefix("\x1b[").and_then(|rest| rest.split_once('m')) else {
        return "";
    };
    let is_harmless = |number: &str| {
        matches!(
            number,
            "" | "0" | "1" | "2" | "4" | "22" | "24" | "31" | "32" | "33" | "34" | "35" | "36" | "39"
        )
    };
    if numbers.split(';').all(is_harmless) { &text[..numbers.len() + 3] } else { "" }
}

/// Returns whether a terminal shows `letter` as it is: control characters steer the terminal, and bidirectional marks
/// reorder the line.
#[must_use]
pub fn is_printable(letter: char) -> bool {
    let is_mark = matches!(
        letter,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !letter.is_control() && !is_mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_not_show_is_escaped() {
        assert!(matches!(escape("plain é\n\tx", Styles::Escape), Cow::Borrowed(_)));
        let hostile = "a\u{1b}]0;x\u{7}\u{202e}b\u{9b}2J\r\u{7f}";
        let shown = r"a\u{1b}]0;x\u{7}\u{202e}b\u{9b}2J\u{d}\u{7f}";
        for styles in [Styles::Keep, Styles::Escape] {
            assert_eq!(escape(hostile, styles), shown);
        }
        let styled = "\u{1b}[1m\u{1b}[31mred\u{1b}[0m \u{1b}[8mhidden\u{1b}[2J";
        assert_eq!(
            escape(styled, Styles::Keep),
            "\u{1b}[1m\u{1b}[31mred\u{1b}[0m \\u{1b}[8mhidden\\u{1b}[2J"
        );
        assert_eq!(escape("\u{1b}[31m", Styles::Escape), r"\u{1b}[31m");
    }

    #[test]
    fn control_characters_and_bidirectional_marks_are_removed() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}b\u{feff}\tc é", 64), "a[31mbc é");
        assert_eq!(printable("ab\0cd", 3), "abc");
        let bidirectional = "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}";
        assert_eq!(printable(bidirectional, 64), "");
    }

    #[test]
    fn a_path_is_quoted_only_where_a_shell_needs_it() {
        for (path, expected) in [
            ("/home/ada/.app", "/home/ada/.app"),
            ("/home/ada/my files", "'/home/ada/my files'"),
            ("/it's", r"'/it'\''s'"),
            ("/a;b", "'/a;b'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), expected);
        }
    }
}
