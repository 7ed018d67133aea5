//! The home of a run, after what another program did to the link of its active account has been put right.

use std::path::Path;
use std::time::Duration;

use codex_auth::accounts::{self, Account, AccountEditor, AccountSet, ActiveLink, ChosenHome, LinkChange};
use codex_auth::config::HomeSetting;
use codex_auth::store::LockDeadline;
use codex_auth::{Environment, Home};
use tokio::sync::watch::Receiver;

use crate::child;
use crate::choice::{self, Pins};
use crate::error::CommandError;
use crate::output::Output;

/// How long a command waits for other processes before it leaves the link as it is.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// What messages call the login of another program.
const FOREIGN_LOGIN: &str = "another program has logged in; that login";

/// Finds the home of this run, and sets it in `environment`. Every command that is about a login calls this.
pub(crate) fn locate(environment: &mut Environment, output: &Output) -> Result<ChosenHome, CommandError> {
    choice::locate(environment, Pins::Count, |home, environment| reconcile(home, environment, output))
}

/// As [`locate`] without the pinned folders, for a command that is about all accounts unless one is named.
pub(crate) fn locate_without_pins(
    environment: &mut Environment,
    output: &Output,
) -> Result<ChosenHome, CommandError> {
    choice::locate(environment, Pins::Ignored, |home, environment| reconcile(home, environment, output))
}

/// Puts right what another program did to the link of the active account, and says what that was. A command goes on where
/// that is not possible now.
pub(crate) fn reconcile(home: Home, environment: &Environment, output: &Output) {
    reconciled(home, environment, FOREIGN_LOGIN).iter().for_each(|line| output.inform(line));
}

/// Moves a login that this run has stored in place of the link, or while no account was active, into its account.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path of the method has one lifetime, not any"
)]
pub(crate) fn reconcile_own_login(home: &Home, environment: &Environment, output: &Output) {
    const LOGIN: &str = "this login";
    if is_unlinked(home) {
        let lines = reconciled(home.clone(), environment, LOGIN);
        return lines.iter().for_each(|line| output.inform(line));
    }
    let merged =
        AccountSet::open(home.clone()).and_then(|set| edit(&set, environment, |editor| editor.merge()));
    match merged {
        Ok(None) => {}
        Ok(Some(account)) => output.inform(&moved(LOGIN, "is in the account", &account)),
        // The next change of the accounts tries again.
        Err(error) => tracing::debug!("the login was not moved into its account: {error}"),
    }
}

/// Does the same after every read of a watch, until this is dropped. A problem that stays is said once.
pub(crate) async fn keep_reconciled(
    home: Home,
    environment: Environment,
    mut reads: Receiver<u64>,
    output: Output,
) {
    let mut said = Vec::new();
    while reads.changed().await.is_ok() {
        if has_link(&home) {
            said.clear();
            continue;
        }
        let (home, environment) = (home.clone(), environment.clone());
        let reconciled = move || match is_unlinked(&home) {
            true => reconciled(home, &environment, FOREIGN_LOGIN),
            false => Vec::new(),
        };
        let Ok(lines) = tokio::task::spawn_blocking(reconciled).await else { continue };
        if lines != said {
            lines.iter().for_each(|line| output.inform(line));
        }
        said = lines;
    }
    std::future::pending::<()>().await;
}

/// Whether `auth.json` is a link, so that no other program has removed or replaced that of an account.
fn has_link(home: &Home) -> bool {
    ActiveLink::of(home).is_ok_and(|link| link != ActiveLink::None)
}

fn is_unlinked(home: &Home) -> bool {
    AccountSet::open(home.clone()).is_ok_and(|set| matches!(set.unlinked(), Ok(Some(_))))
}

/// Puts it right, and returns lines that say what was done or why it was not; `login` is what they call a new login.
fn reconciled(home: Home, environment: &Environment, login: &str) -> Vec<String> {
    let document = home.document();
    match try_reconcile(home, environment) {
        Ok(change) => change.map(|change| description(&change, &document, login)).unwrap_or_default(),
        Err(error) => {
            let document = document.display();
            vec![format!(
                "note: another program has changed {document}, which cannot be put right now: {error}"
            )]
        }
    }
}

fn try_reconcile(home: Home, environment: &Environment) -> Result<Option<LinkChange>, accounts::Error> {
    let deadline = deadline(environment);
    edit(&AccountSet::open(home)?, environment, |editor| {
        editor.reconcile(&|home, job| child::run_at(home, job, child::WaitNotice::Terminal, &deadline))
    })
}

fn edit<T>(
    set: &AccountSet,
    environment: &Environment,
    change: impl FnOnce(&AccountEditor<'_>) -> Result<T, accounts::Error>,
) -> Result<T, accounts::Error> {
    let mut environment = environment.clone();
    environment.home = HomeSetting::Named(set.home().path().to_owned());
    let deadline = deadline(&environment);
    change(&AccountEditor::new(set, &environment, &deadline, &|_| {}))
}

fn deadline(environment: &Environment) -> LockDeadline {
    LockDeadline::after(environment.lock_timeout.min(LOCK_TIMEOUT))
}

fn moved(login: &str, where_to: &str, account: &Account) -> String {
    format!("{login} {where_to} {}, which is active now", account.name)
}

fn description(change: &LinkChange, document: &Path, login: &str) -> Vec<String> {
    let document = document.display();
    match change {
        LinkChange::LoggedOut(account) => vec![format!(
            "another program has logged out of the account {0}; to log in again: codex login --account {0}",
            account.name
        )],
        LinkChange::Removed(account) => vec![format!(
            "another program has removed {document}, the link to the account {0}, whose login is still valid; to use it \
             again: codex account use {0}",
            account.name
        )],
        LinkChange::Unverified { account, reason } => vec![format!(
            "note: another program has removed {document}, the link to the account {}; whether it has logged out is not \
             known: {reason}",
            account.name
        )],
        LinkChange::LoggedIn { account, is_new, ended } => {
            let what = if *is_new { "is the new account" } else { "is in the account" };
            let login = moved(login, what, account);
            let ended =
                ended.iter().map(|ended| format!("the login of the account {} has ended", ended.name));
            [login].into_iter().chain(ended).collect()
        }
        _ => Vec::new(),
    }
}
