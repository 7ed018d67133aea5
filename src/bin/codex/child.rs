//! Runs a job in a child process with a session of its own, so that the job survives its caller.
//!
//! The caller may be killed, time out or `exec` another program at any moment; the child continues, acquires the lease
//! itself and stores the new tokens. No secret passes through the pipes: both processes read the store.
//!
//! Parent and child can be different versions of this program if an upgrade replaced the file in between. The child
//! first sends the version of its protocol ([`ChildReady`]), and only then gets its job ([`ChildRequest`]). Until the
//! request is written completely the child has not started, and the parent may run the job itself.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use codex_auth::Environment;
use codex_auth::config::Overrides;
use codex_auth::manager::{Job, JobOutcome};
use codex_auth::store::{self, LockDeadline, Waiting};
use codex_auth_platform::{peer, process};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;

/// The hidden command of the child process.
pub(crate) const COMMAND: &str = "transaction";
/// Version of the protocol; it rises with every change of the lines below or of the meaning of a job.
const PIPE: u32 = 1;
/// How long a child may take to send [`ChildReady`], before the job is run without it.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a job waits before the spinner appears.
const SPINNER_DELAY: Duration = Duration::from_millis(500);
/// Interval between the frames of the spinner.
const SPINNER_TICK: Duration = Duration::from_millis(120);

#[derive(Args, Debug)]
pub(crate) struct ChildArguments {
    /// Version of the parent's protocol
    pipe: Option<u32>,
}

/// The first line of the child, which has not started the job.
#[derive(Debug, Deserialize, Serialize)]
struct ChildReady {
    pipe: u32,
}

/// The only line of the parent.
#[derive(Debug, Deserialize, Serialize)]
struct ChildRequest {
    pipe: u32,
    job: Job,
}

/// Every other line of the child.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum ChildLine {
    Waiting { millis: u64, holder: Option<String> },
    Done(JobOutcome),
}

/// Where it is shown that the job waits for another process that holds the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitNotice {
    /// Nowhere.
    None,
    /// On standard error, if that is a terminal.
    Terminal,
}

/// Whether a job may run in this process if no child process can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessFallback {
    Allowed,
    /// This process will end before the job does.
    Refused,
}

/// Runs `job` in a child process and waits for its outcome. If none can be started, runs it on this thread.
pub(crate) fn run(job: &Job, notice: WaitNotice) -> Result<JobOutcome, CommandError> {
    run_with(job, notice, &Overrides::default(), || ProcessFallback::Allowed)
}

/// As [`run`], with the remaining time of `deadline` as the lock timeout of the child.
pub(crate) fn run_within(
    job: &Job,
    notice: WaitNotice,
    deadline: &LockDeadline,
) -> Result<JobOutcome, CommandError> {
    let mut spinner = Spinner::new(notice);
    let limited = |mut command: Command| {
        command.env("CODEX_AUTH_LOCK_TIMEOUT", format!("{}ms", deadline.left().as_millis()));
        command
    };
    let child = own_command(&Overrides::default()).map(limited).map_err(StartError::Spawn);
    let outcome = match child.and_then(|command| run_in_child(command, READY_TIMEOUT, job, &mut spinner)) {
        Ok(outcome) => outcome,
        Err(not_started) => {
            tracing::debug!("running the job in this process: {not_started}");
            run_here(job, &Overrides::default(), &mut spinner)
        }
    };
    deadline.deduct(spinner.waited);
    outcome
}

/// As [`run`], with settings that override `config.toml`. `may_run_here` is asked before the job runs on this thread.
pub(crate) fn run_with(
    job: &Job,
    notice: WaitNotice,
    overrides: &Overrides,
    may_run_here: impl FnOnce() -> ProcessFallback,
) -> Result<JobOutcome, CommandError> {
    let mut spinner = Spinner::new(notice);
    let child = own_command(overrides).map_err(StartError::Spawn);
    let not_started = match child.and_then(|command| run_in_child(command, READY_TIMEOUT, job, &mut spinner))
    {
        Ok(outcome) => return outcome,
        Err(not_started) => not_started,
    };
    tracing::debug!("running the job in this process: {not_started}");
    match may_run_here() {
        ProcessFallback::Allowed => run_here(job, overrides, &mut spinner),
        ProcessFallback::Refused => Err(CommandError::new(Exit::TryAgain, not_started.to_string())),
    }
}

