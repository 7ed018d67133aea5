//! Commits a login, reports it, and reports what happened to the login that it replaced.

use codex_auth::login::{self, CommittedLogin, LoginSession, LoginSetup, PendingLogin, access_token};
use codex_auth::store::{self, StorageNote, Store as _};
use codex_auth::{AuthDocument, Secret};

use super::interrupt::{Interrupts, end_line, interrupted};
use super::report::{self, LoginReport};
use crate::context::{CommandContext, WaitingLine, account};
use crate::daemon::{self, CommandEffect, DaemonArguments};
use crate::error::{CommandError, CommandOutcome};
use crate::fleet;
use crate::output::Output;
use crate::runtime;

/// The home and the session of one login.
pub(super) struct LoginTarget {
    pub(super) context: CommandContext,
    pub(super) session: LoginSession,
    pub(super) daemon: DaemonArguments,
}

impl LoginTarget {
    pub(super) fn setup(&self) -> &LoginSetup {
        self.session.setup()
    }

    /// Says who is logged in and what happens to that login. One that cannot be read is left out: a new login replaces
    /// it.
    pub(super) fn show_old_login(&self, output: &Output) {
        if let Some(stored) = self.context.stores.find().ok().and_then(|found| found.stored) {
            report::logged_in_before(&stored, self.session.old_login_policy(), output);
        }
    }

    /// Says that other users can use the stored file, before the new login ends that.
    pub(super) fn warn_of_shared_file(&self, output: &Output) {
        let stored =
            self.context.stores.file().load(self.context.environment.keychain_timeout).ok().flatten();
        let is_shared = |note: &&StorageNote| {
            matches!(note, StorageNote::SharedWithGroup { .. } | StorageNote::ReadableByOthers { .. })
        };
        for note in stored.iter().flat_map(|stored| &stored.notes).filter(is_shared) {
            output.warn(&note.to_string());
        }
    }

    /// Says what happens to the tokens of the old login, before they are revoked.
    fn notice(&self, committed: &CommittedLogin, output: &Output) -> impl Future<Output = ()> + use<> {
        let old = committed.report().superseded.clone();
        let (policy, output) = (self.session.old_login_policy(), output.clone());
        async move {
            if let Some(old) = old.filter(|_| !output.is_json()) {
                report::old_tokens(&old, policy, &output);
            }
        }
    }

    /// Commits a credential that the user supplied.
    pub(super) fn commit_supplied(&self, document: AuthDocument, output: &mut Output) -> CommandOutcome {
        runtime::run(async {
            let mut interrupts = Interrupts::listen()?;
            let committed = self.commit(document.into(), &mut interrupts, output).await?;
            let notice = self.notice(&committed, output);
            self.finish(&committed, notice, &mut interrupts, output).await
        })
    }

    /// Commits a token that the user supplied, after verifying it.
    pub(super) fn commit_verified(&self, token: &Secret, output: &mut Output) -> CommandOutcome {
        runtime::run(async {
            let mut interrupts = Interrupts::listen()?;
            let verified = interrupts.or(async { Ok(access_token(self.setup(), token).await?) }).await?;
            report::verified(&verified.profile, output);
            let committed = self.commit(verified.document.into(), &mut interrupts, output).await?;
            let notice = self.notice(&committed, output);
            self.finish(&committed, notice, &mut interrupts, output).await
        })
    }

    /// Gets the tokens of `login` and commits it. An interruption ends it; a commit that has begun is completed.
    pub(super) async fn commit(
        &self,
        login: PendingLogin,
        interrupts: &mut Interrupts,
        output: &Output,
    ) -> Result<CommittedLogin, CommandError> {
        let mut line = WaitingLine::new(output);
        let commit = self.session.commit(login, move |waiting| line.show(waiting));
        tokio::pin!(commit);
        loop {
            tokio::select! {
                committed = &mut commit => return committed.map_err(|error| match error {
                    login::Error::Store(store::Error::Interrupted) => interrupted(),
                    login::Error::Panicked(_) => CommandError::from(error).hint("see what is stored: codex status"),
                    error => error.into(),
                }),
                () = interrupts.next() => {
                    end_line();
                    let _ = self.session.cancel();
                }
            }
        }
    }

    /// Reports the login, and then what happened to the one that it replaced. An interruption ends the wait for that.
    pub(super) async fn finish(
        &self,
        committed: &CommittedLogin,
        announcement: impl Future<Output = ()>,
        interrupts: &mut Interrupts,
        output: &mut Output,
    ) -> CommandOutcome {
        let (document, kept) = (committed.document(), committed.report());
        output.head("account", account(Some(document)));
        report::logged_in(document, kept, output);
        self.bring_fleet_along(output).await;
        let superseded = tokio::select! {
            superseded = committed.announce(announcement) => Some(superseded),
            () = interrupts.next() => None,
        };
        let report = LoginReport { document, kept, superseded: superseded.as_ref() };
        if output.is_json() {
            self.bring_daemon_along(document, interrupts, output).await;
            return report::ended(&report, output);
        }
        report::ended(&report, output)?;
        self.bring_daemon_along(document, interrupts, output).await;
        Ok(())
    }

    /// Makes the login that of the fleet, if the home is a member of one. It is stored here whatever comes of that.
    async fn bring_fleet_along(&self, output: &Output) {
        let (home, environment) = (self.context.home().clone(), self.context.environment.clone());
        let output = output.clone();
        let work = move || fleet::after_login(&home, &environment, &output);
        let _ = tokio::task::spawn_blocking(work).await;
    }

    /// Restarts Codex's daemon if it serves another login. An interruption ends the wait; the restart goes on.
    async fn bring_daemon_along(
        &self,
        document: &AuthDocument,
        interrupts: &mut Interrupts,
        output: &mut Output,
    ) {
        let (arguments, home, document) = (self.daemon, self.context.home().clone(), document.clone());
        let work = {
            let output = output.clone();
            move || daemon::bring_along(arguments, CommandEffect::Login, &home, Some(&document), &output)
        };
        tokio::select! {
            found = tokio::task::spawn_blocking(work) => if let Some(found) = found.ok().flatten() {
                output.head(daemon::FIELD, found);
            },
            () = interrupts.next() => output.say("the login is stored; a restart of Codex's daemon that has begun goes on"),
        }
    }
}
