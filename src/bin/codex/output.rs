//! Data on stdout and messages on stderr: aligned, and coloured on a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use clap::builder::StyledStr;
use codex_auth::Timestamp;
use codex_auth::config::{Colour, Environment, TerminalKind};
use codex_auth::redaction::{self, Styles};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::error::{CommandError, Exit};
use crate::name;

/// The version of the JSON reports; it rises when a field is removed or changes its meaning.
const SCHEMA: u32 = 1;

/// Writes the data and the messages of a command.
///
/// Commands in messages begin with the name that this run was called by, `codex` or `codex-auth`.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    verbose: bool,
    quiet: bool,
    colour: Colour,
    head: Vec<(String, Value)>,
    /// The dashboard that shows all lines instead of the terminal.
    screen: Option<UnboundedSender<ScreenLine>>,
}

/// A line of a command for the screen of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScreenLine {
    pub(crate) kind: LineKind,
    pub(crate) text: String,
}

/// What a line of a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Text,
    Warning,
    Error,
    Hint,
}

impl LineKind {
    /// The word before the line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Text => "",
            Self::Warning => "warning:",
            Self::Error => "error:",
            Self::Hint => "hint:",
        }
    }
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
    pub(crate) fn new(json: bool, verbose: bool, quiet: bool) -> Self {
        // Every report has these fields. `place` is the old name of `home`.
        let names = ["home", "place", "account"].map(|name| (name, Value::Null));
        let head = [("schema", json!(SCHEMA))].into_iter().chain(names);
        let head = head.map(|(name, value)| (name.to_owned(), value)).collect();
        Self { json, verbose, quiet, colour: Colour::Auto, head, screen: None }
    }

    /// Returns an output whose lines are sent to the dashboard. Nothing can be asked there.
    pub(crate) fn to_screen(screen: UnboundedSender<ScreenLine>) -> Self {
        Self { screen: Some(screen), ..Self::new(false, false, false) }
    }

    /// Returns whether the terminal belongs to the dashboard, so that a command must not write to it.
    pub(crate) fn is_screen(&self) -> bool {
        self.screen.is_some()
    }

    /// Returns whether a person can be asked on standard error, who answers on standard input.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && !self.is_screen() && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Sends a line to the dashboard. Returns false without one.
    fn shows_on_screen(&self, kind: LineKind, text: &str) -> bool {
        let Some(screen) = &self.screen else { return false };
        let text = redaction::escape(&in_own_name(text), Styles::Escape).into_owned();
        // The dashboard may have ended.
        let _ = screen.send(ScreenLine { kind, text });
        true
    }

    /// Returns the output of the program before its options are parsed.
    pub(crate) fn of_process() -> Self {
        let mut output = Self::new(false, false, false);
        if let Ok(environment) = Environment::of_process() {
            output.configure(&environment);
        }
        output
    }

    /// Applies the settings of the user.
    pub(crate) fn configure(&mut self, environment: &Environment) {
        self.colour = environment.colour;
    }

    /// Sets a field that every report of this run begins with.
    pub(crate) fn head(&mut self, name: &str, value: Value) {
        match self.head.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.head.push((name.to_owned(), value)),
        }
    }

    /// Sets the home of the report.
    pub(crate) fn set_home(&mut self, home: Value) {
        self.head("place", home.clone());
        self.head("home", home);
    }

    /// Returns whether the report is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line of data to stdout.
    pub(crate) fn data(&self, line: &str) -> io::Result<()> {
        if self.shows_on_screen(LineKind::Text, line) {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let line = self.shown(line, stdout.is_terminal());
        quiet_pipe(writeln!(stdout, "{line}").and_then(|()| stdout.flush()))
    }

    /// Writes a line for people to stdout.
    pub(crate) fn text(&self, line: &str) -> io::Result<()> {
        self.data(&in_own_name(line))
    }

    /// Writes `report` as JSON to stdout, after the head.
    pub(crate) fn report(&self, report: Value) -> io::Result<()> {
        let mut fields = if let Value::Object(fields) = report { fields } else { Map::new() };
        fields.values_mut().for_each(rename_commands);
        self.data(&in_ascii_escapes(serde_json::to_string_pretty(&Report {
            head: &self.head,
            fields: &fields,
        })?))
    }

    /// Returns `report` after the head, to be part of another report.
    pub(crate) fn to_value(&self, report: Value) -> Value {
        let mut fields = if let Value::Object(fields) = report { fields } else { Map::new() };
        fields.values_mut().for_each(rename_commands);
        serde_json::to_value(Report { head: &self.head, fields: &fields }).unwrap_or_default()
    }

    /// Writes `report` as one line of JSON to stdout, after the head.
    pub(crate) fn report_line(&self, report: &Map<String, Value>) -> io::Result<()> {
        let mut fields = report.clone();
        fields.values_mut().for_each(rename_commands);
        self.data(&in_ascii_escapes(serde_json::to_string(&Report { head: &self.head, fields: &fields })?))
    }

    /// Writes a line to stderr that the user needs, such as an address to open.
    pub(crate) fn say(&self, line: &str) {
        self.say_as(LineKind::Text, Paint::Faint, line);
    }

    /// Writes a line to stderr, after the coloured word of its kind.
    fn say_as(&self, kind: LineKind, paint: Paint, line: &str) {
        if self.shows_on_screen(kind, line) {
            return;
        }
        // Without stderr there is nowhere to report the failure.
        let mut stderr = io::stderr().lock();
        let line = match kind {
            LineKind::Text => in_own_name(line),
            kind => format!("{} {}", self.on_stderr(kind.word(), paint), in_own_name(line)).into(),
        };
        let _ = writeln!(stderr, "{}", self.shown(&line, stderr.is_terminal()));
    }

    /// Writes a line of a picture to stderr, with its styles: all of it is of our making.
    pub(crate) fn draw(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Writes a line to stderr that says what was done; none with `--quiet`.
    pub(crate) fn inform(&self, line: &str) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// Writes a warning to stderr, unless it is in the JSON report.
    pub(crate) fn warn(&self, warning: &str) {
        if !self.json {
            self.say_as(LineKind::Warning, Paint::Yellow, warning);
        }
    }

    /// Writes what to do next to stderr.
    pub(crate) fn hint(&self, hint: &str) {
        self.say_as(LineKind::Hint, Paint::Cyan, hint);
    }

    /// Writes why a command failed and what to do about it, also as a report where one is expected.
    pub(crate) fn failure(&self, error: &CommandError) {
        if error.is_reported() {
            return;
        }
        self.say_as(LineKind::Error, Paint::Red, &error.to_string());
        if self.verbose {
            for cause in error.causes() {
                self.say(&format!("  caused by: {cause}"));
            }
        }
        if error.kind() == Exit::Usage {
            self.say("");
        }
        error.hints().iter().for_each(|hint| self.hint(hint));
        if self.json {
            let report = json!({"error": {
                "exit": error.code(), "kind": error.word(), "message": error.to_string(), "hints": error.hints()
            }});
            let _ = self.report(report);
        }
    }

    /// Writes a help page to stdout.
    pub(crate) fn help(&self, page: &StyledStr) {
        let page = self.page(page, io::stdout().is_terminal());
        let _ = self.data(page.trim_end());
    }

    /// Writes a help page to stderr.
    pub(crate) fn help_on_stderr(&self, page: &StyledStr) {
        self.say(self.page(page, io::stderr().is_terminal()).trim_end());
    }

    fn page(&self, page: &StyledStr, terminal: bool) -> String {
        let page = if self.is_coloured(terminal) { page.ansi().to_string() } else { page.to_string() };
        name::in_files(&in_own_name(&page))
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

    /// Returns `text` in a colour, if stdout shows colours.
    pub(crate) fn on_stdout(&self, text: &str, paint: Paint) -> String {
        self.painted(text, paint, io::stdout().is_terminal())
    }

    /// Returns `text` as it may be printed to stdout by another program.
    pub(crate) fn for_stdout<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.shown(text, io::stdout().is_terminal())
    }

    /// Returns `text` as it may be printed: no name of a file or text of a server can control the terminal.
    fn shown<'a>(&self, text: &'a str, terminal: bool) -> Cow<'a, str> {
        redaction::escape(text, if self.is_coloured(terminal) { Styles::Keep } else { Styles::Escape })
    }

    fn on_stderr(&self, text: &str, paint: Paint) -> String {
        self.painted(text, paint, io::stderr().is_terminal())
    }

    fn painted(&self, text: &str, paint: Paint, terminal: bool) -> String {
        match self.is_coloured(terminal) {
            true => format!("\x1b[{}m{text}\x1b[0m", paint.code()),
            false => text.to_owned(),
        }
    }

    fn is_coloured(&self, terminal: bool) -> bool {
        match self.colour {
            Colour::Always => true,
            Colour::Auto => terminal,
            _ => false,
        }
    }
}