/// Why a child process did not start its job, and never will.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot start a child process: {0}")]
    Spawn(io::Error),
    #[error("the child process was not ready within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the child process exited before it was ready")]
    Ended,
    #[error("the child process is another version of this program")]
    OtherVersion,
    #[error("cannot send the job to the child process: {0}")]
    NotSent(io::Error),
}

fn own_command(overrides: &Overrides) -> io::Result<Command> {
    let mut command = process::own_command()?;
    command.arg(COMMAND).arg(PIPE.to_string());
    if !overrides.is_empty() {
        command.env(Overrides::VARIABLE, overrides.to_string());
    }
    // In tests the child needs these variables: libfaketime sets its clock through them.
    #[cfg(not(feature = "failpoints"))]
    process::remove_loader_variables(&mut command);
    Ok(command)
}

/// Runs `job` in a child process. The outer error means that the child did not start the job.
fn run_in_child(
    mut command: Command,
    ready_within: Duration,
    job: &Job,
    spinner: &mut Spinner,
) -> Result<Result<JobOutcome, CommandError>, StartError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = process::start_in_new_session(&mut command).spawn().map_err(StartError::Spawn)?;
    let lines = match send_job(&mut child, ready_within, job) {
        Ok(lines) => lines,
        Err(not_started) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(not_started);
        }
    };
    let mut done = None;
    for line in lines {
        match serde_json::from_str(&line) {
            Ok(ChildLine::Waiting { millis, holder }) => {
                spinner.waiting(Duration::from_millis(millis), holder);
            }
            Ok(ChildLine::Done(outcome)) => done = Some(outcome),
            // The job may have started, so the child must not be replaced.
            Err(_) => {}
        }
    }
    let _ = child.wait();
    Ok(done.ok_or_else(|| {
        CommandError::new(Exit::TryAgain, "the helper process that changes the login was killed")
            .hint("try again")
    }))
}

/// Sends the job to a child that is ready for it, and returns the child's other lines.
fn send_job(child: &mut Child, ready_within: Duration, job: &Job) -> Result<Receiver<String>, StartError> {
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
    let request = ChildRequest { pipe: PIPE, job: job.clone() };
    let mut line = serde_json::to_vec(&request).map_err(|error| StartError::NotSent(error.into()))?;
    // The child starts at the line end, the last byte: after a failed write it has not started.
    line.push(b'\n');
    stdin.write_all(&line).map_err(StartError::NotSent)?;
    Ok(lines)
}

fn run_here(job: &Job, overrides: &Overrides, spinner: &mut Spinner) -> Result<JobOutcome, CommandError> {
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

/// Runs the job from standard input and writes its outcome to standard output: the child's side of [`run`].
pub(crate) fn serve(arguments: &ChildArguments, output: &mut Output) -> CommandOutcome {
    let misused = || CommandError::new(Exit::Usage, "this command is internal to the program");
    if arguments.pipe != Some(PIPE) {
        return Err(misused());
    }
    let session = CommandContext::open(output)?;
    let _ = write_line(&ChildReady { pipe: PIPE });
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    // Without the line end the parent assumes that the job did not start.
    let request = read.ok().filter(|_| line.ends_with('\n')).and_then(|_| serde_json::from_str(&line).ok());
    let Some(ChildRequest { pipe: PIPE, job }) = request else { return Err(misused()) };
    cancel_with_parent(&session.deadline);
    let home = session.home().clone();
    let done = job.run_within(home, &session.environment, &session.deadline, |waiting| {
        let millis = waiting.waited().as_millis().try_into().unwrap_or(u64::MAX);
        match write_line(&ChildLine::Waiting { millis, holder: holder(waiting) }) {
            ParentState::Reading => ControlFlow::Continue(()),
            // The command was interrupted: a job that only waits must not start later.
            ParentState::Gone => ControlFlow::Break(()),
        }
    });
    let _ = write_line(&ChildLine::Done(done));
    Ok(())
}

/// Cancels `deadline` when the parent exits: a job that only waits must not start later.
fn cancel_with_parent(deadline: &LockDeadline) {
    let deadline = deadline.clone();
    let wait = move || {
        if peer::wait_until_closed(io::stdout()).is_ok() {
            deadline.cancel();
        }
    };
    // Without the thread, the next line to the parent detects it.
    let _ = thread::Builder::new().spawn(wait);
}

/// Whether the parent still reads from the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParentState {
    Reading,
    Gone,
}

