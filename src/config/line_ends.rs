//! Keeps the line endings of an edited text.

/// The line endings of a text. The TOML parser turns all of them into `Lf`.
#[derive(Clone, Copy)]
pub(super) enum LineEndings {
    CrLf,
    Lf,
}

impl LineEndings {
    pub(super) fn of(text: &str) -> Self {
        if text.contains("\r\n") { Self::CrLf } else { Self::Lf }
    }

    pub(super) fn apply(self, text: &str) -> String {
        match self {
            Self::Lf => text.to_owned(),
            Self::CrLf => text.replace("\r\n", "\n").replace('\n', "\r\n"),
        }
    }
}
