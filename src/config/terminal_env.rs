//! Whether the user is at this machine, and what their terminal can show, according to the environment.

use std::ffi::{OsStr, OsString};

use super::variables::{
    DISPLAY, LANG, LC_ALL, LC_CTYPE, SSH_CONNECTION, SSH_TTY, TERM, Variable, WAYLAND_DISPLAY,
};

/// The location of the user and the abilities of their terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TerminalEnv {
    /// Whether a browser that is opened here appears in front of the user.
    pub user: UserLocation,
    /// What the terminal can show, if stderr is one.
    pub kind: TerminalKind,
}

/// The location of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserLocation {
    /// In an SSH session without a display: a browser would open elsewhere, or not at all.
    Remote,
    /// At this machine, as far as the environment shows.
    Local,
}

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TerminalKind {
    /// Lines of text, without a cursor that moves: `TERM` is `dumb` or not set.
    Dumb,
    /// Text.
    Plain,
    /// Block characters and colours.
    Rich,
}

impl TerminalEnv {
    pub(super) fn read(value: impl Fn(Variable) -> Option<OsString>) -> Self {
        let any = |variables: &[Variable]| variables.iter().any(|variable| value(*variable).is_some());
        let person = match (any(&[SSH_CONNECTION, SSH_TTY]), any(&[DISPLAY, WAYLAND_DISPLAY])) {
            (true, false) => UserLocation::Remote,
            _ => UserLocation::Local,
        };
        // The usual precedence of the locale variables.
        let locale = [LC_ALL, LC_CTYPE, LANG].into_iter().find_map(&value);
        let terminal = match value(TERM) {
            None => TerminalKind::Dumb,
            Some(term) if term == OsStr::new("dumb") => TerminalKind::Dumb,
            Some(_) if locale.is_some_and(|name| is_unicode(&name)) => TerminalKind::Rich,
            Some(_) => TerminalKind::Plain,
        };
        Self { user: person, kind: terminal }
    }
}

fn is_unicode(locale: &OsStr) -> bool {
    let locale = locale.to_string_lossy().to_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> TerminalEnv {
        TerminalEnv::read(|variable| {
            set.iter().find(|(name, _)| *name == variable.name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn a_user_is_remote_only_in_an_ssh_session_without_a_display() {
        for (set, person) in [
            (&[][..], UserLocation::Local),
            (&[("DISPLAY", ":0")], UserLocation::Local),
            (&[("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")], UserLocation::Remote),
            (&[("SSH_TTY", "/dev/pts/1")], UserLocation::Remote),
            (&[("SSH_TTY", "/dev/pts/1"), ("DISPLAY", "localhost:10")], UserLocation::Local),
            (&[("SSH_TTY", "/dev/pts/1"), ("WAYLAND_DISPLAY", "wayland-0")], UserLocation::Local),
        ] {
            assert_eq!(read(set).user, person, "{set:?}");
        }
    }

    #[test]
    fn a_terminal_is_rich_if_it_is_not_dumb_and_its_locale_is_unicode() {
        for (set, terminal) in [
            (&[("TERM", "xterm"), ("LANG", "en_GB.UTF-8")][..], TerminalKind::Rich),
            (&[("TERM", "xterm"), ("LC_ALL", "C.utf8")], TerminalKind::Rich),
            (&[("TERM", "xterm"), ("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")], TerminalKind::Plain),
            (&[("TERM", "dumb"), ("LANG", "en_GB.UTF-8")], TerminalKind::Dumb),
            (&[("LANG", "en_GB.UTF-8")], TerminalKind::Dumb),
            (&[("TERM", "xterm")], TerminalKind::Plain),
        ] {
            assert_eq!(read(set).kind, terminal, "{set:?}");
        }
    }
}
