//! How the lines of a text end, so that an edit leaves them as their user has them.

/// How the lines of a text end. The parser makes all of them plain, and they are the user's.
#[derive(Clone, Copy)]
pub(super) enum LineEnds {
    CarriageReturns,
    Plain,
}

impl LineEnds {
    pub(super) fn of(text: &str) -> Self {
        if text.contains("\r\n") { Self::CarriageReturns } else { Self::Plain }
    }

    pub(super) fn restored(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::CarriageReturns => text.replace("\r\n", "\n").replace('\n', "\r\n"),
        }
    }
}
