//! `codex watch`: prints a line for every change of the login by any program, until interrupted.

use std::io;
use std::path::Path;
use std::thread;

use clap::Args;
use codex_auth::Timestamp;
use codex_auth::manager::{AccountPolicy, AuthManager, Divergence, LoginChange, Snapshot, Usability};
use codex_auth::watch::{MISSING_GRACE, WatchMethod};
use codex_auth_platform::filesystem::{self, Presence};
use codex_auth_platform::peer;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use crate::context::{CommandContext, account};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::located;
use crate::output::{Output, Paint, plain, relative};
use crate::runtime;

#[derive(Args, Debug)]
#[command(after_help = crate::help::WATCH)]
pub(crate) struct WatchArguments {
    /// Report as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why watching ended.
enum WatchEnd {
    HomeDeleted,
    Interrupted,
    OutputClosed,
}

pub(crate) fn run(_arguments: &WatchArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    match runtime::run(follow(&session, &manager, output))? {
        WatchEnd::OutputClosed => Ok(()),
        WatchEnd::HomeDeleted => {
            output.say(&format!("{} was deleted; nothing is left to watch", session.home().path().display()));
            Ok(())
        }
        WatchEnd::Interrupted => Err(CommandError::reported(Exit::Interrupted)),
    }
}

async fn follow(
    session: &CommandContext,
    manager: &AuthManager,
    output: &Output,
) -> Result<WatchEnd, CommandError> {
    // Before the first line, so that a reader of that line can interrupt.
    let interrupt = signal(SignalKind::interrupt());
    let mut interrupt = interrupt.map_err(|error| CommandError::cannot_start("a signal handler", &error))?;
    let mut snapshots = manager.subscribe();
    let mut reported = snapshots.borrow_and_update().clone();
    let watching = manager.watch();
    let mut method = watching.method();
    let report = WatchReport { session, output };
    report.line(ReportedEvent::Start, &reported, &manager.usability(&reported).await)?;
    report.method(&method.borrow_and_update());

    let (home, environment) = (session.home().clone(), session.environment.clone());
    let reconciling = located::keep_reconciled(home, environment, watching.reads(), output.clone());
    let home_deleted = until_deleted(session.home().path(), watching.reads());
    let output_closed = in_thread(until_output_closed);
    tokio::pin!(home_deleted, output_closed, reconciling);
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(WatchEnd::Interrupted),
            () = &mut output_closed => return Ok(WatchEnd::OutputClosed),
            // The manager holds the other end.
            Ok(()) = snapshots.changed() => {
                let new = snapshots.borrow_and_update().clone();
                if let Some(change) = LoginChange::between(&reported, &new) {
                    report.line(ReportedEvent::Change(change), &new, &manager.usability(&new).await)?;
                }
                reported = new;
            }
            Ok(()) = method.changed() => report.method(&method.borrow_and_update()),
            () = &mut reconciling => {}
            () = &mut home_deleted => return Ok(WatchEnd::HomeDeleted),
        }
    }
}

/// The event that a line reports.
#[derive(Clone, Copy)]
enum ReportedEvent {
    /// The state when watching starts.
    Start,
    Change(LoginChange),
}

impl ReportedEvent {
    /// Whether a process caused the event.
    fn has_author(self) -> bool {
        !matches!(self, Self::Start | Self::Change(LoginChange::Readable | LoginChange::Unreadable))
    }
}

struct WatchReport<'a> {
    session: &'a CommandContext,
    output: &'a Output,
}

