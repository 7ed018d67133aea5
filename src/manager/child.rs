//! Runs a job in a child process with its own session, so that the job survives its caller.
//!
//! The caller may be killed, time out or `exec` another program at any moment; the child continues, acquires the lease
//! itself and stores the new tokens. No secret passes through the pipes: both processes read the store.
//!
//! Parent and child can be different versions of one program if an upgrade replaced the file in between. The child
//! first sends the version of its protocol ([`ChildReady`]), and only then gets its job ([`ChildRequest`]). Until the
//! request is written completely the child has not started, and the parent may run the job itself.

use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use codex_auth_platform::process;
use serde::{Deserialize, Serialize};

use super::error::JobFailure;
use super::job::{Job, JobHandler, JobOutcome, run_alone};
use crate::config::{Environment, Overrides};
use crate::home::Home;
use crate::remedy::ErrorKind;
use crate::store::{self, LockDeadline, Waiting};

/// Version of the protocol; it rises with every change of the lines below or of the meaning of a job.
const PIPE: u32 = 1;
/// How long a child may take to send [`ChildReady`], before the job is run without it.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Whether a job may run in this process if no child process can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the caller decides one way or the other")]
pub enum ProcessFallback {
    /// The job runs on the calling thread.
    Allowed,
    /// This process will end before the job does.
    Refused,
}

/// Runs jobs in child processes of the running program.
#[derive(Clone, Debug)]
pub struct ChildRunner {
    command: String,
    overrides: Overrides,
    home: Option<Home>,
    lock_timeout: Option<Duration>,
    logs: bool,
    handler: JobHandler,
}

impl ChildRunner {
    /// Returns a runner that starts this program with the arguments `command` and the protocol version; there the
    /// program calls [`serve_parent`].
    #[must_use]
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            overrides: Overrides::default(),
            home: None,
            lock_timeout: None,
            logs: false,
            handler: run_alone,
        }
    }

    /// Sets what runs the job if no child process can be started.
    #[must_use]
    pub fn handler(self, handler: JobHandler) -> Self {
        Self { handler, ..self }
    }

    /// Sets settings that override `config.toml`.
    #[must_use]
    pub fn overrides(self, overrides: Overrides) -> Self {
        Self { overrides, ..self }
    }

    /// Sets the home of the job, which is by default the one that the environment names.
    #[must_use]
    pub fn home(self, home: Home) -> Self {
        Self { home: Some(home), ..self }
    }

    /// Sets the lock timeout of the child process.
    #[must_use]
    pub fn lock_timeout(self, timeout: Duration) -> Self {
        Self { lock_timeout: Some(timeout), ..self }
    }

    /// Sets whether the child writes its log to the standard error of this process. It then keeps that open until it
    /// ends.
    #[must_use]
    pub fn logs(self, logs: bool) -> Self {
        Self { logs, ..self }
    }

    /// Runs `job` in a child process and blocks until it has ended. If no child can be started, `may_run_here` decides
    /// whether the job runs on this thread. `on_wait` is called while another process holds the lease, with the time so
    /// far and the holder.
    ///
    /// # Errors
    /// The job was not started, or its process was killed.
    pub fn run(
        &self,
        job: &Job,
        mut on_wait: impl FnMut(Duration, Option<&str>),
        may_run_here: impl FnOnce() -> ProcessFallback,
    ) -> Result<JobOutcome, JobFailure> {
        let command = self.own_command().map_err(StartError::Spawn);
        match command.and_then(|command| run_in_child(command, READY_TIMEOUT, job, &mut on_wait)) {
            Ok(outcome) => outcome,
            Err(error) if may_run_here() == ProcessFallback::Refused => {
                Err(JobFailure::new(ErrorKind::TryAgain, error.to_string()))
            }
            Err(error) => {
                tracing::debug!("running the job in this process: {error}");
                self.run_here(job, &mut on_wait)
            }
        }
    }

    fn own_command(&self) -> io::Result<Command> {
        let mut command = process::own_command()?;
        command.arg(&self.command).arg(PIPE.to_string());
        if !self.overrides.is_empty() {
            command.env(Overrides::VARIABLE, self.overrides.to_string());
        }
        if let Some(home) = &self.home {
            command.env("CODEX_HOME", home.path());
        }
        if let Some(timeout) = self.lock_timeout {
            command.env("CODEX_AUTH_LOCK_TIMEOUT", format!("{}ms", timeout.as_millis()));
        }
        command.stderr(if self.logs { Stdio::inherit() } else { Stdio::null() });
        // In tests the child needs these variables: libfaketime sets its clock through them.
        #[cfg(not(feature = "failpoints"))]
        process::remove_loader_variables(&mut command);
        Ok(command)
    }

    fn run_here(
        &self,
        job: &Job,
        on_wait: &mut dyn FnMut(Duration, Option<&str>),
    ) -> Result<JobOutcome, JobFailure> {
        let failed = |error: &dyn ToString| JobFailure::new(ErrorKind::Failed, error.to_string());
        let mut environment = Environment::of_process().map_err(|error| failed(&error))?;
        if !self.overrides.is_empty() {
            environment.overrides = self.overrides.clone();
        }
        let home = match &self.home {
            Some(home) => home.clone(),
            None => store::locate(&environment)
                .map_err(|error| JobFailure::from(&super::error::Error::from(error)))?,
        };
        let deadline = LockDeadline::after(environment.lock_timeout);
        Ok((self.handler)(job.clone(), home, &environment, &deadline, &mut |waiting| {
            on_wait(waiting.waited(), holder(waiting).as_deref());
            ControlFlow::Continue(())
        }))
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

/// Runs `job` in a child process. The outer error means that the child did not start the job.
fn run_in_child(
    mut command: Command,
    ready_within: Duration,
    job: &Job,
    on_wait: &mut dyn FnMut(Duration, Option<&str>),
) -> Result<Result<JobOutcome, JobFailure>, StartError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = process::start_in_new_session(&mut command).spawn().map_err(StartError::Spawn)?;
    let lines = match send_job(&mut child, ready_within, job) {
        Ok(lines) => lines,
        Err(not_started) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(not_started);
        }
    };
    tracing::debug!("child process {} has the job", child.id());
    let mut done = None;
    for line in lines {
        match serde_json::from_str(&line) {
            Ok(ChildLine::Waiting { millis, holder }) => {
                on_wait(Duration::from_millis(millis), holder.as_deref());
            }
            Ok(ChildLine::Done(outcome)) => done = Some(outcome),
            // The job may have started, so the child must not be replaced.
            Err(_) => {}
        }
    }
    let ended = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    tracing::debug!("the child process ended: {ended}");
    let killed = "the helper process that changes the login was killed; try again";
    Ok(done.ok_or_else(|| JobFailure::new(ErrorKind::TryAgain, killed)))
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
        RecvTimeoutError::Timeout => StartError::Silent(ready_within),
        RecvTimeoutError::Disconnected => StartError::Ended,
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

