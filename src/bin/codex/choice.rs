//! The home that this run uses: found once, from the environment, `--account`, the pinned folders and the active account.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

use codex_auth::accounts::{AccountReason, AccountSet, ChosenHome, prepare_home};
use codex_auth::config::{CommandLine, HomeSetting};
use codex_auth::{Environment, Home, accounts};

use crate::error::{CommandError, CommandOutcome, Exit};

/// The option that names an account.
const OPTION: &str = "--account";

/// The account that `--account` names.
static NAMED: OnceLock<String> = OnceLock::new();
/// The home of this run. It stays the same, also if another account becomes active or a folder is pinned meanwhile.
static CHOSEN: OnceLock<ChosenHome> = OnceLock::new();

/// Uses the account `name` in this run.
pub(crate) fn name_account(name: &str) {
    // A second `--account` has been refused before.
    let _ = NAMED.set(name.to_owned());
}

/// Takes `--account NAME` before the command out of `words`.
pub(crate) fn take_account(words: &[OsString]) -> Result<Vec<OsString>, CommandError> {
    let line = CommandLine::parse(words, |_| true);
    let mut rest = words.to_vec();
    for given in line.options.iter().filter(|given| given.option.long == OPTION).rev() {
        let Some(name) = given.value.and_then(OsStr::to_str) else {
            return Err(CommandError::new(Exit::Usage, "--account needs the name of an account"));
        };
        if NAMED.get().is_some() {
            return Err(CommandError::new(Exit::Usage, "--account was given twice"));
        }
        name_account(name);
        let is_one_word = rest[given.at] != OPTION;
        rest.drain(given.at..given.at + if is_one_word { 1 } else { 2 });
    }
    Ok(rest)
}

/// Returns the words that make another run of this program use the account that was named.
pub(crate) fn words() -> Vec<String> {
    NAMED.get().map(|name| vec![OPTION.to_owned(), name.clone()]).unwrap_or_default()
}

/// Returns whether `--account` was given, which takes precedence over credentials in the environment.
pub(crate) fn is_named() -> bool {
    NAMED.get().is_some()
}

/// Whether the pinned folders count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pins {
    Count,
    /// For a command that is about all accounts unless one is named.
    Ignored,
}

/// Finds the home of this run, and sets it in `environment`. If another program has changed the link of the active account,
/// calls `reconcile` with the home of the accounts first.
pub(crate) fn locate(
    environment: &mut Environment,
    pins: Pins,
    reconcile: impl FnOnce(Home, &Environment),
) -> Result<ChosenHome, CommandError> {
    let chosen = match CHOSEN.get() {
        Some(chosen) => chosen.clone(),
        None => {
            let named = NAMED.get().map(String::as_str);
            let find = || match pins {
                Pins::Count => ChosenHome::find(environment, named),
                Pins::Ignored => ChosenHome::find_without_pins(environment, named),
            };
            let mut found = find()?;
            if let Some(home) = found.unlinked.take() {
                reconcile(home, environment);
                found = find()?;
            }
            CHOSEN.get_or_init(|| found).clone()
        }
    };
    if chosen.reason.is_explicit() {
        environment.home = HomeSetting::Named(chosen.home.path().to_owned());
    }
    Ok(chosen)
}

/// Returns whether `home` is that of this run.
pub(crate) fn is_chosen(home: &Home) -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen.home == *home)
}

/// Makes the folder of the account that the next program is to use a home for it. Without `--account`, a fault of the home
/// is left to that program.
pub(crate) fn prepare(chosen: Result<ChosenHome, CommandError>) -> CommandOutcome {
    match chosen {
        Ok(ChosenHome { home, account: Some(account), reason, .. }) if reason.is_explicit() => {
            Ok(prepare_home(&AccountSet::around(home)?, &account)?)
        }
        Err(error) if is_named() => Err(error),
        _ => Ok(()),
    }
}

/// Returns the home that child processes of this run must be given, because the environment does not name it.
pub(crate) fn explicit_home() -> Option<Home> {
    CHOSEN.get().filter(|chosen| chosen.reason.is_explicit()).map(|chosen| chosen.home.clone())
}

impl From<accounts::Error> for CommandError {
    fn from(error: accounts::Error) -> Self {
        let hint = match &error {
            accounts::Error::Unknown { known, .. } => {
                let names: Vec<_> = known.iter().map(ToString::to_string).collect();
                format!("the accounts are {}; to add one: codex account add NAME", names.join(", "))
            }
            accounts::Error::ListLost { .. } => "to find the accounts again: codex account list".to_owned(),
            accounts::Error::File { .. } => {
                "correct the file, or move it away and find the accounts again: codex account list".to_owned()
            }
            accounts::Error::LinkedElsewhere { .. } => {
                "to replace the link: codex account use NAME --yes".to_owned()
            }
            accounts::Error::NoAccounts { .. } => "to add one: codex account add NAME".to_owned(),
            accounts::Error::LoggedOut { name } => format!("to log in: codex login --account {name}"),
            accounts::Error::StillLoggedIn { name } => format!("to log out: codex logout --account {name}"),
            accounts::Error::InKeychain => {
                "use the account for one command or terminal: codex account run NAME -- codex".to_owned()
            }
            accounts::Error::NoneActive => "to activate one: codex account use NAME".to_owned(),
            accounts::Error::EndedLogin { .. } => "to log in again: codex account add NAME".to_owned(),
            accounts::Error::UserIsHere { .. } => {
                "to log in as that user again: codex login --account NAME".to_owned()
            }
            _ => return codex_auth::Error::from(error).into(),
        };
        Self::from(codex_auth::Error::from(error)).only_hint(hint)
    }
}

/// Returns the path that a message shows for a reason, if it has one.
pub(crate) fn pinned_folder(reason: &AccountReason) -> Option<PathBuf> {
    match reason {
        AccountReason::Pinned(folder) | AccountReason::PinnedRepository(folder) => Some(folder.clone()),
        _ => None,
    }
}
