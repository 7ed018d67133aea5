//! What the program says: data to stdout, talk to stderr; aligned, short, and coloured on a terminal only.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use codex_auth::Timestamp;
use codex_auth::config::{Colour, Environment};
use jiff::SignedDuration;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::error::CommandError;

/// The number of the JSON reports' shape; it rises when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// Where a command's words go.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    verbose: bool,
    colour: Colour,
    head: Vec<(String, Value)>,
}

/// A JSON report: the head, without fields that the report itself has, and the report.
struct Report<'a> {
    head: &'a [(String, Value)],
    fields: &'a Map<String, Value>,
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let head = self.head.iter().filter(|(name, _)| !self.fields.contains_key(name));
        serializer.collect_map(head.map(|(name, value)| (name, value)).chain(self.fields))
    }
}

impl Output {
    pub(crate) fn new(json: bool, verbose: bool) -> Self {
        // A program that reads reports finds these in every one of them.
        let head = [("schema", json!(SCHEMA)), ("place", Value::Null), ("account", Value::Null)];
        let head = head.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { json, verbose, colour: Colour::Auto, head }
    }

    /// The output of the program before its options are parsed.
    pub(crate) fn of_process() -> Self {
        let mut output = Self::new(false, false);
        if let Ok(environment) = Environment::of_process() {
            output.configure(&environment);
        }
        output
    }

    /// Takes over what the user has set.
    pub(crate) fn configure(&mut self, environment: &Environment) {
        self.colour = environment.colour;
    }

    /// A field that every report of this run begins with.
    pub(crate) fn head(&mut self, name: &str, value: Value) {
        match self.head.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.head.push((name.to_owned(), value)),
        }
    }

    /// Whether the report is to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line of data to stdout.
    pub(crate) fn data(&self, line: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        quiet_pipe(writeln!(stdout, "{line}").and_then(|()| stdout.flush()))
    }

    /// Writes `report` as JSON to stdout, behind the head.
    pub(crate) fn report(&self, report: Value) -> io::Result<()> {
        let fields = if let Value::Object(fields) = report { fields } else { Map::new() };
        self.data(&serde_json::to_string_pretty(&Report { head: &self.head, fields: &fields })?)
    }

    /// Writes `report` as one line of JSON to stdout, behind the head.
    pub(crate) fn report_line(&self, report: &Map<String, Value>) -> io::Result<()> {
        self.data(&serde_json::to_string(&Report { head: &self.head, fields: report })?)
    }

    /// Says a line to the person at the terminal.
    pub(crate) fn say(&self, line: &str) {
        // Nobody is left to be told that stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Says a warning, unless it is in the JSON report.
    pub(crate) fn warn(&self, warning: &str) {
        if !self.json {
            self.say(&format!("{} {warning}", self.on_stderr("warning:", Paint::Yellow)));
        }
    }

    /// Says why a command failed and what to do, and writes it as a report where one is expected.
    pub(crate) fn failure(&self, error: &CommandError) {
        if error.is_told() {
            return;
        }
        self.say(&format!("{} {error}", self.on_stderr("error:", Paint::Red)));
        if self.verbose {
            for cause in error.causes() {
                self.say(&format!("  caused by: {cause}"));
            }
        }
        for hint in error.hints() {
            self.say(&format!("{} {hint}", self.on_stderr("hint:", Paint::Cyan)));
        }
        if self.json {
            let told = json!({"error": {
                "exit": error.code(), "kind": error.word(), "message": error.to_string(), "hints": error.hints()
            }});
            let _ = self.report(told);
        }
    }

    /// Writes fields to stdout with their values aligned.
    pub(crate) fn fields(&self, fields: &[(&str, String)]) -> io::Result<()> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in fields {
            let name = self.on_stdout(&format!("{name:width$}"), Paint::Faint);
            // Writing into a text cannot fail.
            let _ = writeln!(text, "  {name}  {value}");
        }
        self.data(text.trim_end_matches('\n'))
    }

    /// `text` in a colour, where stdout shows colours.
    pub(crate) fn on_stdout(&self, text: &str, paint: Paint) -> String {
        self.painted(text, paint, io::stdout().is_terminal())
    }

    fn on_stderr(&self, text: &str, paint: Paint) -> String {
        self.painted(text, paint, io::stderr().is_terminal())
    }

    fn painted(&self, text: &str, paint: Paint, terminal: bool) -> String {
        if terminal && self.colour == Colour::Auto {
            format!("\x1b[{}m{text}\x1b[0m", paint.code())
        } else {
            text.to_owned()
        }
    }
}

/// The few colours there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint {
    Cyan,
    Faint,
    Green,
    Red,
    Yellow,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Cyan => "36",
            Self::Faint => "2",
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
        }
    }
}

/// A path for a JSON report. Bytes that are not UTF-8 are replaced: JSON cannot hold them, and `json!(path)` panics.
pub(crate) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A text of somebody else's, fit for one line of a terminal: without control characters, and not too long.
pub(crate) fn plain(text: &str) -> String {
    codex_auth::redaction::printable(text, 120)
}

/// A moment as people say it: "in 3 h 12 min", "48 min ago".
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let distance = moment.duration_since(now);
    let length = span(distance);
    if distance.is_negative() { format!("{length} ago") } else { format!("in {length}") }
}

/// A time span as people say it, whichever way it goes: "3 h 12 min".
pub(crate) fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs().unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A reader that has seen enough is no failure.
fn quiet_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_say_them() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (seconds, told) in [
            (11_520, "in 3 h 12 min"),
            (-2_880, "48 min ago"),
            (7_200, "in 2 h"),
            (59, "in 59 s"),
            (0, "in 0 s"),
            (-1, "1 s ago"),
            (86_400 * 9 + 3_600 * 4 + 59, "in 9 d 4 h"),
            (-86_400 * 8, "8 d ago"),
        ] {
            let moment = Timestamp::from_second(now.as_second() + seconds).unwrap();
            assert_eq!(relative(moment, now), told);
        }
    }
}
