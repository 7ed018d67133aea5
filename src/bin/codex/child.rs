//! The helper process of this program, which runs a job that survives its caller, and the spinner meanwhile.

use std::io;
use std::thread;
use std::time::Duration;

use clap::Args;
use codex_auth::config::Overrides;
use codex_auth::keeper::member::run_job;
use codex_auth::manager::{
    AccountPolicy, ChildRunner, Job, JobFailure, JobOutcome, ProcessFallback, serve_parent,
};
use codex_auth::store::{self, LockDeadline};
use codex_auth::{Environment, ErrorKind, Home};
use codex_auth_platform::peer;
use indicatif::ProgressBar;

use crate::choice;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::{self, Output};

/// The hidden command of the child process.
pub(crate) const COMMAND: &str = "transaction";
/// How long a job waits before the spinner appears.
const SPINNER_DELAY: Duration = Duration::from_millis(500);
/// Interval between the frames of the spinner.
const SPINNER_TICK: Duration = Duration::from_millis(120);

#[derive(Args, Debug)]
pub(crate) struct ChildArguments {
    /// Version of the parent's protocol
    pipe: Option<u32>,
}

/// Where it is shown that the job waits for another process that holds the lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitNotice<'a> {
    /// On standard error, if that is a terminal.
    Terminal,
    /// In one line of this output.
    Line(&'a Output),
}

impl<'a> WaitNotice<'a> {
    /// Returns the notice of a command with this output.
    pub(crate) fn of(output: &'a Output) -> Self {
        if output.is_screen() { Self::Line(output) } else { Self::Terminal }
    }
}

/// A runner for the home of this run, whose child writes a log if this process was asked for one; the keeper's own log
/// does not count.
fn runner() -> ChildRunner {
    let logs = Environment::of_process().is_ok_and(|environment| environment.log.is_some());
    let runner = ChildRunner::new(COMMAND).logs(logs).handler(run_job);
    match choice::explicit_home() {
        Some(home) => runner.home(home),
        None => runner,
    }
}

/// Runs `job` in a child process on a thread of the runtime. If none can be started, runs it on that thread.
pub(crate) async fn run_in_background(job: Job) -> Result<JobOutcome, JobFailure> {
    on_thread(runner(), job).await
}

/// As [`run_in_background`], in another home than that of this run.
pub(crate) async fn run_in_background_at(home: Home, job: Job) -> Result<JobOutcome, JobFailure> {
    on_thread(runner().home(home), job).await
}

/// As [`run_in_background`], with settings that override `config.toml` and a limit of the wait for other processes.
pub(crate) async fn run_before_hand_over(
    job: Job,
    overrides: Overrides,
    lock_timeout: Duration,
) -> Result<JobOutcome, JobFailure> {
    on_thread(runner().overrides(overrides).lock_timeout(lock_timeout), job).await
}

async fn on_thread(runner: ChildRunner, job: Job) -> Result<JobOutcome, JobFailure> {
    let work = move || runner.run(&job, |_, _| {}, || ProcessFallback::Allowed);
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|error| Err(JobFailure::new(ErrorKind::TryAgain, error.to_string())))
}

/// Runs `job` in a child process, with the remaining time of `deadline` as its lock timeout. If none can be started, runs
/// it on this thread.
pub(crate) fn run_within(
    job: &Job,
    notice: WaitNotice<'_>,
    deadline: &LockDeadline,
) -> Result<JobOutcome, JobFailure> {
    run_with(runner(), job, notice, deadline)
}

/// As [`run_within`], in `home`, which may be another one than that of this run.
pub(crate) fn run_at(
    home: &Home,
    job: &Job,
    notice: WaitNotice<'_>,
    deadline: &LockDeadline,
) -> Result<JobOutcome, JobFailure> {
    run_with(runner().home(home.clone()), job, notice, deadline)
}

fn run_with(
    runner: ChildRunner,
    job: &Job,
    notice: WaitNotice<'_>,
    deadline: &LockDeadline,
) -> Result<JobOutcome, JobFailure> {
    let mut spinner = Spinner::new(notice);
    let runner = runner.lock_timeout(deadline.left());
    let outcome =
        runner.run(job, |waited, holder| spinner.waiting(waited, holder), || ProcessFallback::Allowed);
    deadline.deduct(spinner.waited);
    outcome
}

/// Refreshes a stale login in a child process, with settings that override `config.toml`. Waits at most `lock_timeout`
/// for other processes, and for as long as it takes once the request is sent.
pub(crate) fn freshen(overrides: Overrides, lock_timeout: Duration) -> Result<JobOutcome, JobFailure> {
    runner().overrides(overrides).lock_timeout(lock_timeout).run(
        &Job::freshen(AccountPolicy::Follow),
        |_, _| {},
        || ProcessFallback::Allowed,
    )
}

/// Runs the job from standard input and writes its outcome to standard output: the child's side of [`run_within`].
pub(crate) fn serve(arguments: &ChildArguments, output: &mut Output) -> CommandOutcome {
    let environment = Environment::of_process()?;
    output.configure(&environment);
    // The parent has chosen the account.
    let home = store::locate(&environment)?;
    let deadline = LockDeadline::after(environment.lock_timeout);
    cancel_with_parent(&deadline);
    let (input, lines) = (io::stdin().lock(), io::stdout().lock());
    serve_parent(arguments.pipe, input, lines, home, &environment, &deadline, run_job)
        .map_err(|_| CommandError::new(Exit::Usage, "this command is internal to the program"))
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

/// A spinner on standard error that names the process which the job waits for.
struct Spinner<'a> {
    notice: WaitNotice<'a>,
    bar: Option<ProgressBar>,
    /// Whether the line was written.
    told: bool,
    /// How long the job has waited.
    waited: Duration,
}

impl<'a> Spinner<'a> {
    fn new(notice: WaitNotice<'a>) -> Self {
        Self { notice, bar: None, told: false, waited: Duration::ZERO }
    }

    fn waiting(&mut self, waited: Duration, holder: Option<&str>) {
        self.waited = self.waited.max(waited);
        if waited < SPINNER_DELAY {
            return;
        }
        let holder = holder.unwrap_or("another process");
        let message = format!("waiting for {holder}, which is changing this login");
        match self.notice {
            WaitNotice::Line(output) => {
                if !std::mem::replace(&mut self.told, true) {
                    output.inform(&message);
                }
            }
            WaitNotice::Terminal => {
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = output::spinner();
                    bar.enable_steady_tick(SPINNER_TICK);
                    bar
                });
                bar.set_message(message);
            }
        }
    }
}

impl Drop for Spinner<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
