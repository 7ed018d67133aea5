//! Runs a job in a child process with a session of its own, so that the job survives its caller.
//!
//! The caller may be killed, time out or replace itself by another program at any moment; the child goes on, takes the
//! lease itself and stores the new tokens. Nothing secret passes through the pipes: both ends read the store.
//!
//! Parent and child may be different versions of this program where an upgrade replaced the file in between. So the child
//! first says which version of the pipe it speaks ([`ChildReady`]), and only then gets its job ([`ChildRequest`]). Until the order is
//! written the child has begun nothing, and the parent may run the job itself.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use codex_auth::Environment;
use codex_auth::config::Overrides;
use codex_auth::manager::{Job, RefreshOutcome};
use codex_auth::store::{self, LockDeadline, Waiting};
use codex_auth_platform::{peer, process};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::CommandOutcome;
use crate::context::CommandContext;
use crate::error::{CommandError, Exit};
use crate::output::Output;

/// The hidden command that the child is started with.
pub(crate) const COMMAND: &str = "transaction";
/// Version of the lines below; it rises with every change of them or of what a job means.
const PIPE: u32 = 1;
/// How long a child may take to say that it is ready, before the job is run without it.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a person waits in silence.
const SILENCE: Duration = Duration::from_millis(500);
/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

#[derive(Args, Debug)]
pub(crate) struct ChildArguments {
    /// Version of the pipe that the parent speaks
    pipe: Option<u32>,
}

/// The child's first line: it speaks this version, and has begun nothing.
#[derive(Debug, Deserialize, Serialize)]
struct ChildReady {
    pipe: u32,
}

/// The parent's only line.
#[derive(Debug, Deserialize, Serialize)]
struct ChildRequest {
    pipe: u32,
    job: Job,
}

/// Each further line of the child.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum ChildLine {
    Waiting { millis: u64, holder: Option<String> },
    Done(RefreshOutcome),
}

/// Who is told that another process holds the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitNotice {
    /// Nobody.
    None,
    /// A person at the terminal, if there is one.
    Terminal,
}

/// Whether a job may be run in this process where no child can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessFallback {
    Allowed,
    /// This process will not live long enough.
    Refused,
}

/// Runs `job` in a child and waits for its outcome; where no child can be started, runs it on this thread.
pub(crate) fn run(job: &Job, talk: WaitNotice) -> Result<RefreshOutcome, CommandError> {
    run_with(job, talk, &Overrides::default(), || ProcessFallback::Allowed)
}

/// As [`run`], for a command that waits for locks itself: the child has what is left of `deadline`.
pub(crate) fn run_within(
    job: &Job,
    talk: WaitNotice,
    deadline: &LockDeadline,
) -> Result<RefreshOutcome, CommandError> {
    let mut spinner = Spinner::new(talk);
    let limited = |mut command: Command| {
        command.env("CODEX_AUTH_LOCK_TIMEOUT", format!("{}ms", deadline.left().as_millis()));
        command
    };
    let child = own_command(&Overrides::default()).map(limited).map_err(StartError::Spawn);
    let outcome = match child.and_then(|command| run_in_child(command, READY_WITHIN, job, &mut spinner)) {
        Ok(outcome) => outcome,
        Err(not_begun) => {
            tracing::debug!("no child process, so the job is run in this one: {not_begun}");
            run_here(job, &Overrides::default(), &mut spinner)
        }
    };
    deadline.count(spinner.waited);
    outcome
}

/// As [`run`], with settings that count before `config.toml`, and a say on running it in this process.
pub(crate) fn run_with(
    job: &Job,
    talk: WaitNotice,
    overrides: &Overrides,
    may_run_here: impl FnOnce() -> ProcessFallback,
) -> Result<RefreshOutcome, CommandError> {
    let mut spinner = Spinner::new(talk);
    let child = own_command(overrides).map_err(StartError::Spawn);
    let not_begun = match child.and_then(|command| run_in_child(command, READY_WITHIN, job, &mut spinner)) {
        Ok(outcome) => return outcome,
        Err(not_begun) => not_begun,
    };
    tracing::debug!("no child process, so the job is run in this one: {not_begun}");
    match may_run_here() {
        ProcessFallback::Allowed => run_here(job, overrides, &mut spinner),
        ProcessFallback::Refused => Err(CommandError::new(Exit::TryAgain, not_begun.to_string())),
    }
}

