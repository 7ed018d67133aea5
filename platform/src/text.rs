//! Makes foreign text safe to print on a terminal.

/// Returns the first `longest` printable characters of `text`, without control characters and bidirectional marks.
#[must_use]
pub fn printable(text: &str, longest: usize) -> String {
    text.chars().filter(|letter| is_printable(*letter)).take(longest).collect()
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
    fn control_characters_and_bidirectional_marks_are_removed() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}b\u{feff}\tc é", 64), "a[31mbc é");
        assert_eq!(printable("ab\0cd", 3), "abc");
        let bidirectional = "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}";
        assert_eq!(printable(bidirectional, 64), "");
    }
}
