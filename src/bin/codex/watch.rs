//! `codex watch`: a line for every change of the login, whoever makes it, until it is interrupted.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use codex_auth::Timestamp;
use codex_auth::manager::{AccountPolicy, AuthManager, Divergence, LoginChange, Snapshot, Usability};
use codex_auth::watch::{Watch, WatchMethod};
use codex_auth_platform::filesystem::{self, Presence};
use codex_auth_platform::peer;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::CommandOutcome;
use crate::context::{CommandContext, account};
use crate::error::{CommandError, Exit};
use crate::output::{Output, Paint, plain, relative};

/// How long a home may be away before it counts as deleted: one that is being replaced is back sooner.
const AWAY: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(crate) struct WatchArguments {
    /// Report as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why it stops.
enum WatchEnd {
    HomeGone,
    Interrupted,
    NobodyReads,
}

pub(crate) fn run(_arguments: &WatchArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_start(&error))?;
    let end = runtime.block_on(follow(&session, &manager, output));
    // What waits for the home or the reader is left behind.
    runtime.shutdown_background();
    match end? {
        WatchEnd::NobodyReads => Ok(()),
        WatchEnd::HomeGone => {
            output.say(&format!("{} is gone; nothing is left to watch", session.home().path().display()));
            Ok(())
        }
        WatchEnd::Interrupted => Err(CommandError::told(Exit::Interrupted)),
    }
}

async fn follow(
    session: &CommandContext,
    manager: &AuthManager,
    output: &Output,
) -> Result<WatchEnd, CommandError> {
    // Before the first line: whoever has read that may interrupt.
    let interrupt = signal(SignalKind::interrupt());
    let mut interrupt = interrupt.map_err(|error| cannot_start(&error))?;
    let mut snapshots = manager.subscribe();
    let mut told = snapshots.borrow_and_update().clone();
    let watching = manager.watch();
    let mut attention = watching.attention();
    let report = WatchReport { session, output };
    report.line(ReportedEvent::Present, &told, &manager.usability(&told).await)?;
    report.attention(&attention.borrow_and_update());

    let home = session.home().path().to_owned();
    let (home_gone, reader_gone) = (in_thread(move || until_gone(&home)), in_thread(until_nobody_reads));
    tokio::pin!(home_gone, reader_gone);
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(WatchEnd::Interrupted),
            () = &mut reader_gone => return Ok(WatchEnd::NobodyReads),
            // The manager holds the other end.
            Ok(()) = snapshots.changed() => {
                let new = snapshots.borrow_and_update().clone();
                if let Some(change) = LoginChange::between(&told, &new) {
                    report.line(ReportedEvent::Change(change), &new, &manager.usability(&new).await)?;
                }
                told = new;
            }
            Ok(()) = attention.changed() => report.attention(&attention.borrow_and_update()),
            () = &mut home_gone => return Ok(WatchEnd::HomeGone),
        }
    }
}

/// What a line is about.
#[derive(Clone, Copy)]
enum ReportedEvent {
    /// How things are when it begins.
    Present,
    Change(LoginChange),
}

impl ReportedEvent {
    /// Whether somebody has done it.
    fn has_author(self) -> bool {
        !matches!(self, Self::Present | Self::Change(LoginChange::Readable | LoginChange::Unreadable))
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
            ReportedEvent::Present => json!("present"),
            ReportedEvent::Change(change) => json!(change),
        };
        let author = snapshot.author().filter(|_| event.has_author());
        let by = author.map(|author| json!({"pid": author.pid, "program": author.program}));
        Ok(self.output.report_line(Map::from_iter([
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
            ReportedEvent::Present => "present".to_owned(),
            ReportedEvent::Change(change) => change.to_string(),
        };
        format!("{at}  {word:<15}  {}", parts.join(" · "))
    }

    fn attention(&self, attention: &WatchMethod) {
        if let WatchMethod::Polling { .. } = attention {
            self.output.say(&format!("note: {attention}"));
        }
    }
}

/// Whether it is unknown if a login is stored: the store could not be read yet.
fn is_unknown(snapshot: &Snapshot) -> bool {
    snapshot.document().is_none() && matches!(snapshot.departure(), Some(Divergence::Unreadable(_)))
}

fn cannot_start(error: &io::Error) -> CommandError {
    CommandError::new(Exit::Failed, format!("cannot start: {error}"))
}

/// A moment to the second, as UTC.
fn stamp(now: Timestamp) -> String {
    format!("{now:.0}")
}

/// Runs `wait`, which blocks for long, on a thread that nobody waits for; never ends where it cannot be run.
async fn in_thread(wait: impl FnOnce() + Send + 'static) {
    let (tell, told) = oneshot::channel();
    let work = move || {
        wait();
        let _ = tell.send(());
    };
    let started = thread::Builder::new().spawn(work);
    if started.is_err() || told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn until_gone(home: &Path) {
    let mut watch = Watch::on(vec![home.to_owned()]);
    while !has_gone(home, &mut watch) {
        let _ = watch.wait(Duration::MAX);
        watch.follow(vec![home.to_owned()]);
    }
}

fn has_gone(home: &Path, watch: &mut Watch) -> bool {
    let believed = Instant::now() + AWAY;
    // One that is closed to us may be opened again.
    while filesystem::presence(home) == Presence::Gone {
        let left = believed.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        let _ = watch.wait(left);
    }
    false
}

fn until_nobody_reads() {
    if peer::await_departure(io::stdout()).is_err() {
        // Where the system cannot say, the next line finds out.
        loop {
            thread::park();
        }
    }
}
