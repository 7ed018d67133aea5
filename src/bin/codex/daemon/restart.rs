//! The restart of Codex's daemon after a command has changed the login.

use std::io::{self, BufRead as _};
use std::time::Duration;

use clap::Args;
use codex_auth::daemon::{Daemon, Error, RestartCondition, RestartOutcome};
use codex_auth::{AuthDocument, Home};
use serde_json::{Value, json};

use super::state::{CommandEffect, DaemonState, FIELD, Restartable};
use crate::arguments::WordParser;
use crate::error::CommandOutcome;
use crate::output::{self, Output};

/// Interval between the frames of the spinner.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// When a command restarts the daemon that serves another login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RestartMode {
    /// If no turn is in progress; asks on a terminal otherwise.
    #[default]
    Idle,
    Yes,
    No,
}

const MODES: WordParser<RestartMode> = WordParser { words: &["idle", "yes", "no"], parse: mode };

fn mode(word: &str) -> Result<RestartMode, String> {
    match word {
        "idle" => Ok(RestartMode::Idle),
        "yes" => Ok(RestartMode::Yes),
        "no" => Ok(RestartMode::No),
        _ => Err("idle, yes or no".to_owned()),
    }
}

#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct DaemonArguments {
    /// Restart Codex's daemon if it serves another login: idle (if it has no turn in progress; else ask on a terminal), yes or no
    #[arg(long, value_name = "WHEN", value_parser = MODES, default_value = "idle", hide_possible_values = true, hide_default_value = true)]
    restart_daemon: RestartMode,
}

/// What became of a restart.
#[derive(Debug)]
enum Restart {
    Busy(usize),
    Done {
        turns_cut: usize,
    },
    Failed(Error),
    /// Not wanted, or it would not help.
    Left,
    NotNeeded,
}

impl Restart {
    fn word(&self) -> &'static str {
        match self {
            Self::Busy(_) => "busy",
            Self::Done { .. } => "restarted",
            Self::Failed(_) => "failed",
            Self::Left => "left",
            Self::NotNeeded => "not-needed",
        }
    }

    /// Why it was tried and not done.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Busy(1) => Some("1 turn is in progress".to_owned()),
            Self::Busy(turns) => Some(format!("{turns} turns are in progress")),
            Self::Failed(error) => Some(error.to_string()),
            _ => None,
        }
    }

    /// The fields of a JSON report.
    fn fields(&self) -> [(&'static str, Value); 2] {
        let cut = match self {
            Self::Done { turns_cut } => Some(*turns_cut),
            _ => None,
        };
        [("restart", self.word().into()), ("turns_cut", cut.into())]
    }
}

/// Reports a change of the login by `report`, and restarts the daemon if it does not serve the `stored` login now; the
/// caller holds no lease.
pub(crate) fn after_change(
    arguments: DaemonArguments,
    change: CommandEffect,
    home: &Home,
    stored: Option<&AuthDocument>,
    output: &mut Output,
    report: impl FnOnce(&Output) -> CommandOutcome,
) -> CommandOutcome {
    if output.is_json() {
        if let Some(daemon) = bring_along(arguments, change, home, stored, output) {
            output.head(FIELD, daemon);
        }
        return report(output);
    }
    report(output)?;
    bring_along(arguments, change, home, stored, output);
    Ok(())
}

/// Restarts the daemon of `home` if it does not serve the `stored` login, and says what was done. Returns that for a JSON
/// report; `None` if no daemon runs.
pub(crate) fn bring_along(
    arguments: DaemonArguments,
    change: CommandEffect,
    home: &Home,
    stored: Option<&AuthDocument>,
    output: &Output,
) -> Option<Value> {
    let look = || DaemonState::look(home, || Ok::<_, Error>(stored.cloned()));
    let look_before = || look().map(|state| state.after(change));
    let state = look_before()?;
    let told = Told { change, before: state.warning(), served: state.served(), remedy: state.remedy() };
    let (restart, now) = match state.restartable() {
        Restartable::Yes(_) if arguments.restart_daemon == RestartMode::No => (Restart::Left, look_before()),
        Restartable::Yes(daemon) => match restart(arguments.restart_daemon, daemon, look_before, output) {
            done @ Restart::Done { .. } => (done, look()),
            other => (other, look_before()),
        },
        Restartable::No(state) if state.is_good() => (Restart::NotNeeded, Some(state)),
        Restartable::No(state) => (Restart::Left, Some(state)),
    };
    if !output.is_json() {
        told.tell(&restart, now.as_ref(), output);
    }
    let more = [("served", json!(told.served)), ("reason", json!(restart.reason()))];
    now.map(|now| now.json(&[&restart.fields()[..], &more].concat()))
}

