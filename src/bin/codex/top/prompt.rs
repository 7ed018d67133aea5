//! The line that is typed, its suggestions, and a question to answer.

use super::slash::{SlashLine, Suggestion, suggestions};

/// The longest line, in bytes.
const MAX_LINE: usize = 400;

/// The line at the bottom of the screen.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    line: String,
    /// The position in `line` where the next letter goes, in bytes.
    cursor: usize,
    suggestions: Vec<Suggestion>,
    /// The suggestion that Tab takes.
    highlighted: usize,
    /// The question that waits for an answer.
    pub(super) question: Option<Question>,
}

/// A question about a command that was typed.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) text: String,
    /// The logins that it is about, as they were shown.
    pub(super) logins: Vec<String>,
    /// The command that is run if the answer is yes.
    pub(super) command: SlashLine,
}

impl Prompt {
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Returns the part of the line before the cursor.
    pub(super) fn before_cursor(&self) -> &str {
        &self.line[..self.cursor]
    }

    /// Returns the suggestions, and the position of the highlighted one.
    pub(super) fn suggestions(&self) -> (&[Suggestion], usize) {
        (&self.suggestions, self.highlighted)
    }

    /// Removes the line and returns it.
    pub(super) fn take(&mut self) -> String {
        (self.cursor, self.highlighted) = (0, 0);
        self.suggestions.clear();
        std::mem::take(&mut self.line)
    }

    /// Writes a letter at the cursor, if it is printable.
    pub(super) fn insert(&mut self, letter: char, accounts: &[String]) {
        if codex_auth::redaction::is_printable(letter) && self.line.len() < MAX_LINE {
            self.line.insert(self.cursor, letter);
            self.cursor += letter.len_utf8();
            self.look(accounts);
        }
    }

    /// Removes the letter before the cursor.
    pub(super) fn delete_back(&mut self, accounts: &[String]) {
        if let Some(letter) = self.before_cursor().chars().next_back() {
            self.cursor -= letter.len_utf8();
            self.line.remove(self.cursor);
            self.look(accounts);
        }
    }

    /// Removes the letter at the cursor.
    pub(super) fn delete(&mut self, accounts: &[String]) {
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
            self.look(accounts);
        }
    }

    /// Removes the word before the cursor.
    pub(super) fn delete_word(&mut self, accounts: &[String]) {
        let kept = self.before_cursor().trim_end().rfind(' ').map_or(0, |space| space + 1);
        self.line.replace_range(kept..self.cursor, "");
        self.cursor = kept;
        self.look(accounts);
    }

    pub(super) fn left(&mut self) {
        let step = self.before_cursor().chars().next_back().map_or(0, char::len_utf8);
        self.cursor -= step;
    }

    pub(super) fn right(&mut self) {
        let step = self.line[self.cursor..].chars().next().map_or(0, char::len_utf8);
        self.cursor += step;
    }

    pub(super) fn move_to_start(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn move_to_end(&mut self) {
        self.cursor = self.line.len();
    }

    /// Highlights the next suggestion, or the one before with a negative step.
    pub(super) fn highlight(&mut self, step: isize) {
        if let Ok(count) = isize::try_from(self.suggestions.len())
            && count > 0
        {
            let now = isize::try_from(self.highlighted).unwrap_or_default();
            self.highlighted = usize::try_from((now + step).rem_euclid(count)).unwrap_or_default();
        }
    }

    /// Takes the highlighted suggestion into the line.
    pub(super) fn complete(&mut self, accounts: &[String]) {
        if let Some(suggestion) = self.suggestions.get(self.highlighted) {
            self.line = format!("{} ", suggestion.line);
            self.cursor = self.line.len();
            self.look(accounts);
        }
    }

    fn look(&mut self, accounts: &[String]) {
        // Words after the cursor are not completed.
        self.suggestions = match self.cursor == self.line.len() {
            true => suggestions(&self.line, accounts),
            false => Vec::new(),
        };
        self.highlighted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_at_the_cursor() {
        let mut prompt = Prompt::default();
        "/logout é".chars().for_each(|letter| prompt.insert(letter, &[]));
        prompt.insert('\u{1b}', &[]);
        prompt.left();
        prompt.insert('x', &[]);
        assert_eq!((prompt.line(), prompt.before_cursor()), ("/logout xé", "/logout x"));
        prompt.delete(&[]);
        prompt.delete_back(&[]);
        assert_eq!(prompt.line(), "/logout ");
        prompt.delete_word(&[]);
        assert_eq!(prompt.take(), "");
    }

    #[test]
    fn tab_takes_the_highlighted_suggestion() {
        let mut prompt = Prompt::default();
        "/l".chars().for_each(|letter| prompt.insert(letter, &[]));
        prompt.highlight(1);
        prompt.complete(&[]);
        assert_eq!(prompt.line(), "/logout ");
        "--l".chars().for_each(|letter| prompt.insert(letter, &[]));
        prompt.highlight(-1);
        prompt.complete(&[]);
        assert_eq!(prompt.line(), "/logout --local ");
    }
}