impl WatchReport<'_> {
    fn line(
        &self,
        event: ReportedEvent,
        snapshot: &Snapshot,
        usability: &Usability,
    ) -> Result<(), CommandError> {
        let now = self.session.clock.now();
        if !self.output.is_json() {
            return Ok(self.output.data(&self.sentence(event, snapshot, usability, now))?);
        }
        let reason = usability.reason().map(ToString::to_string);
        let word = match event {
            ReportedEvent::Start => json!("present"),
            ReportedEvent::Change(change) => json!(change),
        };
        let author = snapshot.author().filter(|_| event.has_author());
        let by = author.map(|author| json!({"pid": author.pid, "program": author.program}));
        Ok(self.output.report_line(&Map::from_iter([
            ("at".to_owned(), json!(stamp(now))),
            ("event".to_owned(), word),
            ("account".to_owned(), account(snapshot.document())),
            ("logged_in".to_owned(), json!((!is_unknown(snapshot)).then_some(snapshot.document().is_some()))),
            ("usable".to_owned(), json!(reason.is_none())),
            ("reason".to_owned(), json!(reason)),
            ("store".to_owned(), json!(snapshot.location().map(|location| location.kind().as_str()))),
            ("expires_at".to_owned(), json!(snapshot.expires_at(now).map(|end| end.to_string()))),
            ("by".to_owned(), by.unwrap_or(Value::Null)),
        ]))?)
    }

    fn sentence(
        &self,
        event: ReportedEvent,
        snapshot: &Snapshot,
        usability: &Usability,
        now: Timestamp,
    ) -> String {
        let mut parts = Vec::new();
        match snapshot.document() {
            None if is_unknown(snapshot) => {}
            None => parts.push("not logged in".to_owned()),
            Some(document) => {
                let email = document.claims().email.as_deref().map(plain);
                let mode = document.mode().map(|mode| plain(mode.as_str()));
                parts.extend(email.or(mode));
                parts.extend(snapshot.location().map(|location| format!("{} store", location.kind())));
                let expires = |end| if end > now { "expires" } else { "expired" };
                parts.extend(
                    snapshot.expires_at(now).map(|end| format!("{} {}", expires(end), relative(end, now))),
                );
            }
        }
        let reason = usability.reason().filter(|_| snapshot.document().is_some() || is_unknown(snapshot));
        parts.extend(reason.map(ToString::to_string));
        if event.has_author() {
            let by = snapshot.author().map_or_else(|| "another program".to_owned(), ToString::to_string);
            parts.push(format!("by {by}"));
        }
        let at = self.output.on_stdout(&stamp(now), Paint::Faint);
        let word = match event {
            ReportedEvent::Start => "now".to_owned(),
            ReportedEvent::Change(change) => change.to_string(),
        };
        format!("{at}  {word:<15}  {}", parts.join(" · "))
    }

    fn method(&self, method: &WatchMethod) {
        if let WatchMethod::Polling { .. } = method {
            self.output.say(&format!("note: {method}"));
        }
    }
}

/// Whether the store has not been readable yet, so that it is unknown whether a login is stored.
fn is_unknown(snapshot: &Snapshot) -> bool {
    snapshot.document().is_none() && matches!(snapshot.divergence(), Some(Divergence::Unreadable(_)))
}

/// Formats a time to the second, in UTC.
fn stamp(now: Timestamp) -> String {
    format!("{now:.0}")
}

/// Runs `wait`, which may block forever, on a detached thread. Never returns if the thread cannot be started.
pub(crate) async fn in_thread(wait: impl FnOnce() + Send + 'static) {
    let (sender, ended) = oneshot::channel();
    let work = move || {
        wait();
        let _ = sender.send(());
    };
    let started = thread::Builder::new().spawn(work);
    if started.is_err() || ended.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the home has been missing for [`MISSING_GRACE`]; `reads` changes after every change of its folder.
async fn until_deleted(home: &Path, mut reads: Receiver<u64>) {
    loop {
        if timeout(MISSING_GRACE, until_found(home, &mut reads)).await.is_err() {
            return;
        }
        next_read(&mut reads).await;
    }
}

async fn until_found(home: &Path, reads: &mut Receiver<u64>) {
    // A home without access rights is not gone.
    while filesystem::presence(home) == Presence::Absent {
        next_read(reads).await;
    }
}

/// Never returns if the watch thread has ended.
async fn next_read(reads: &mut Receiver<u64>) {
    if reads.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn until_output_closed() {
    if peer::wait_until_closed(io::stdout()).is_err() {
        // Not supported by the system: the next line that is written detects it.
        loop {
            thread::park();
        }
    }
}