/// Why a child has not begun its job, and never will.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot start a child process: {0}")]
    Spawn(io::Error),
    #[error("the child process was not ready within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the child process ended before it was ready")]
    Ended,
    #[error("the child process is another version of this program")]
    OtherVersion,
    #[error("the child process did not take its job: {0}")]
    NotTaken(io::Error),
}

fn own_command(overrides: &Overrides) -> io::Result<Command> {
    let mut command = process::own_program()?;
    command.arg(COMMAND).arg(PIPE.to_string());
    if !overrides.is_empty() {
        command.env(Overrides::VARIABLE, overrides.to_string());
    }
    // With failpoints these variables reach the child: libfaketime sets its clock through them.
    #[cfg(not(feature = "failpoints"))]
    process::without_loader_variables(&mut command);
    Ok(command)
}

/// What came of the job; an error of the outer result where the child has not begun it.
fn run_in_child(
    mut command: Command,
    ready_within: Duration,
    job: &Job,
    spinner: &mut Spinner,
) -> Result<Result<RefreshOutcome, CommandError>, StartError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = process::own_session(&mut command).spawn().map_err(StartError::Spawn)?;
    let lines = match order(&mut child, ready_within, job) {
        Ok(lines) => lines,
        Err(not_begun) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(not_begun);
        }
    };
    let mut done = None;
    for line in lines {
        match serde_json::from_str(&line) {
            Ok(ChildLine::Waiting { millis, holder }) => {
                spinner.waiting(Duration::from_millis(millis), holder);
            }
            Ok(ChildLine::Done(outcome)) => done = Some(outcome),
            // The job may have begun: what the child does next decides.
            Err(_) => {}
        }
    }
    let _ = child.wait();
    Ok(done.ok_or_else(|| {
        CommandError::new(Exit::TryAgain, "the process that changes the login was killed").hint("try again")
    }))
}

/// Gives the job to a child that is ready for it, and returns the child's further lines.
fn order(child: &mut Child, ready_within: Duration, job: &Job) -> Result<Receiver<String>, StartError> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(StartError::Ended);
    };
    let (send, lines) = channel();
    thread::Builder::new()
        .spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.take_while(|line| send.send(line.clone()).is_ok()).for_each(drop);
        })
        .map_err(StartError::Spawn)?;
    let first = lines.recv_timeout(ready_within).map_err(|error| match error {
        std::sync::mpsc::RecvTimeoutError::Timeout => StartError::Silent(ready_within),
        std::sync::mpsc::RecvTimeoutError::Disconnected => StartError::Ended,
    })?;
    match serde_json::from_str(&first) {
        Ok(ChildReady { pipe: PIPE }) => {}
        _ => return Err(StartError::OtherVersion),
    }
    let order = ChildRequest { pipe: PIPE, job: job.clone() };
    let mut line = serde_json::to_vec(&order).map_err(|error| StartError::NotTaken(error.into()))?;
    // The child begins at the line end, the last byte: after a failed write it has not.
    line.push(b'\n');
    stdin.write_all(&line).map_err(StartError::NotTaken)?;
    Ok(lines)
}

fn run_here(job: &Job, overrides: &Overrides, spinner: &mut Spinner) -> Result<RefreshOutcome, CommandError> {
    let mut environment = Environment::of_process()?;
    if !overrides.is_empty() {
        environment.overrides = overrides.clone();
    }
    let home = store::locate(&environment)?;
    Ok(job.clone().run(home, &environment, |waiting| {
        spinner.waiting(waiting.waited(), holder(waiting));
        ControlFlow::Continue(())
    }))
}

/// What the child does: the job from its standard input, with the outcome on its standard output.
pub(crate) fn serve(arguments: &ChildArguments, output: &mut Output) -> CommandOutcome {
    let misused = || CommandError::new(Exit::Usage, "this command is for the program itself");
    if arguments.pipe != Some(PIPE) {
        return Err(misused());
    }
    let session = CommandContext::open(output)?;
    let _ = say(&ChildReady { pipe: PIPE });
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    // Without a line end the parent does not know that the job was taken.
    let order = read.ok().filter(|_| line.ends_with('\n')).and_then(|_| serde_json::from_str(&line).ok());
    let Some(ChildRequest { pipe: PIPE, job }) = order else { return Err(misused()) };
    cancel_with_parent(&session.deadline);
    let home = session.home().clone();
    let done = job.run_within(home, &session.environment, &session.deadline, |waiting| {
        let millis = waiting.waited().as_millis().try_into().unwrap_or(u64::MAX);
        match say(&ChildLine::Waiting { millis, holder: holder(waiting) }) {
            ParentState::Yes => ControlFlow::Continue(()),
            // The command was interrupted: what has not begun must not happen later.
            ParentState::No => ControlFlow::Break(()),
        }
    });
    let _ = say(&ChildLine::Done(done));
    Ok(())
}

