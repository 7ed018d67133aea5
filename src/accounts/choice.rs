//! Which account a command uses: by option, by variable, by pinned folder, or the active one.

use std::fmt;
use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Links};

use super::error::Error;
use super::file::{Account, Pin};
use super::set::AccountSet;
use crate::config::Environment;
use crate::home::Home;
use crate::store;

/// The largest file of git that is read: one path.
const MAX_GIT_FILE_BYTES: u64 = 16 * 1024;

/// The home that a command uses, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChosenHome {
    /// The home. For the active account it is the home that the environment names, so that it follows a switch.
    pub home: Home,
    /// The account, if the home has accounts and one of them was chosen.
    pub account: Option<Account>,
    /// Why.
    pub reason: AccountReason,
    /// The home with the accounts, if another program has removed or replaced its link `auth.json`:
    /// [`super::AccountEditor::reconcile`] puts that right.
    pub unlinked: Option<Home>,
}

/// Whether a pinned folder chooses the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pins {
    Followed,
    Ignored,
}

/// Why an account was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountReason {
    /// The caller named it.
    Option,
    /// `CODEX_AUTH_ACCOUNT` names it.
    Variable,
    /// The working folder is in this pinned folder.
    Pinned(PathBuf),
    /// The working folder is in a worktree of a git repository in this pinned folder.
    PinnedRepository(PathBuf),
    /// `CODEX_HOME` is the folder of the account.
    Home,
    /// It is the active account.
    Active,
    /// The home has accounts, and none is active.
    NoneActive,
    /// The home has no accounts.
    NoAccounts,
}

impl AccountReason {
    /// Returns whether the account was chosen for this command, whatever the active one is.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        matches!(self, Self::Option | Self::Variable | Self::Pinned(_) | Self::PinnedRepository(_))
    }

    /// Returns the name of the reason in reports.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Option => "option",
            Self::Variable => "variable",
            Self::Pinned(_) => "pin",
            Self::PinnedRepository(_) => "repository_pin",
            Self::Home => "home",
            Self::Active => "active",
            Self::NoneActive => "none_active",
            Self::NoAccounts => "no_accounts",
        }
    }
}

impl fmt::Display for AccountReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option => f.write_str("named with --account"),
            Self::Variable => f.write_str("named by CODEX_AUTH_ACCOUNT"),
            Self::Pinned(folder) => write!(f, "pinned to {}", folder.display()),
            Self::PinnedRepository(folder) => {
                write!(f, "pinned to {}, whose git repository this worktree belongs to", folder.display())
            }
            Self::Home => f.write_str("CODEX_HOME is its folder"),
            Self::Active => f.write_str("the active account"),
            Self::NoneActive => f.write_str("no account is active"),
            Self::NoAccounts => f.write_str("there are no accounts"),
        }
    }
}

impl ChosenHome {
    /// Returns the home that a command uses: of the account `named` by the caller, else of the one that the environment
    /// names, else of the one that is pinned to the working folder, else the home that the environment names. Takes no
    /// lock.
    ///
    /// # Errors
    /// - [`Error::Unknown`], [`Error::NoAccounts`]: the named account does not exist.
    /// - As [`store::locate`] and [`AccountSet::open`].
    pub fn find(environment: &Environment, named: Option<&str>) -> Result<Self, Error> {
        Self::find_with(environment, named, Pins::Followed)
    }

