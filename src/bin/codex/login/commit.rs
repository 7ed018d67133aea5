//! From a credential that was obtained to one that is kept, told of, and alone.

use codex_auth::login::{LoginSetup, OldLoginPolicy, PendingLogin, StoreReport, access_token, supersede};
use codex_auth::store::{self, StoreChoice};
use codex_auth::{AuthDocument, Lease, Secret, manager};

use super::interrupt::{self, Interrupts, interrupted};
use super::report::{self, LoginReport};
use crate::CommandOutcome;
use crate::context::{CommandContext, WaitingLine, account};
use crate::error::{CommandError, Exit};
use crate::output::Output;

/// Where a login will be kept, and what becomes of the one before.
pub(super) struct LoginTarget {
    pub(super) session: CommandContext,
    pub(super) setup: LoginSetup,
    pub(super) choice: StoreChoice,
    pub(super) old: OldLoginPolicy,
}

impl LoginTarget {
    /// Says whose login is at stake. One that cannot be read is no reason to refuse a new one, nor news.
    pub(super) fn tell_who_is_signed_in(&self, output: &Output) {
        if let Some(stored) = self.session.stores.find().ok().and_then(|found| found.stored) {
            report::signed_in(&stored, output);
        }
    }

    /// Keeps what a person has handed in.
    pub(super) fn keep_at_once(&self, document: &AuthDocument, output: &mut Output) -> CommandOutcome {
        interrupt::run(async {
            let mut interrupts = Interrupts::listen()?;
            let kept = self.commit(document.clone().into(), &mut interrupts, output).await?;
            self.finish(document, kept, async {}, &mut interrupts, output).await
        })
    }

    /// The same for a token that somebody else has to vouch for first.
    pub(super) fn keep_verified(&self, token: &Secret, output: &mut Output) -> CommandOutcome {
        interrupt::run(async {
            let mut interrupts = Interrupts::listen()?;
            let verified = interrupts.or(async { Ok(access_token(&self.setup, token).await?) }).await?;
            report::verified(&verified.profile, output);
            let kept = self.commit(verified.document.clone().into(), &mut interrupts, output).await?;
            self.finish(&verified.document, kept, async {}, &mut interrupts, output).await
        })
    }

    /// Commits `login` under the lease. An interruption ends the waiting for locks; what is begun after that is finished, since it takes a moment only and is best not left half-way.
    ///
    /// A login that is not stored is revoked in the background.
    pub(super) async fn commit(
        &self,
        login: PendingLogin,
        interrupts: &mut Interrupts,
        output: &Output,
    ) -> Result<StoreReport, CommandError> {
        let deadline = &self.session.deadline;
        let mut work = {
            let (stores, deadline) = (self.session.stores.clone(), deadline.clone());
            let choice = self.choice.clone();
            let environment = self.session.environment.clone();
            let mut line = WaitingLine::new(output);
            tokio::task::spawn_blocking(move || {
                let lease = Lease::acquire(stores.home(), &deadline, |waiting| line.tell(waiting))?;
                if deadline.is_cancelled() {
                    return Err(store::Error::Interrupted);
                }
                // What cannot be completed now is no reason to refuse a login.
                let _ = manager::finish_rescue(&lease, &environment);
                login.commit(&mut stores.writer(&lease)?, &choice)
            })
        };
        let done: Result<StoreReport, store::Error> = loop {
            tokio::select! {
                done = &mut work => match done {
                    Ok(done) => break done,
                    Err(error) => {
                        let why = format!("the login could not be kept: {error}");
                        return Err(CommandError::new(Exit::Failed, why).hint("see what is kept: codex status"));
                    }
                },
                () = interrupts.next() => deadline.cancel(),
            }
        };
        match done {
            Ok(kept) => Ok(kept),
            Err(store::Error::Interrupted) => Err(interrupted()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells of the login, and then takes the tokens of the one before back. The login stands whatever becomes of that.
    pub(super) async fn finish(
        &self,
        document: &AuthDocument,
        kept: StoreReport,
        announce: impl Future<Output = ()>,
        interrupts: &mut Interrupts,
        output: &mut Output,
    ) -> CommandOutcome {
        output.head("account", account(Some(document)));
        report::logged_in(document, &kept, output);
        let supersede = supersede(&self.setup, self.old, &kept, document);
        let superseded = tokio::select! {
            ((), superseded) = async { tokio::join!(announce, supersede) } => Some(superseded),
            () = interrupts.next() => None,
        };
        report::ended(&LoginReport { document, kept: &kept, superseded: superseded.as_ref() }, output)
    }
}
