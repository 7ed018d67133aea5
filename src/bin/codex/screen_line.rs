//! The lines of a command that runs on the screen of the dashboard.

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
