//! A finding of `codex doctor`: the check, its result, and how to fix a problem.

use serde_json::{Value, json};

use crate::error::CommandError;
use crate::output::{Output, Paint};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FindingLevel {
    /// Nothing is wrong.
    Ok,
    /// It works, but may fail later or work less well.
    Warning,
    /// Something does not work, or is accessible to other users.
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

/// How a finding is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutomaticFix {
    /// By `codex doctor --fix`.
    ByFlag,
    /// By the user.
    ByHand,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    check: &'static str,
    pub(super) level: FindingLevel,
    message: String,
    remedy: Option<String>,
    pub(super) fix: AutomaticFix,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            level: FindingLevel::Ok,
            message: message.into(),
            remedy: None,
            fix: AutomaticFix::ByHand,
        }
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self { level: FindingLevel::Warning, ..Self::ok(check, message) }
    }

    pub(super) fn problem(check: &'static str, message: impl Into<String>) -> Self {
        Self { level: FindingLevel::Problem, ..Self::ok(check, message) }
    }

    /// A problem from an error, with the first hint of the error as the remedy.
    pub(super) fn failed(check: &'static str, error: impl Into<CommandError>) -> Self {
        let error = error.into();
        Self { remedy: error.hints().first().cloned(), ..Self::problem(check, error.to_string()) }
    }

    /// Turns the finding into a warning.
    pub(super) fn into_warning(self) -> Self {
        Self { level: FindingLevel::Warning, ..self }
    }

    /// Sets what the user can do: a command, where there is one.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Sets the remedy unless there is one.
    pub(super) fn or_remedy(self, remedy: &str) -> Self {
        Self { remedy: self.remedy.or_else(|| Some(remedy.to_owned())), ..self }
    }

    /// Marks the finding as one that `--fix` fixes.
    pub(super) fn fixable(self) -> Self {
        Self { fix: AutomaticFix::ByFlag, ..self }
    }

    /// Formats the finding for the report.
    pub(super) fn lines(&self, output: &Output) -> String {
        let word = output.on_stdout(&format!("{:7}", self.level.word()), self.level.paint());
        let check = output.on_stdout(&format!("{:12}", self.check), Paint::Faint);
        let mut lines = format!("  {word}  {check}  {}", self.message);
        let indent = " ".repeat(25);
        match (&self.remedy, self.fix) {
            (Some(remedy), AutomaticFix::ByHand) => lines.push_str(&format!("\n{indent}to fix it: {remedy}")),
            (Some(remedy), AutomaticFix::ByFlag) => {
                lines.push_str(&format!("\n{indent}to fix it: {remedy}, or: codex doctor --fix"));
            }
            (None, AutomaticFix::ByFlag) => {
                lines.push_str(&format!("\n{indent}to fix it: codex doctor --fix"));
            }
            (None, AutomaticFix::ByHand) => {}
        }
        lines
    }

    /// Formats the finding as one that was fixed.
    pub(super) fn fixed(&self, output: &Output) -> String {
        let word = output.on_stdout("fixed  ", Paint::Green);
        let check = output.on_stdout(&format!("{:12}", self.check), Paint::Faint);
        format!("  {word}  {check}  was: {}", self.message)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "check": self.check,
            "standing": self.level.word(),
            "message": self.message,
            "remedy": self.remedy,
            "fixable": self.fix == AutomaticFix::ByFlag,
        })
    }
}
