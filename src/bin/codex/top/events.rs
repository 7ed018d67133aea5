//! Keys and signals.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use codex_auth_platform::terminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::error::CommandError;

/// How much later than another program of the terminal this one gets a signal at most.
const LATE_SIGNAL: Duration = Duration::from_millis(200);

/// What happens at the terminal.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    Paste(String),
    /// The window got the focus.
    Focus,
    /// The window has another size.
    Resize,
    /// SIGTSTP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGINT, which no key sends while the dashboard is shown.
    Interrupt,
    /// SIGTERM, or SIGHUP: the terminal is gone.
    End,
}

/// The keyboard, and the signals that this program handles itself from now on.
pub(super) struct Inputs {
    keyboard: Keyboard,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    stop: Signal,
    resume: Signal,
    resize: Signal,
}

impl Inputs {
    pub(super) fn listen() -> Result<Self, CommandError> {
        let listen =
            |kind| signal(kind).map_err(|error| CommandError::cannot_start("a signal handler", &error));
        Ok(Self {
            keyboard: Keyboard::start()?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            stop: listen(SignalKind::from_raw(terminal::stop_request()))?,
            resume: listen(SignalKind::from_raw(terminal::resumption()))?,
            resize: listen(SignalKind::window_change())?,
        })
    }

    /// Waits for the next key or signal.
    pub(super) async fn next(&mut self) -> Result<Input, CommandError> {
        loop {
            if let Some(input) = pending()? {
                return Ok(input);
            }
            let Self { keyboard, interrupt, terminate, hangup, stop, resume, resize } = self;
            tokio::select! {
                biased;
                _ = terminate.recv() => return Ok(Input::End),
                _ = hangup.recv() => return Ok(Input::End),
                _ = interrupt.recv() => return Ok(Input::Interrupt),
                _ = stop.recv() => return Ok(Input::Stop),
                _ = resume.recv() => return Ok(Input::Continue),
                _ = resize.recv() => return Ok(Input::Resize),
                is_there = keyboard.readable() => if !is_there {
                    return Ok(Input::End);
                }
            }
        }
    }

    /// Waits for the next signal; leaves the keys to another program.
    pub(super) async fn next_signal(&mut self) -> Input {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Input::End,
            _ = self.hangup.recv() => Input::End,
            _ = self.interrupt.recv() => Input::Interrupt,
            _ = self.stop.recv() => Input::Stop,
            _ = self.resume.recv() => Input::Continue,
        }
    }

    /// Takes the signal that has ended another program of the terminal, which may have got it first.
    pub(super) async fn skip_interrupt(&mut self) {
        let _ = tokio::time::timeout(LATE_SIGNAL, self.interrupt.recv()).await;
    }

    /// Waits for any key, on a terminal that does not show the dashboard.
    pub(super) async fn wait_for_key(&mut self) -> Result<(), CommandError> {
        enable_raw_mode()?;
        let ended = loop {
            match self.next().await {
                Ok(Input::Key(_) | Input::Interrupt | Input::End) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        disable_raw_mode()?;
        ended
    }
}

/// A thread that waits for keys, and leaves them to the program that reads them.
struct Keyboard {
    /// Makes the thread wait once.
    waits: Sender<()>,
    ready: UnboundedReceiver<()>,
    is_waiting: bool,
}

impl Keyboard {
    fn start() -> Result<Self, CommandError> {
        let (waits, requests) = channel();
        let (sender, ready) = unbounded_channel();
        let work = move || {
            while requests.recv().is_ok() && terminal::wait_until_readable(io::stdin()).is_ok() {
                if sender.send(()).is_err() {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("codex-auth keys".to_owned()).spawn(work);
        started.map_err(|error| CommandError::cannot_start("a thread", &error))?;
        Ok(Self { waits, ready, is_waiting: false })
    }

    /// Waits until there is something to read, also if another program reads it first. Returns false if the terminal is
    /// gone.
    async fn readable(&mut self) -> bool {
        if !self.is_waiting {
            self.is_waiting = self.waits.send(()).is_ok();
        }
        let is_there = self.ready.recv().await.is_some();
        self.is_waiting = false;
        is_there
    }
}

/// Returns what was typed already, or that the terminal is gone: crossterm would read its end for ever.
fn pending() -> io::Result<Option<Input>> {
    if terminal::is_gone(io::stdin()) {
        return Ok(Some(Input::End));
    }
    while event::poll(Duration::ZERO)? {
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(Some(Input::Key(key))),
            Event::Paste(text) => return Ok(Some(Input::Paste(text))),
            Event::FocusGained => return Ok(Some(Input::Focus)),
            Event::Resize(..) => return Ok(Some(Input::Resize)),
            _ => {}
        }
    }
    Ok(None)
}
