//! The terminal while the dashboard has it, and its return to the shell in every case.

use std::io::{self, Stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use codex_auth_platform::terminal;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::draw::draw;
use super::look::Look;
use super::model::Model;
use crate::error::CommandError;

/// Whether the terminal shows the dashboard.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// The terminal. Dropping it restores the screen and the settings that the shell had.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    look: Look,
}

impl Screen {
    /// Takes the terminal. A panic restores it before its message is printed.
    pub(super) fn open(look: Look) -> Result<Self, CommandError> {
        restore_on_panic();
        let terminal = enter().and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        let terminal = terminal.map_err(|error| {
            leave();
            CommandError::cannot_start("the dashboard", &error)
        })?;
        Ok(Self { terminal, look })
    }

    /// Draws `model`; only cells that changed are written.
    pub(super) fn show(&mut self, model: &Model) -> Result<(), CommandError> {
        let look = self.look;
        self.terminal.draw(|frame| {
            let area = frame.area();
            if let Some(cursor) = draw(model, look, area, frame.buffer_mut()) {
                frame.set_cursor_position(cursor);
            }
        })?;
        Ok(())
    }

    /// Gives the terminal back, for as long as another program or the shell uses it.
    pub(super) fn leave(&mut self) {
        leave();
    }

    /// Takes the terminal again, whose settings and content may be others by now.
    pub(super) fn enter(&mut self) -> Result<(), CommandError> {
        leave_raw_mode();
        enter().and_then(|()| self.terminal.clear()).map_err(|error| {
            leave();
            CommandError::cannot_start("the dashboard", &error)
        })
    }

    /// Stops this process until the shell continues it.
    pub(super) fn stop(&mut self) -> Result<(), CommandError> {
        self.leave();
        terminal::stop_self();
        self.enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    IS_SHOWN.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange)
}

/// Restores the terminal. A terminal that is gone needs nothing.
fn leave() {
    if IS_SHOWN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), DisableFocusChange, DisableBracketedPaste, LeaveAlternateScreen, Show);
    }
    leave_raw_mode();
}

fn leave_raw_mode() {
    let _ = disable_raw_mode();
}

/// Restores the terminal at a panic of the thread that draws. A panic of another thread is reported by the command that
/// runs there, and its message would be written across the screen.
fn restore_on_panic() {
    let drawing = std::thread::current().id();
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == drawing {
            leave();
        }
        if !IS_SHOWN.load(Ordering::SeqCst) {
            report(panic);
        }
    }));
}
