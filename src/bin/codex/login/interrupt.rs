//! Being interrupted: by Ctrl-C, by whoever ends the process, or by the terminal that goes away.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use codex_auth::login::LoginSetup;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::error::{CommandError, Exit};
use crate::output::Output;

/// A wait that is shorter is not worth a line.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// The signals that ask this program to leave. While they are listened for, none of them ends it by itself.
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

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// What `work` comes to, unless one of them comes first: then it is dropped, and with it whatever it holds.
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

    /// Waits until the authority has revoked a login that was not stored, and returns `done`, the outcome of the command.
    /// A further interruption ends the wait; the error then says that the login may live on.
    pub(super) async fn wait_for_revocation<T>(
        &mut self,
        setup: &LoginSetup,
        done: Result<T, CommandError>,
        output: &Output,
    ) -> Result<T, CommandError> {
        let issuer = setup.issuer();
        let tell = async {
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
            () = tell => String::new(),
        };
        done.map_err(|error| match error.kind() {
            Exit::Interrupted => CommandError::new(
                Exit::Interrupted,
                format!("interrupted; the cancelled login may live on at {issuer}{why}"),
            ),
            _ => error.hint(format!("the login that was not stored may live on at {issuer}{why}")),
        })
    }
}

/// The terminal has put ^C where the next word would stand.
fn end_line() {
    if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr());
    }
}

pub(super) fn interrupted() -> CommandError {
    CommandError::new(Exit::Interrupted, "interrupted; nothing was changed")
}
