//! A finding of `codex doctor`: what was looked at, how it stands, what that means and what mends it.

use serde_json::{Value, json};

use crate::error::CommandError;
use crate::output::{Output, Paint};

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FindingLevel {
    /// As it should.
    Ok,
    /// Good enough, and worth knowing.
    Warning,
    /// Something does not work, or is open to others.
    Problem,
}

impl FindingLevel {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    fn paint(self) -> Paint {
        match self {
            Self::Ok => Paint::Green,
            Self::Warning => Paint::Yellow,
            Self::Problem => Paint::Red,
        }
    }
}

/// Whether `codex doctor --fix` mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutomaticFix {
    ByFlag,
    ByHand,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    check: &'static str,
    pub(super) standing: FindingLevel,
    message: String,
    remedy: Option<String>,
    pub(super) fix: AutomaticFix,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            standing: FindingLevel::Ok,
            message: message.into(),
            remedy: None,
            fix: AutomaticFix::ByHand,
        }
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self { standing: FindingLevel::Warning, ..Self::ok(check, message) }
    }

    pub(super) fn problem(check: &'static str, message: impl Into<String>) -> Self {
        Self { standing: FindingLevel::Problem, ..Self::ok(check, message) }
    }

    /// An error of another command's, as a problem with the same advice.
    pub(super) fn failed(check: &'static str, error: &CommandError) -> Self {
        Self { remedy: error.hints().first().cloned(), ..Self::problem(check, error.to_string()) }
    }

    /// The same as something that works for now.
    pub(super) fn for_later(self) -> Self {
        Self { standing: FindingLevel::Warning, ..self }
    }

    /// What to do about it: a command, where one does it.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// What to do about it where nothing better is known.
    pub(super) fn or(self, remedy: &str) -> Self {
        Self { remedy: self.remedy.or_else(|| Some(remedy.to_owned())), ..self }
    }

    /// It is safe to mend, and `--fix` does.
    pub(super) fn fixable(self) -> Self {
        Self { fix: AutomaticFix::ByFlag, ..self }
    }

    /// Its lines in the report.
    pub(super) fn lines(&self, output: &Output) -> String {
        let word = output.on_stdout(&format!("{:7}", self.standing.word()), self.standing.paint());
        let check = output.on_stdout(&format!("{:12}", self.check), Paint::Faint);
        let mut lines = format!("  {word}  {check}  {}", self.message);
        let indent = " ".repeat(25);
        match (&self.remedy, self.fix) {
            (Some(remedy), AutomaticFix::ByHand) => lines.push_str(&format!("\n{indent}mend it: {remedy}")),
            (Some(remedy), AutomaticFix::ByFlag) => {
                lines.push_str(&format!("\n{indent}mend it: {remedy}, or: codex doctor --fix"));
            }
            (None, AutomaticFix::ByFlag) => lines.push_str(&format!("\n{indent}mend it: codex doctor --fix")),
            (None, AutomaticFix::ByHand) => {}
        }
        lines
    }

    /// What was mended, as a line.
    pub(super) fn fixed(&self, output: &Output) -> String {
        let word = output.on_stdout("mended ", Paint::Green);
        let check = output.on_stdout(&format!("{:12}", self.check), Paint::Faint);
        format!("  {word}  {check}  it was: {}", self.message)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "check": self.check,
            "standing": self.standing.word(),
            "message": self.message,
            "remedy": self.remedy,
            "fixable": self.fix == AutomaticFix::ByFlag,
        })
    }
}
