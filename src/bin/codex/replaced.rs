//! A login of an account that another program has replaced, through the link, by that of another user.

use std::time::Duration;

use codex_auth::accounts::{Account, AccountEditor, AccountSet};
use codex_auth::store::LockDeadline;
use codex_auth::{AuthDocument, Environment};

use crate::context::credential;
use crate::output::{Output, plain};

/// How long a command waits for other processes before it leaves the record as it is.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Says once that another program has written `document`, the login of another user, into `account`.
pub(crate) fn tell_replaced(
    set: &AccountSet,
    account: &Account,
    document: &AuthDocument,
    environment: &Environment,
    output: &Output,
) {
    if !set.is_replaced(account, document) {
        return;
    }
    let now = match &document.claims().email {
        Some(email) => format!("the login of {}", plain(email)),
        None => credential(document.mode().as_ref()),
    };
    output.inform(&format!(
        "another program has replaced the login of the account {0} by {now}; to log in again as before: \
         codex logout --account {0}, then codex login --account {0}",
        account.name
    ));
    remember_user(set, account, environment);
}

/// Remembers the user of the login of `account`. Where that fails, a replacement is said again, or not at all.
pub(crate) fn remember_user(set: &AccountSet, account: &Account, environment: &Environment) {
    let deadline = LockDeadline::after(environment.lock_timeout.min(LOCK_TIMEOUT));
    let editor = AccountEditor::new(set, environment, &deadline, &|_| {});
    if let Err(error) = editor.remember_user(account) {
        tracing::debug!("the user of the account {} is not recorded: {error}", account.name);
    }
}