/// Returns a spinner for a terminal, in ASCII unless the locale is UTF-8.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let is_rich =
        Environment::of_process().is_ok_and(|environment| environment.terminal.kind == TerminalKind::Rich);
    if is_rich { bar } else { bar.with_style(ProgressStyle::default_spinner().tick_chars("|/-\\ ")) }
}

/// The colours in use.
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

/// Returns `text` with commands such as `codex login` under the name that this run was called by: a user of
/// `codex-auth` may have another `codex` on PATH.
pub(crate) fn in_own_name(text: &str) -> Cow<'_, str> {
    match name::of_this_run() {
        name::OWN => in_second_name(text).into(),
        _ => text.into(),
    }
}

/// Applies [`in_own_name`] to every text of a report.
fn rename_commands(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(own) = in_own_name(text) {
                *text = own;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(rename_commands),
        Value::Object(fields) => fields.values_mut().for_each(rename_commands),
        _ => {}
    }
}

fn in_second_name(text: &str) -> String {
    let is_part_of_a_word = |letter: char| letter.is_alphanumeric() || "/-_.".contains(letter);
    let mut own = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("codex ") {
        let (before, command) = rest.split_at(at);
        let after = &command["codex ".len()..];
        let word = after.split(|letter: char| !letter.is_alphanumeric() && letter != '-').next();
        let is_ours = word.is_some_and(|word| name::COMMANDS.contains(&word));
        own.push_str(before);
        let is_name = is_ours && !before.ends_with(is_part_of_a_word);
        own.push_str(if is_name { "codex-auth " } else { "codex " });
        rest = after;
    }
    own + rest
}

