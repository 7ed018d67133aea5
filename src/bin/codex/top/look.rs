//! How the dashboard shows text: colours that suit light and dark terminals, and characters of the locale.

use codex_auth::config::{Colour, Environment, TerminalKind};
use codex_auth::overview::LoginHealth;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// The abilities of the terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) is_coloured: bool,
    pub(super) is_unicode: bool,
}

/// What a text means to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Faint,
    Strong,
    Good,
    Bad,
    Warning,
    Hint,
}

impl Tone {
    pub(super) fn of(health: LoginHealth) -> Self {
        match health {
            LoginHealth::Usable => Self::Good,
            LoginHealth::Stale | LoginHealth::Busy | LoginHealth::LoggingOut | LoginHealth::TryAgain => {
                Self::Warning
            }
            LoginHealth::LoggedOut => Self::Faint,
            _ => Self::Bad,
        }
    }
}

impl Look {
    pub(super) fn of(environment: &Environment) -> Self {
        Self {
            is_coloured: environment.colour != Colour::Never,
            is_unicode: environment.terminal.kind == TerminalKind::Rich,
        }
    }

    /// Returns the style of a tone: of the 16 colours, only those that are legible on light and on dark.
    pub(super) fn style(self, tone: Tone) -> Style {
        let coloured = |colour| if self.is_coloured { Style::new().fg(colour) } else { Style::new() };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tone::Good => coloured(Color::Green),
            Tone::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Warning => coloured(Color::Yellow).add_modifier(Modifier::BOLD),
            Tone::Hint => coloured(Color::Cyan),
        }
    }

    pub(super) fn rule(self) -> &'static str {
        if self.is_unicode { "─" } else { "-" }
    }

    pub(super) fn marker(self) -> &'static str {
        if self.is_unicode { "▸" } else { ">" }
    }

    pub(super) fn arrows(self) -> &'static str {
        if self.is_unicode { "↑↓" } else { "Up/Down" }
    }

    fn ellipsis(self) -> &'static str {
        if self.is_unicode { "…" } else { "..." }
    }

    /// Returns `text`, shortened to `width` columns.
    pub(super) fn fit(self, text: &str, width: usize) -> String {
        if columns(text) <= width {
            return text.to_owned();
        }
        let room = width.saturating_sub(columns(self.ellipsis()));
        let mut short = head(text, room);
        short.push_str(&head(self.ellipsis(), width));
        short
    }
}

/// Returns the columns that `text` takes.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

/// Returns the beginning of `text` that takes at most `width` columns.
fn head(text: &str, width: usize) -> String {
    let mut beginning = String::new();
    for letter in text.chars() {
        beginning.push(letter);
        if columns(&beginning) > width {
            beginning.pop();
            break;
        }
    }
    beginning
}

/// Breaks `text` into lines of at most `width` columns, between words where possible.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = word;
            let taken = if line.is_empty() { 0 } else { columns(&line) + 1 };
            if taken > 0 && taken + columns(word) > width {
                lines.push(std::mem::take(&mut line));
            } else if taken > 0 {
                line.push(' ');
            }
            while line.is_empty() && columns(word) > width {
                let beginning = head(word, width);
                // A letter wider than the window.
                let step = beginning.len().max(word.chars().next().map_or(1, char::len_utf8));
                lines.push(beginning);
                word = &word[step..];
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shortened_by_columns_and_wrapped_between_words() {
        let look = Look { is_coloured: true, is_unicode: true };
        assert_eq!(look.fit("abcdef", 6), "abcdef");
        assert_eq!(look.fit("abcdefg", 6), "abcde…");
        assert_eq!(look.fit("日本語日本語", 6), "日本…");
        assert_eq!(Look { is_unicode: false, ..look }.fit("abcdefg", 6), "abc...");
        assert_eq!(look.fit("abc", 0), "");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
        assert_eq!(wrap("日本", 1), ["", "", ""]);
    }
}
