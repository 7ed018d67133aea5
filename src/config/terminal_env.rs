//! Where the person is: in front of this machine or of another one, and what their terminal can show.

use std::ffi::{OsStr, OsString};

use super::environment::{
    DISPLAY, LANG, LC_ALL, LC_CTYPE, SSH_CONNECTION, SSH_TTY, TERM, Variable, WAYLAND_DISPLAY,
};

/// What can be known of the person and their terminal without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TerminalEnv {
    /// Whether a browser that is opened here would open in front of the person.
    pub person: UserLocation,
    /// What the terminal can show, if there is one.
    pub terminal: TerminalKind,
}

/// Where the person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserLocation {
    /// In an SSH session without a display: a browser would open somewhere else, or nowhere.
    Elsewhere,
    /// At this machine, as far as can be told.
    Here,
}

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TerminalKind {
    /// Lines of text.
    Plain,
    /// Block characters and colours.
    Rich,
}

impl TerminalEnv {
    pub(super) fn read(value: impl Fn(Variable) -> Option<OsString>) -> Self {
        let any = |variables: &[Variable]| variables.iter().any(|variable| value(*variable).is_some());
        let person = match (any(&[SSH_CONNECTION, SSH_TTY]), any(&[DISPLAY, WAYLAND_DISPLAY])) {
            (true, false) => UserLocation::Elsewhere,
            _ => UserLocation::Here,
        };
        // As everywhere, the first of these that is set counts, even where a later one says more.
        let locale = [LC_ALL, LC_CTYPE, LANG].into_iter().find_map(&value);
        let terminal = match value(TERM) {
            Some(term) if term != OsStr::new("dumb") && locale.is_some_and(|name| is_unicode(&name)) => {
                TerminalKind::Rich
            }
            _ => TerminalKind::Plain,
        };
        Self { person, terminal }
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
    fn a_person_is_elsewhere_only_in_an_ssh_session_without_a_display() {
        for (set, person) in [
            (&[][..], UserLocation::Here),
            (&[("DISPLAY", ":0")], UserLocation::Here),
            (&[("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")], UserLocation::Elsewhere),
            (&[("SSH_TTY", "/dev/pts/1")], UserLocation::Elsewhere),
            (&[("SSH_TTY", "/dev/pts/1"), ("DISPLAY", "localhost:10")], UserLocation::Here),
            (&[("SSH_TTY", "/dev/pts/1"), ("WAYLAND_DISPLAY", "wayland-0")], UserLocation::Here),
        ] {
            assert_eq!(read(set).person, person, "{set:?}");
        }
    }

    #[test]
    fn a_terminal_is_rich_where_it_has_a_name_and_its_letters_are_unicode() {
        for (set, terminal) in [
            (&[("TERM", "xterm"), ("LANG", "en_GB.UTF-8")][..], TerminalKind::Rich),
            (&[("TERM", "xterm"), ("LC_ALL", "C.utf8")], TerminalKind::Rich),
            (&[("TERM", "xterm"), ("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")], TerminalKind::Plain),
            (&[("TERM", "dumb"), ("LANG", "en_GB.UTF-8")], TerminalKind::Plain),
            (&[("LANG", "en_GB.UTF-8")], TerminalKind::Plain),
            (&[("TERM", "xterm")], TerminalKind::Plain),
        ] {
            assert_eq!(read(set).terminal, terminal, "{set:?}");
        }
    }
}