/// Returns JSON with every letter that a terminal would not show as an escape of JSON's own.
fn in_ascii_escapes(json: String) -> String {
    if json.chars().all(|letter| redaction::is_printable(letter) || letter == '\n') {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if redaction::is_printable(letter) || letter == '\n' {
            escaped.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing into a text cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// Returns a path for a JSON report. Bytes that are not UTF-8 are replaced: JSON cannot hold them, and `json!(path)`
/// panics.
pub(crate) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Returns another program's text for one line of a terminal: without control characters, 120 characters at most.
pub(crate) fn plain(text: &str) -> String {
    codex_auth::redaction::printable(text, 120)
}

/// Formats a time relative to now: "in 3 h 12 min", "48 min ago".
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let distance = moment.duration_since(now);
    let length = span(distance);
    if distance.is_negative() { format!("{length} ago") } else { format!("in {length}") }
}

/// Formats a time span without its sign: "3 h 12 min".
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

/// Treats a closed pipe as a success.
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
    fn times_are_relative_to_now() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (seconds, expected) in [
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
            assert_eq!(relative(moment, now), expected);
        }
    }

    #[test]
    fn commands_of_ours_are_named_by_the_second_name_and_nothing_else_is() {
        for (text, expected) in [
            ("log in first: codex login", "log in first: codex-auth login"),
            ("`codex logout` removes both", "`codex-auth logout` removes both"),
            ("codex --help, or codex exec", "codex-auth --help, or codex exec"),
            ("cannot run /usr/bin/codex login", "cannot run /usr/bin/codex login"),
            ("the next codex on PATH", "the next codex on PATH"),
            ("mcodex login codex login", "mcodex login codex-auth login"),
        ] {
            assert_eq!(in_second_name(text), expected);
        }
    }
}
