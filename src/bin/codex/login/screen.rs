//! The terminal output of a waiting login: a countdown, the code in large letters, and a QR code.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use codex_auth::config::{Colour, Environment, TerminalEnv, TerminalKind};
use indicatif::ProgressBar;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use terminal_size::{Height, Width, terminal_size_of};

use crate::output;

/// The columns and lines of a terminal that does not report its size.
const DEFAULT_SIZE: (u16, u16) = (80, 24);
const INDENT: &str = "    ";
/// The columns of a letter in blocks.
const LETTER_WIDTH: usize = 7;
/// The width of the light frame around a QR code, which cameras need, left and right together.
const QUIET_ZONE: usize = 8;
/// The lines that are printed above and below a QR code, all of which have to be visible to scan it.
const LINES_AROUND: usize = 18;

/// A line on a terminal that shows the time left; nothing elsewhere.
pub(super) struct Countdown {
    line: Option<ProgressBar>,
    what: &'static str,
}

impl Countdown {
    /// A countdown of a wait for `what`.
    pub(super) fn new(what: &'static str) -> Self {
        let line = io::stderr().is_terminal().then(output::spinner);
        Self { line, what }
    }

    /// Shows how much time is `left`.
    pub(super) fn show(&self, left: Duration) {
        if let Some(line) = &self.line {
            let (minutes, seconds) = (left.as_secs() / 60, left.as_secs() % 60);
            line.set_message(format!("waiting for {}; {minutes}:{seconds:02} left", self.what));
            line.tick();
        }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

/// Returns `code` in large letters, if the terminal can show them, and as plain text to copy.
pub(super) fn large(code: &str, surroundings: TerminalEnv) -> Vec<String> {
    let mut lines = match TerminalSize::of(surroundings) {
        Some(room) if code.chars().count() * LETTER_WIDTH + INDENT.len() <= room.columns => blocks(code),
        _ => Vec::new(),
    };
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(format!("{INDENT}{code}"));
    lines
}

/// Returns a QR code of `address`, if the terminal can show all of it. It is dark on light, so it needs colours.
pub(super) fn scannable(address: &str, environment: &Environment) -> Vec<String> {
    let room = TerminalSize::of(environment.terminal).filter(|_| environment.colour != Colour::Never);
    let Some(room) = room else { return Vec::new() };
    let Ok(code) = QrCode::with_error_correction_level(address, EcLevel::L) else { return Vec::new() };
    let picture = code.render::<Dense1x2>().quiet_zone(true).build();
    let lines: Vec<_> = picture.lines().map(|line| format!("{INDENT}\x1b[30;107m{line}\x1b[0m")).collect();
    let fits =
        code.width() + QUIET_ZONE + INDENT.len() <= room.columns && lines.len() + LINES_AROUND <= room.lines;
    if fits { lines } else { Vec::new() }
}

/// The size of a terminal.
struct TerminalSize {
    columns: usize,
    lines: usize,
}

impl TerminalSize {
    /// `None` without a terminal, or on one that shows plain text only.
    fn of(surroundings: TerminalEnv) -> Option<Self> {
        if surroundings.kind != TerminalKind::Rich || !io::stderr().is_terminal() {
            return None;
        }
        let size = terminal_size_of(io::stderr());
        let (columns, lines) = size.map_or(DEFAULT_SIZE, |(Width(columns), Height(lines))| (columns, lines));
        Some(Self { columns: columns.into(), lines: lines.into() })
    }
}

/// Returns five lines of blocks; empty if a letter has no picture.
fn blocks(code: &str) -> Vec<String> {
    let Some(pictures) = code.chars().map(picture).collect::<Option<Vec<_>>>() else { return Vec::new() };
    let dots = |row: u16| (0..3).rev().map(move |column| if row >> column & 1 == 1 { "██" } else { "  " });
    let line = |at: u32| {
        let row = |picture: &u16| dots(picture >> (3 * at)).chain([" "]).collect::<String>();
        let line: String = pictures.iter().map(row).collect();
        format!("{INDENT}{}", line.trim_end())
    };
    (0..5).rev().map(line).collect()
}

/// The picture of a letter: five rows of three dots, a row in each octal digit.
fn picture(letter: char) -> Option<u16> {
    const LETTERS: [u16; 26] = [
        0o25755, 0o65656, 0o34443, 0o65556, 0o74647, 0o74644, 0o34553, 0o55755, 0o72227, 0o11152, 0o55655,
        0o44447, 0o57755, 0o65555, 0o25552, 0o65644, 0o25563, 0o65655, 0o34216, 0o72222, 0o55557, 0o55552,
        0o55775, 0o55255, 0o55222, 0o71247,
    ];
    const DIGITS: [u16; 10] =
        [0o75557, 0o26227, 0o61247, 0o61216, 0o55711, 0o74616, 0o34757, 0o71122, 0o75757, 0o75716];
    let of = |pictures: &[u16], first: char| {
        let at = u32::from(letter).checked_sub(u32::from(first))?;
        pictures.get(usize::try_from(at).ok()?).copied()
    };
    match letter {
        '-' => Some(0o00700),
        '0'..='9' => of(&DIGITS, '0'),
        'A'..='Z' => of(&LETTERS, 'A'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_in_letters_that_differ() {
        let lines = blocks("T-1");
        assert_eq!(
            lines.join("\n"),
            "    ██████          ██\n      ██          ████\n      ██   ██████   ██\n      ██            ██\n      ██          ██████"
        );
        assert!(blocks("code").is_empty(), "what has no picture is shown as it is");
        let all: std::collections::HashSet<_> = ('A'..='Z').chain('0'..='9').map(picture).collect();
        assert!(all.len() == 36 && !all.contains(&None));
    }
}