    /// As [`Self::find`] without the pinned folders, for what serves all accounts of a home, wherever it is started.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_without_pins(environment: &Environment, named: Option<&str>) -> Result<Self, Error> {
        Self::find_with(environment, named, Pins::Ignored)
    }

    fn find_with(environment: &Environment, named: Option<&str>, pins: Pins) -> Result<Self, Error> {
        let home = store::locate(environment)?;
        let variable = environment.account.as_deref();
        if let Some((name, reason)) = named
            .map(|name| (name, AccountReason::Option))
            .or_else(|| variable.map(|name| (name, AccountReason::Variable)))
        {
            let set = AccountSet::around(home)?;
            let account = set.find(name)?;
            return Self::of(&set, account, reason);
        }
        let set = AccountSet::open(home)?;
        if set.is_empty() {
            // Only the path tells whether this is the folder of an account.
            return Ok(match AccountSet::outer(set.home())? {
                Some((outer, account)) => Self {
                    home: set.home().clone(),
                    account: Some(account),
                    reason: AccountReason::Home,
                    unlinked: unlinked(&outer)?,
                },
                None => Self::of_home(set.home().clone()),
            });
        }
        if pins == Pins::Followed
            && !set.pins().is_empty()
            && let Ok(here) = private_file::canonical(Path::new("."))
            && let Some((pin, reason)) = pin_for(&set, &here)
            && let Some(account) = set.get(&pin.account)
        {
            return Self::of(&set, account, reason);
        }
        let account = set.active().cloned();
        let reason = if account.is_some() { AccountReason::Active } else { AccountReason::NoneActive };
        Ok(Self { home: set.home().clone(), account, reason, unlinked: unlinked(&set)? })
    }

    /// Returns `home` itself, for a process whose parent has chosen the account.
    #[must_use]
    pub fn of_home(home: Home) -> Self {
        Self { home, account: None, reason: AccountReason::NoAccounts, unlinked: None }
    }

    fn of(set: &AccountSet, account: &Account, reason: AccountReason) -> Result<Self, Error> {
        let (home, account) = (set.home_of(account)?, Some(account.clone()));
        Ok(Self { home, account, reason, unlinked: unlinked(set)? })
    }
}

/// Returns the home of `set`, if another program has removed or replaced its link.
fn unlinked(set: &AccountSet) -> Result<Option<Home>, Error> {
    Ok(set.unlinked()?.is_some().then(|| set.home().clone()))
}

/// Returns the pin of the deepest folder that contains `here` or, if `here` is in a worktree of a git repository, the
/// repository itself.
fn pin_for<'a>(set: &'a AccountSet, here: &Path) -> Option<(&'a Pin, AccountReason)> {
    let deepest = |path: &Path| {
        let known = set.pins().iter().filter(|pin| set.get(&pin.account).is_some());
        known.filter(|pin| path.starts_with(&pin.folder)).max_by_key(|pin| pin.folder.components().count())
    };
    let direct = deepest(here).map(|pin| (pin, AccountReason::Pinned(pin.folder.clone())));
    let repository = common_directory(here);
    let through = repository.as_deref().and_then(deepest);
    let through = through.map(|pin| (pin, AccountReason::PinnedRepository(pin.folder.clone())));
    let depth = |found: &(&Pin, AccountReason)| found.0.folder.components().count();
    match (direct, through) {
        (Some(direct), Some(through)) if depth(&through) > depth(&direct) => Some(through),
        (direct, through) => direct.or(through),
    }
}

/// Returns the common directory of the git worktree that `here` is in, unless it is the main one.
///
/// A project cannot name any folder it likes: the repository must have this worktree among its own.
fn common_directory(here: &Path) -> Option<PathBuf> {
    let read = |path: PathBuf| {
        let contents = private_file::read(&path, MAX_GIT_FILE_BYTES, Links::Refuse).ok()??;
        Some(String::from_utf8_lossy(&contents.bytes).trim_end_matches(['\n', '\r']).to_owned())
    };
    let stamp = |folder: &Path| private_file::stamp(&folder.join(".git"), Links::Refuse);
    let root = here.ancestors().find(|folder| !matches!(stamp(folder), Ok(None)))?;
    let line = read(root.join(".git"))?;
    let administration = private_file::canonical(&root.join(line.strip_prefix("gitdir: ")?)).ok()?;
    let common =
        private_file::canonical(&administration.join(read(administration.join("commondir"))?)).ok()?;
    let back = private_file::canonical(&administration.join(read(administration.join("gitdir"))?)).ok()?;
    let is_known = administration.parent() == Some(&common.join("worktrees")) && back == root.join(".git");
    is_known.then_some(common)
}