/// The report of an attempt to restart a daemon.
struct Told {
    change: CommandEffect,
    /// The warning, the login that was served and the command, from before the attempt.
    before: Option<String>,
    served: Option<String>,
    remedy: Option<String>,
}

impl Told {
    fn tell(&self, restart: &Restart, now: Option<&DaemonState>, output: &Output) {
        if let Restart::Done { turns_cut } = restart {
            let served = self.served.as_ref().filter(|_| self.change == CommandEffect::Login);
            let served = served.map(|served| format!(", which served {served}")).unwrap_or_default();
            let cut = match turns_cut {
                0 => String::new(),
                1 => "; 1 turn in progress was cut".to_owned(),
                turns => format!("; {turns} turns in progress were cut"),
            };
            output.inform(&format!("restarted Codex's daemon{served}{cut}"));
            now.into_iter().for_each(|now| now.warn(output));
            return;
        }
        let Some(before) = self.before.as_ref().filter(|_| !matches!(restart, Restart::NotNeeded)) else {
            return;
        };
        let reason =
            restart.reason().map(|reason| format!("; it was not restarted: {reason}")).unwrap_or_default();
        output.warn(&format!("{before}{reason}"));
        match (restart, &self.remedy) {
            (Restart::Failed(Error::NotManaged { .. }), _) => {
                output.hint("end that process; the next Codex starts a daemon");
            }
            (_, Some(command)) => output.hint(&format!("restart it: {command}")),
            _ => {}
        }
    }
}

/// Restarts the daemon `first`, or the one that replaced it if that does not serve the stored login either. Asks on a
/// terminal whether to do so during a turn.
fn restart(
    mode: RestartMode,
    first: Daemon,
    look: impl Fn() -> Option<DaemonState>,
    output: &Output,
) -> Restart {
    let attempt = |daemon: Daemon, condition| {
        let outcome = if output.is_screen() {
            output.inform("restarting Codex's daemon");
            daemon.restart(condition)
        } else {
            let spinner = output::spinner();
            spinner.enable_steady_tick(SPINNER_TICK);
            spinner.set_message("restarting Codex's daemon");
            let outcome = daemon.restart(condition);
            spinner.finish_and_clear();
            outcome
        };
        match outcome {
            Ok(RestartOutcome::Restarted { turns_cut }) => Restart::Done { turns_cut },
            Ok(RestartOutcome::Busy { turns }) => Restart::Busy(turns),
            Ok(_) => Restart::Left,
            Err(error) => Restart::Failed(error),
        }
    };
    let again = |condition| match look().map(DaemonState::restartable) {
        Some(Restartable::Yes(daemon)) => attempt(daemon, condition),
        // Another command has restarted it, or it has ended.
        Some(Restartable::No(_)) | None => Restart::NotNeeded,
    };
    let condition = if mode == RestartMode::Yes { RestartCondition::Always } else { RestartCondition::Idle };
    let outcome = match attempt(first, condition) {
        Restart::Failed(Error::Unreachable { .. }) => again(condition),
        outcome => outcome,
    };
    match outcome {
        Restart::Busy(turns) if is_confirmed(turns, output) => again(RestartCondition::Always),
        outcome => outcome,
    }
}

/// Asks whether to restart the daemon during a turn; without a terminal the answer is no.
fn is_confirmed(turns: usize, output: &Output) -> bool {
    if !output.can_ask() {
        return false;
    }
    let turns = if turns == 1 { "a turn".to_owned() } else { format!("{turns} turns") };
    output.say(&format!(
        "Codex's daemon has {turns} in progress. A restart waits a minute for them, then cuts them.\nRestart it? [y/N]"
    ));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok()
        && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}
