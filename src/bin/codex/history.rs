//! `codex log`: prints what happened to the login on this machine.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use clap::Args;
use codex_auth::Timestamp;
use codex_auth::accounts::{HistoryFollower, HomeHistory, HomeRecord};
use codex_auth_platform::local_time;
use jiff::SignedDuration;
use jiff::tz::Offset;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::{Output, Paint};
use crate::watch::{in_thread, until_output_closed};
use crate::{pager, runtime};

#[derive(Args, Debug)]
#[command(after_help = crate::help::LOG)]
pub(crate) struct LogArguments {
    /// Report as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,

    /// Only what happened since then: a duration such as 2d, 3h or 30m, or a time such as 2027-01-15T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,

    /// Print new events as they happen, until interrupted
    #[arg(short, long)]
    follow: bool,
}

/// The beginning of the time that is shown.
#[derive(Clone, Copy, Debug)]
enum Since {
    Ago(SignedDuration),
    At(Timestamp),
}

impl std::str::FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let split = text.len().saturating_sub(1);
        let hours = |unit: &str| match unit {
            "d" => Some(24),
            "w" => Some(24 * 7),
            _ => None,
        };
        let days = text.is_char_boundary(split).then(|| text.split_at(split));
        let days = days.and_then(|(number, unit)| Some((number.parse::<u16>().ok()?, hours(unit)?)));
        let ago = match days {
            Some((number, hours)) => Some(SignedDuration::from_hours(i64::from(number) * hours)),
            None => text.parse::<SignedDuration>().ok().filter(|ago| !ago.is_negative()),
        };
        ago.map(Self::Ago).ok_or("a duration such as 2d, 3h or 30m, or a time in RFC 3339")
    }
}

impl Since {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

pub(crate) fn run(arguments: &LogArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    let history = HomeHistory::open(&session.chosen, &session.environment)?;
    let since = arguments.since.map(|since| since.at(session.clock.now()));
    // Before the events are read, so that none is missed in between.
    let follower = arguments.follow.then(|| history.clone().follow());
    let events = history.read(since);
    events.unreadable.iter().for_each(|error| output.warn(error));
    let is_paged = !output.is_json() && follower.is_none() && io::stdout().is_terminal();
    if is_paged {
        let lines: Vec<_> = events.records.iter().map(|of| line(of, output)).collect();
        pager::show(&lines.join("\n"), &session.environment, output)?;
    } else {
        for of in &events.records {
            print(of, output)?;
        }
    }
    if events.records.is_empty() && follower.is_none() {
        output.inform("no events are recorded");
    }
    if events.skipped > 0 {
        output.warn(&format!("{} damaged lines were skipped", events.skipped));
    }
    if events.dropped > 0 {
        output.warn(&format!("{} events could not be recorded", events.dropped));
    }
    follower.map_or(Ok(()), |follower| runtime::run(follow(follower, output)))
}

async fn follow(mut follower: HistoryFollower, output: &Output) -> CommandOutcome {
    let interrupt = signal(SignalKind::interrupt());
    let mut interrupt = interrupt.map_err(|error| CommandError::cannot_start("a signal handler", &error))?;
    let (sender, mut events) = mpsc::unbounded_channel();
    // Ends with the process.
    let wait = move || while sender.send(follower.wait(Duration::MAX)).is_ok() {};
    let started = thread::Builder::new().name("codex log".to_owned()).spawn(wait);
    started.map_err(|error| CommandError::cannot_start("a thread", &error))?;
    let output_closed = in_thread(until_output_closed);
    tokio::pin!(output_closed);
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Err(CommandError::reported(Exit::Interrupted)),
            () = &mut output_closed => return Ok(()),
            Some(records) = events.recv() => {
                for of in &records {
                    print(of, output)?;
                }
            }
        }
    }
}

fn print(of: &HomeRecord, output: &Output) -> CommandOutcome {
    if !output.is_json() {
        return Ok(output.data(&line(of, output))?);
    }
    let Value::Object(fields) = json!(of) else { return Ok(()) };
    Ok(output.report_line(&fields)?)
}

/// Returns the line of an event for people.
pub(crate) fn line(of: &HomeRecord, output: &Output) -> String {
    let record = &of.record;
    let at = output.on_stdout(&local(record.at), Paint::Faint);
    let mut line = format!("{at}  {:<16}", record.event.word());
    let sentence = record.event.to_string();
    let account = of.account.as_ref().map(|name| format!("account {name}"));
    let by = Some(format!("by {}", record.process()));
    let parts = [Some(sentence).filter(|sentence| !sentence.is_empty()), account, by];
    // Writing into a text cannot fail.
    let _ = write!(line, "  {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" · "));
    line
}

/// Returns a time in the user's time zone, to the second.
pub(crate) fn local(at: Timestamp) -> String {
    let offset = local_time::utc_offset(at.as_second()).and_then(|offset| Offset::from_seconds(offset).ok());
    let local = offset.unwrap_or(Offset::UTC).to_datetime(at);
    local.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_duration_or_a_time() {
        let now: Timestamp = "2027-01-15T08:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Since>().map(|since| since.at(now).to_string());
        assert_eq!(at("2d").unwrap(), "2027-01-13T08:00:00Z");
        assert_eq!(at("1w").unwrap(), "2027-01-08T08:00:00Z");
        assert_eq!(at("90m").unwrap(), "2027-01-15T06:30:00Z");
        assert_eq!(at("2027-01-01T00:00:00Z").unwrap(), "2027-01-01T00:00:00Z");
        for wrong in ["", "d", "soon", "-2d", "-3h", "2ä"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
