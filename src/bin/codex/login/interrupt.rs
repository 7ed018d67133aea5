//! Interruptions of a login: SIGINT, SIGTERM and SIGHUP.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use codex_auth::login::LoginSetup;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::error::{CommandError, Exit};
use crate::output::Output;

/// The wait after which a message says what is waited for.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// The signals that ask this program to end. While it listens for them, they do not end it by default.
pub(super) struct Interrupts([Signal; 3]);

impl Interrupts {
    pub(super) fn listen() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CommandError::new(Exit::Failed, format!("cannot listen for signals: {error}"))
            })
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Returns the result of `work`, or drops it and fails at the next signal.
    pub(super) async fn or<T>(
        &mut self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::select! {
            done = work => done,
            () = self.next() => {
                end_line();
                Err(interrupted())
            }
        }
    }

    /// Waits until the authority has revoked a login that was not stored, and returns `done`, the outcome of the
    /// command. A further interruption ends the wait; the error then says that the login may stay valid.
    pub(super) async fn wait_for_revocation<T>(
        &mut self,
        setup: &LoginSetup,
        done: Result<T, CommandError>,
        output: &Output,
    ) -> Result<T, CommandError> {
        let issuer = setup.issuer();
        let notice = async {
            sleep(SILENT_WAIT).await;
            output.say(&format!("waiting for {issuer} to revoke the unfinished login; Ctrl-C ends the wait"));
            std::future::pending::<()>().await;
        };
        let why = tokio::select! {
            biased;
            revoked = setup.exchanges().finish() => match revoked {
                Ok(()) => return done,
                Err(error) => format!(": {error}"),
            },
            () = self.next() => {
                end_line();
                String::new()
            }
            () = notice => String::new(),
        };
        done.map_err(|error| match error.kind() {
            Exit::Interrupted => CommandError::new(
                Exit::Interrupted,
                format!("interrupted; the cancelled login may stay valid at {issuer}{why}"),
            ),
            _ => error.hint(format!("the login that was not stored may stay valid at {issuer}{why}")),
        })
    }
}

/// Ends the line on which the terminal has printed ^C.
pub(super) fn end_line() {
    if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr());
    }
}

pub(super) fn interrupted() -> CommandError {
    CommandError::new(Exit::Interrupted, "interrupted; nothing was changed")
}
