//! `codex top` in a terminal of tmux.

mod commands;
mod events;
mod terminal;

use crate::login::world::World;
use crate::support::{Run, Screen};

/// The smallest window for which the dashboard is made.
const USUAL: (u16, u16) = (80, 24);

/// Starts the dashboard in a shell, which prints its exit code and stays.
fn start(run: Run, size: (u16, u16)) -> Screen {
    let shell = ["sh", "-c", "\"$@\"; echo \"exit code $?\"; exec sleep 600", "sh"];
    Screen::start(run.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").through(shell), size)
}

/// Starts the dashboard of a world, and waits until it shows the login.
fn dashboard(world: &World<'_>) -> Screen {
    let screen = start(world.codex(["top"]), USUAL);
    screen.shows("type / for a command");
    screen
}

/// Types a command and Enter.
fn enter(screen: &Screen, line: &str) {
    screen.types(line);
    screen.shows(&format!("> {line}"));
    screen.press("Enter");
}

/// Checks that no secret of the authority is on the screen.
#[track_caller]
fn assert_no_secret(world: &World<'_>, screen: &Screen) {
    let text = screen.text().replace(['\n', ' '], "");
    for secret in world.authority.issued_secrets() {
        // A part of it is as bad, such as the last line of a wrapped one.
        let end = secret.len().saturating_sub(24);
        assert!(!text.contains(&secret[end..]), "a secret on\n{}", screen.text());
    }
}
