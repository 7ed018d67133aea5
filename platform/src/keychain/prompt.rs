//! Prompts of the Secret Service: dialogues that it shows before it carries out a call.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use zbus::blocking::{Connection, MessageIterator};
use zbus::zvariant::OwnedValue;
use zbus::{MatchRule, message};

use super::bus::{Method, ServiceStart, call};

pub(super) const INTERFACE: &str = "org.freedesktop.Secret.Prompt";

/// How long a service may take to report that a prompt was dismissed.
const DISMISS_LIMIT: Duration = Duration::from_secs(2);

/// How a prompt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromptOutcome {
    Accepted,
    /// The user dismissed it, or the time limit passed.
    Dismissed,
}

/// Lets `service`, a unique bus name, show the prompt at `path` and waits until it ends. Dismisses it after `limit`, and
/// closes the connection if the service does not confirm that.
pub(super) fn follow(
    bus: &Connection,
    service: &str,
    path: &str,
    limit: Duration,
) -> zbus::Result<PromptOutcome> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface(INTERFACE)?
        .member("Completed")?
        .path(path)?
        .sender(service)?
        .build();
    let mut completions = MessageIterator::for_match_rule(rule, bus, None)?;
    let method = |name| Method { destination: service, path, interface: INTERFACE, name };
    let (following, end) = channel::<()>();
    thread::scope(|scope| {
        // Dropped when this closure returns, which ends the timer.
        let _following = following;
        let timer = thread::Builder::new().name("keychain prompt".to_owned());
        timer.spawn_scoped(scope, move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // The service then reports the prompt as dismissed, unless it has ended meanwhile.
                let dismissed = call::<_, ()>(bus, method("Dismiss"), &(), ServiceStart::Forbidden);
                if dismissed.is_err() || end.recv_timeout(DISMISS_LIMIT) == Err(RecvTimeoutError::Timeout) {
                    let _ = bus.clone().close();
                }
            }
        })?;
        call::<_, ()>(bus, method("Prompt"), &("",), ServiceStart::Forbidden)?;
        let Some(completion) = completions.next() else { return Ok(PromptOutcome::Dismissed) };
        let (dismissed, _): (bool, OwnedValue) = completion?.body().deserialize()?;
        Ok(if dismissed { PromptOutcome::Dismissed } else { PromptOutcome::Accepted })
    })
}
