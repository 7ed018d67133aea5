//! `codex top`: a dashboard of the logins, in which they can be refreshed and logged out of.

mod actions;
mod details;
mod draw;
mod events;
mod keys;
mod look;
mod model;
mod moments;
mod prompt;
mod screen;
mod slash;

use std::io::{self, IsTerminal as _};

use clap::Args;
use codex_auth::config::TerminalKind;
use codex_auth::overview::{Overview, OverviewChange, ProgramSearch};
use codex_auth::{Clock, Environment, Timestamp};
use jiff::SignedDuration;

use self::actions::CommandLines;
use self::events::{Input, Inputs};
use self::keys::KeyEffect;
use self::look::Look;
use self::model::{EventRow, MAX_EVENTS, Model, Report};
use self::screen::Screen;
use self::slash::{SlashCommand, SlashLine};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::{Output, path_text};
use crate::run::exit_code;
use crate::screen_line::{LineKind, ScreenLine};
use crate::{located, log, runtime};

/// How far back the events go that are shown at the start.
const SHOWN_HISTORY: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Args, Debug)]
#[command(after_help = crate::help::TOP)]
pub(crate) struct TopArguments {}

/// Why the dashboard ends.
enum TopEnd {
    Quit,
    Interrupted,
}

pub(crate) fn run(_arguments: &TopArguments, output: &mut Output) -> CommandOutcome {
    let mut environment = Environment::of_process()?;
    output.configure(&environment);
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CommandError::new(Exit::Failed, "the dashboard needs a terminal")
            .hint("for scripts: codex status --json, or codex watch --json"));
    }
    if environment.terminal.kind == TerminalKind::Dumb {
        return Err(CommandError::new(
            Exit::Failed,
            "the dashboard needs a terminal with a movable cursor; TERM is dumb or not set",
        )
        .hint("as lines of text: codex status, or codex watch"));
    }
    if !io::stderr().is_terminal() {
        log::start(&environment, None);
    }
    let chosen = located::locate(&mut environment, output)?;
    let selected = chosen.account.as_ref().map(|account| account.name.to_string());
    let look = Look::of(&environment);
    let end = runtime::run(async move {
        let overview = Overview::open(chosen.home, environment)
            .map_err(|error| CommandError::from(codex_auth::Error::from(error)))?;
        Dashboard::open(overview, look)?.run(selected.as_deref()).await
    })?;
    match end {
        TopEnd::Quit => Ok(()),
        TopEnd::Interrupted => Err(CommandError::reported(Exit::Interrupted)),
    }
}

/// The running dashboard.
struct Dashboard {
    model: Model,
    overview: Overview,
    clock: Clock,
    inputs: Inputs,
    /// The lines of the command that runs.
    lines: Option<CommandLines>,
    /// The last field: the terminal is restored after all else has ended.
    screen: Screen,
}

impl Dashboard {
    fn open(overview: Overview, look: Look) -> Result<Self, CommandError> {
        let clock = Clock::system();
        let mut model = Model::new(&path_text(overview.home().path()), clock.now());
        let since = model.now.checked_sub(SHOWN_HISTORY).unwrap_or(Timestamp::MIN);
        let events = overview.recorded_events(since, MAX_EVENTS);
        events.iter().for_each(|event| model.add_event(EventRow::recorded(event)));
        // Before the screen, so that no signal is missed.
        let inputs = Inputs::listen()?;
        Ok(Self { model, overview, clock, inputs, lines: None, screen: Screen::open(look)? })
    }