/// Writes a line to the parent.
fn write_line(line: &impl Serialize) -> ParentState {
    let mut stdout = io::stdout().lock();
    let written = serde_json::to_writer(&mut stdout, line)
        .map_err(io::Error::from)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    if written.is_ok() { ParentState::Reading } else { ParentState::Gone }
}

fn holder(waiting: &Waiting<'_>) -> Option<String> {
    waiting.holder().map(|holder| holder.to_string())
}

/// A spinner on standard error that names the process which the job waits for.
struct Spinner {
    notice: WaitNotice,
    bar: Option<ProgressBar>,
    /// How long the job has waited.
    waited: Duration,
}

impl Spinner {
    fn new(notice: WaitNotice) -> Self {
        Self { notice, bar: None, waited: Duration::ZERO }
    }

    fn waiting(&mut self, waited: Duration, holder: Option<String>) {
        self.waited = self.waited.max(waited);
        if self.notice == WaitNotice::None || waited < SPINNER_DELAY {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(SPINNER_TICK);
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

    /// Runs a job in a child process that runs `script`.
    fn child(script: &str) -> Result<Result<JobOutcome, CommandError>, StartError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let job = Job::freshen(AccountPolicy::Follow);
        run_in_child(command, Duration::from_secs(1), &job, &mut Spinner::new(WaitNotice::None))
    }

    #[test]
    fn a_child_that_is_ready_gets_the_job_and_reports_its_outcome() {
        let script = r#"echo '{"pipe":1}'; read -r order; case "$order" in
            '{"pipe":1,"job":'*) echo '{"waiting":{"millis":1,"holder":null}}'; echo unknown; echo '{"done":"served"}';;
        esac"#;
        assert!(matches!(child(script), Ok(Ok(JobOutcome::Served))));
    }

    #[test]
    fn a_child_of_another_version_has_not_started_the_job() {
        for (script, why) in [
            // As before the protocol had a version: the parent sends only the job.
            (r#"cat > /dev/null; echo '{"done":"served"}'"#, "was not ready within 1 s"),
            (r#"echo '{"done":"served"}'"#, "another version"),
            (r#"echo '{"pipe":2}'; read -r order; echo '{"done":"served"}'"#, "another version"),
            ("echo error: unexpected argument", "another version"),
            ("exit 2", "exited before it was ready"),
            (r#"exec 0<&-; echo '{"pipe":1}'; sleep 1"#, "cannot send the job"),
        ] {
            let error = child(script).expect_err(script).to_string();
            assert!(error.contains(why), "{script}: {error}");
        }
    }

    #[test]
    fn a_child_that_has_the_job_is_never_replaced() {
        for script in [
            r#"echo '{"pipe":1}'; read -r order"#,
            r#"echo '{"pipe":1}'; read -r order; echo nonsense; kill -9 $$"#,
        ] {
            let error = child(script).expect(script).expect_err(script);
            assert_eq!(error.kind(), Exit::TryAgain, "{script}");
        }
    }
}