/// A parent process that did not send a job of this protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no job of protocol version {PIPE} was received from the parent process")]
#[non_exhaustive]
pub struct NoJob;

/// Runs the job that [`ChildRunner::run`] sends to `input`, and writes the progress and the outcome to `output`.
/// `version` is the second argument of the command, and `handler` runs the job. A `deadline` that the caller cancels when the parent exits keeps a
/// job that only waits from starting later.
///
/// # Errors
/// [`NoJob`]: nothing was done.
pub fn serve_parent(
    version: Option<u32>,
    mut input: impl BufRead,
    mut output: impl Write,
    home: Home,
    environment: &Environment,
    deadline: &LockDeadline,
    handler: JobHandler,
) -> Result<(), NoJob> {
    if version != Some(PIPE) {
        return Err(NoJob);
    }
    let _ = write_line(&mut output, &ChildReady { pipe: PIPE });
    let mut line = String::new();
    let read = input.read_line(&mut line);
    // Without the line end the parent assumes that the job did not start.
    let request = read.ok().filter(|_| line.ends_with('\n')).and_then(|_| serde_json::from_str(&line).ok());
    let Some(ChildRequest { pipe: PIPE, job }) = request else { return Err(NoJob) };
    let done = handler(job, home, environment, deadline, &mut |waiting| {
        let millis = waiting.waited().as_millis().try_into().unwrap_or(u64::MAX);
        match write_line(&mut output, &ChildLine::Waiting { millis, holder: holder(waiting) }) {
            Ok(()) => ControlFlow::Continue(()),
            // The parent has exited: a job that only waits must not start later.
            Err(_) => ControlFlow::Break(()),
        }
    });
    let _ = write_line(&mut output, &ChildLine::Done(done));
    Ok(())
}

fn write_line(output: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")?;
    output.flush()
}

fn holder(waiting: &Waiting<'_>) -> Option<String> {
    waiting.holder().map(|holder| holder.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::engine::AccountPolicy;
    use super::*;

    /// Runs a job in a child process that runs `script`.
    fn child(script: &str) -> Result<Result<JobOutcome, JobFailure>, StartError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let job = Job::freshen(AccountPolicy::Follow);
        run_in_child(command, Duration::from_secs(1), &job, &mut |_, _| {})
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
            let failure = child(script).expect(script).expect_err(script);
            assert_eq!(failure.kind, ErrorKind::TryAgain, "{script}");
        }
    }
}