/// Cancels `deadline` when the parent is gone: what has not begun by then must not happen later.
fn cancel_with_parent(deadline: &LockDeadline) {
    let deadline = deadline.clone();
    let wait = move || {
        if peer::await_departure(io::stdout()).is_ok() {
            deadline.cancel();
        }
    };
    // Without the thread the next line to the parent finds out.
    let _ = thread::Builder::new().spawn(wait);
}

/// Whether the parent still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParentState {
    Yes,
    No,
}

/// Writes a line to the parent, which may be gone.
fn say(line: &impl Serialize) -> ParentState {
    let mut stdout = io::stdout().lock();
    let written = serde_json::to_writer(&mut stdout, line)
        .map_err(io::Error::from)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    if written.is_ok() { ParentState::Yes } else { ParentState::No }
}

fn holder(waiting: &Waiting<'_>) -> Option<String> {
    waiting.holder().map(|holder| holder.to_string())
}

/// Tells a person whom the job waits for; on stderr, and only where that is a terminal.
struct Spinner {
    talk: WaitNotice,
    bar: Option<ProgressBar>,
    /// For how long the job has waited.
    waited: Duration,
}

impl Spinner {
    fn new(talk: WaitNotice) -> Self {
        Self { talk, bar: None, waited: Duration::ZERO }
    }

    fn waiting(&mut self, waited: Duration, holder: Option<String>) {
        self.waited = self.waited.max(waited);
        if self.talk == WaitNotice::None || waited < SILENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(TICK);
            bar
        });
        let holder = holder.unwrap_or_else(|| "another process".to_owned());
        bar.set_message(format!("waiting for {holder}, which is changing this login"));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use codex_auth::manager::AccountPolicy;

    use super::*;

    /// What comes of a job in a child that runs `script`; whether the job may be run elsewhere, at the end.
    fn child(script: &str) -> Result<Result<RefreshOutcome, CommandError>, StartError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let job = Job::freshen(AccountPolicy::Follow);
        run_in_child(command, Duration::from_secs(1), &job, &mut Spinner::new(WaitNotice::None))
    }

    #[test]
    fn a_child_that_is_ready_gets_the_job_and_its_outcome_counts() {
        let script = r#"echo '{"pipe":1}'; read -r order; case "$order" in
            '{"pipe":1,"job":'*) echo '{"waiting":{"millis":1,"holder":null}}'; echo unknown; echo '{"done":"served"}';;
        esac"#;
        assert!(matches!(child(script), Ok(Ok(RefreshOutcome::Served))));
    }

    #[test]
    fn a_child_without_a_version_or_of_another_has_not_begun() {
        for (script, why) in [
            // As programs did before the pipe had a version: the job is all that stands on standard input.
            (r#"cat > /dev/null; echo '{"done":"served"}'"#, "was not ready within 1 s"),
            (r#"echo '{"done":"served"}'"#, "another version"),
            (r#"echo '{"pipe":2}'; read -r order; echo '{"done":"served"}'"#, "another version"),
            ("echo error: unexpected argument", "another version"),
            ("exit 2", "ended before it was ready"),
            (r#"exec 0<&-; echo '{"pipe":1}'; sleep 1"#, "did not take its job"),
        ] {
            let not_begun = child(script).expect_err(script).to_string();
            assert!(not_begun.contains(why), "{script}: {not_begun}");
        }
    }

    #[test]
    fn a_child_that_took_the_job_is_never_replaced() {
        for script in [
            r#"echo '{"pipe":1}'; read -r order"#,
            r#"echo '{"pipe":1}'; read -r order; echo nonsense; kill -9 $$"#,
        ] {
            let error = child(script).expect(script).expect_err(script);
            assert_eq!(error.kind(), Exit::TryAgain, "{script}");
        }
    }
}
