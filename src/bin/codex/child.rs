//! Work that must not stop half-way, done in a child of this program: in a session of its own, with the result by pipe.
//!
//! Whoever started us may kill us, time out or replace us at any moment; the child goes on, takes the lease itself and
//! saves what it bought. Nothing secret passes through the pipe: both ends read the store.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use codex_auth::config::Overrides;
use codex_auth::manager::{Done, Job};
use codex_auth_platform::process;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::error::{CommandError, Exit};
use crate::output::Output;
use crate::session::Session;

/// The hidden command that the child is started with.
pub(crate) const COMMAND: &str = "transaction";
/// How long a person waits in silence.
const SILENCE: Duration = Duration::from_millis(500);
/// How often the line moves.
const TICK: Duration = Duration::from_millis(120);

#[derive(Args, Debug)]
pub(crate) struct Arguments {}

/// A line of the pipe.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Waiting { millis: u64, holder: Option<String> },
    Done(Done),
}

/// Who is told that somebody else has the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Nobody.
    None,
    /// A person at the terminal, if there is one.
    Terminal,
}

/// Does `job` in a child, and waits for it.
pub(crate) fn run(job: &Job, talk: Talk) -> Result<Done, CommandError> {
    run_with(job, talk, &Overrides::default())
}

/// The same with what counts before `config.toml`.
pub(crate) fn run_with(job: &Job, talk: Talk, overrides: &Overrides) -> Result<Done, CommandError> {
    let failed =
        |error: io::Error| CommandError::new(Exit::Failed, format!("cannot start a child process: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if !overrides.is_empty() {
        command.env(Overrides::VARIABLE, overrides.to_string());
    }
    // What the loader loads is how a test sets the clock of the child.
    #[cfg(not(feature = "failpoints"))]
    process::without_loader_variables(&mut command);
    let mut child = process::own_session(&mut command).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        serde_json::to_writer(&mut stdin, job).map_err(|error| failed(error.into()))?;
    }
    let mut done = None;
    let mut spinner = None;
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        match line.ok().and_then(|line| serde_json::from_str(&line).ok()) {
            Some(Line::Waiting { millis, holder })
                if talk == Talk::Terminal && Duration::from_millis(millis) >= SILENCE =>
            {
                let line = spinner.get_or_insert_with(waiting_line);
                let holder = holder.unwrap_or_else(|| "another process".to_owned());
                line.set_message(format!("waiting for {holder}, which is changing this login"));
            }
            Some(Line::Done(told)) => done = Some(told),
            _ => {}
        }
    }
    if let Some(line) = spinner {
        line.finish_and_clear();
    }
    let _ = child.wait();
    done.ok_or_else(|| {
        CommandError::new(Exit::TryAgain, "the refresh was ended from outside").hint("try again")
    })
}

/// What the child does: the job on its standard input, and the result on its standard output.
pub(crate) fn serve(output: &mut Output) -> Outcome {
    let session = Session::open(output)?;
    let job: Job = serde_json::from_reader(io::stdin().lock())
        .map_err(|_| CommandError::new(Exit::Usage, "this command is for the program itself"))?;
    let done = job.run(session.home().clone(), &session.environment, |waiting| {
        let holder = waiting.holder().map(|holder| holder.to_string());
        tell(&Line::Waiting { millis: waiting.waited().as_millis().try_into().unwrap_or(u64::MAX), holder });
    });
    tell(&Line::Done(done));
    Ok(())
}

/// The parent may be gone; the work goes on.
fn tell(line: &Line) {
    let mut stdout = io::stdout().lock();
    if serde_json::to_writer(&mut stdout, line).is_ok() {
        let _ = stdout.write_all(b"\n");
        let _ = stdout.flush();
    }
}

/// Draws on stderr, and only where that is a terminal.
fn waiting_line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    line.enable_steady_tick(TICK);
    line
}
