//! Shows on a terminal what a command of a fleet waits for.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use codex_auth::fleet::MemberName;
use codex_auth::fleet::membership::Membership;
use codex_auth::{Environment, Home};

use crate::context::CommandContext;
use crate::output;

/// Interval between the frames of the spinner.
const TICK: Duration = Duration::from_millis(120);
/// Interval between looks at which host is refreshing.
const LOOK: Duration = Duration::from_secs(2);

/// Runs `work`, which waits for etcd or for other hosts.
pub(crate) fn waiting<T>(session: &CommandContext, work: impl FnOnce() -> T) -> T {
    let bar = output::spinner();
    bar.enable_steady_tick(TICK);
    bar.set_message("waiting for the fleet");
    let (end, ended) = channel::<()>();
    let (home, environment, shown) = (session.home(), &session.environment, &bar);
    thread::scope(|scope| {
        scope.spawn(move || {
            while !shown.is_hidden() && ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if let Some(member) = refreshing(home, environment) {
                    shown.set_message(format!("waiting for {member}, which is refreshing"));
                }
            }
        });
        let outcome = work();
        drop(end);
        bar.finish_and_clear();
        outcome
    })
}

/// Returns the other host that is refreshing, by the newest record that this host has seen.
fn refreshing(home: &Home, environment: &Environment) -> Option<MemberName> {
    let membership = Membership::of(home).ok()??;
    let record = membership.seen_record(home, environment)?;
    let member = record.intent().map(|intent| intent.member.clone());
    member.filter(|member| *member != membership.member)
}