    async fn run(&mut self, selected: Option<&str>) -> Result<TopEnd, CommandError> {
        self.read(ProgramSearch::Attended).await;
        if let Some(name) = selected {
            self.model.select(name);
        }
        loop {
            self.model.set_now(self.clock.now());
            self.screen.show(&self.model)?;
            let wait = self.model.until_changed();
            let tick = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                input = self.inputs.next() => {
                    if let Some(end) = self.handle(input?).await? {
                        return Ok(end);
                    }
                }
                line = next_line(&mut self.lines) => self.show_line(line),
                change = self.overview.changed() => self.show_change(change).await,
                () = tick => self.read(ProgramSearch::Background).await,
            }
        }
    }

    async fn handle(&mut self, input: Input) -> Result<Option<TopEnd>, CommandError> {
        match input {
            Input::Key(key) => match keys::press(&mut self.model, key) {
                KeyEffect::Draw => {}
                KeyEffect::Quit => return Ok(Some(TopEnd::Quit)),
                KeyEffect::Stop => codex_auth_platform::terminal::request_stop(),
                KeyEffect::Run(line) => return self.start(line).await,
            },
            Input::Paste(text) => keys::paste(&mut self.model, &text),
            // The reader has come back to the window.
            Input::Focus => self.read(ProgramSearch::Attended).await,
            Input::Resize => {}
            Input::Stop => self.screen.stop()?,
            Input::Continue => self.screen.enter()?,
            Input::Interrupt | Input::End => return Ok(Some(TopEnd::Interrupted)),
        }
        Ok(None)
    }

    /// Reads the logins again.
    async fn read(&mut self, search: ProgramSearch) {
        match self.overview.read(search).await {
            Ok(logins) => {
                self.model.set_logins(&logins);
                self.model.problem = None;
            }
            Err(error) => self.model.problem = Some(error.to_string()),
        }
    }

    async fn show_change(&mut self, change: OverviewChange) {
        let mut is_event = false;
        for change in std::iter::once(change).chain(self.overview.pending_changes()) {
            let event = match change {
                OverviewChange::Login(event) => EventRow::of(&event),
                OverviewChange::Recorded(record) => EventRow::recorded(&record),
                _ => continue,
            };
            is_event = true;
            self.model.add_event(event);
        }
        self.read(if is_event { ProgramSearch::Attended } else { ProgramSearch::Background }).await;
    }

    fn show_line(&mut self, line: Option<ScreenLine>) {
        let Some(report) = &mut self.model.report else { return };
        match line {
            Some(line) => report.add(actions::on_screen(&line)),
            None => {
                report.is_running = false;
                self.lines = None;
            }
        }
    }

    /// Starts a command. A login has the terminal until it has ended.
    async fn start(&mut self, line: SlashLine) -> Result<Option<TopEnd>, CommandError> {
        let title = actions::title(&line);
        if !matches!(line.command, SlashCommand::Login(_)) {
            self.model.report = Some(Report::running(title));
            self.lines = Some(actions::start(line, self.overview.home().clone()));
            return Ok(None);
        }
        self.screen.leave();
        let home = self.overview.home().clone();
        let login = tokio::task::spawn_blocking(move || actions::log_in(&line, &home));
        tokio::pin!(login);
        let (mut end, mut is_interrupted) = (None, false);
        let ended = loop {
            tokio::select! {
                ended = &mut login => break ended,
                // The terminal sends its signals to the login too.
                signal = self.inputs.next_signal() => match signal {
                    Input::Stop => codex_auth_platform::terminal::stop_self(),
                    Input::End => end = Some(TopEnd::Interrupted),
                    Input::Interrupt => is_interrupted = true,
                    _ => {}
                }
            }
        };
        if end.is_some() {
            return Ok(end);
        }
        let (kind, text) = match ended {
            Ok(Ok(status)) if status.success() => (LineKind::Text, "the login is stored".to_owned()),
            // Also before the login handles the signal.
            Ok(Ok(status)) if exit_code(status) == Exit::Interrupted as u8 => {
                if !is_interrupted {
                    self.inputs.skip_interrupt().await;
                }
                (LineKind::Text, "the login was interrupted; nothing was changed".to_owned())
            }
            Ok(Ok(status)) => {
                Output::of_process().say("press a key to return to the dashboard");
                self.inputs.wait_for_key().await?;
                (LineKind::Error, format!("the login failed (exit code {})", exit_code(status)))
            }
            Ok(Err(error)) => (LineKind::Error, format!("cannot start the login: {error}")),
            Err(error) => (LineKind::Error, format!("cannot start the login: {error}")),
        };
        self.screen.enter()?;
        let mut report = Report { is_running: false, ..Report::running(title) };
        report.add(ScreenLine { kind, text });
        self.model.report = Some(report);
        self.read(ProgramSearch::Attended).await;
        Ok(None)
    }
}

/// Returns the next line of the command that runs; `None` if it has ended. Never returns if none runs.
async fn next_line(lines: &mut Option<CommandLines>) -> Option<ScreenLine> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}
