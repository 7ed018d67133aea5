//! What is known about a login: the stored document, the shared state, the history, and other homes of this machine.

use jiff::Timestamp;

use crate::accounts::{AccountSet, ChosenHome, HomeEvents, HomeHistory, HomeRecord};
use crate::clock::Clock;
use crate::config::{Environment, UserFolders};
use crate::document::AuthDocument;
use crate::history::{HistoryRecord, StoreFailure};
use crate::home::Home;
use crate::manager;
use crate::secret::Fingerprint;
use crate::store::{self, DocumentTarget, HomeState, Stores, rescue};

/// Everything that [`super::explain`] decides by. It holds no secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Evidence {
    /// The time at which it was gathered.
    pub now: Timestamp,
    /// What is stored.
    pub stored: StoredLogin,
    /// The state that all processes share.
    pub state: HomeState,
    /// Whether tokens were received that are not stored yet, and no process is storing them.
    pub rescue_pending: bool,
    /// The history of this login, the latest last.
    pub own: Vec<HistoryRecord>,
    /// The history of the home and of its accounts.
    pub events: HomeEvents,
    /// The other homes of this user.
    pub others: Vec<OtherHome>,
}

/// What the store holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoredLogin {
    /// No login.
    Nothing,
    /// A login.
    Login {
        /// Its refresh token; `None` for a credential without one.
        token: Option<Fingerprint>,
        /// Its owner, as [`store::owner_of`] names them.
        owner: Option<Fingerprint>,
        /// When it was written, if it is in a file.
        written: Option<Timestamp>,
        /// When its access token was issued, by the authority's clock.
        issued: Option<Timestamp>,
    },
    /// A login of a fleet, which the authority does not refresh any more.
    FleetEnded,
    /// The store cannot be used.
    Unavailable {
        /// Why.
        failure: StoreFailure,
        /// The error, in words.
        message: String,
    },
}

/// Another home of this user that may hold the same login.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OtherHome {
    /// What it is called in sentences: `account work`, `the default home`.
    pub name: String,
    /// Its stored refresh token.
    pub token: Option<Fingerprint>,
    /// Its owner.
    pub owner: Option<Fingerprint>,
    /// The refresh tokens that were spent there.
    pub spent: Vec<Fingerprint>,
    /// Its history.
    pub records: Vec<HistoryRecord>,
}

impl Evidence {
    /// Reads everything about the login that `stores` hold. Writes, locks and sends nothing; what cannot be read counts as
    /// absent.
    #[must_use]
    pub fn gather(stores: &Stores, chosen: &ChosenHome, environment: &Environment, clock: &Clock) -> Self {
        let home = stores.home();
        let state = HomeState::read(home).map(|(state, _)| state).unwrap_or_default();
        let stored = match stores.find() {
            Ok(found) => found.stored.map_or(StoredLogin::Nothing, |stored| {
                if stored.document.is_handed_in() && manager::fleet_login_has_ended(home, environment) {
                    return StoredLogin::FleetEnded;
                }
                let written = store::written_at(&stored.location);
                StoredLogin::of(&stored.document, written)
            }),
            Err(error) => StoredLogin::Unavailable {
                failure: manager::store_failure(&error).unwrap_or(StoreFailure::Other),
                message: error.to_string(),
            },
        };
        let records = DocumentTarget::of(home).map(|target| target.records());
        let is_idle = store::holder(home).is_none();
        let rescue_pending =
            is_idle && records.is_ok_and(|records| !rescue::rescue_files(&records).is_empty());
        let own = manager::history(stores, clock.clone()).map(|history| history.read().records);
        let around = ChosenHome { account: None, ..chosen.clone() };
        let events = HomeHistory::open(&around, environment).map(|history| history.read(None));
        Self {
            now: clock.now(),
            stored,
            state,
            rescue_pending,
            own: own.unwrap_or_default(),
            events: events.unwrap_or_default(),
            others: other_homes(home, environment, clock),
        }
    }

    /// Returns the events of all histories that were read, in the order of time.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &HomeRecord> {
        self.events.records.iter()
    }

    /// Returns the stored refresh token.
    pub(super) fn token(&self) -> Option<Fingerprint> {
        match &self.stored {
            StoredLogin::Login { token, .. } => *token,
            _ => None,
        }
    }
}

impl StoredLogin {
    /// Returns what matters of `document`, which was written at `written`.
    #[must_use]
    pub fn of(document: &AuthDocument, written: Option<Timestamp>) -> Self {
        let (token, owner) = (document.fingerprint(), store::owner_of(document));
        Self::Login { token, owner, written, issued: document.access_claims().issued_at }
    }
}

fn other_homes(home: &Home, environment: &Environment, clock: &Clock) -> Vec<OtherHome> {
    let mut found: Vec<(String, Home)> = Vec::new();
    let mut add = |name: String, other: Home| {
        let is_target = |one: &Home| DocumentTarget::of(one).ok();
        let same = other == *home || (is_target(&other).is_some() && is_target(&other) == is_target(home));
        if !same && other.is_found() && !found.iter().any(|(_, known)| *known == other) {
            found.push((name, other));
        }
    };
    if let Ok(set) = AccountSet::around(home.clone()) {
        for account in set.accounts() {
            if let Ok(other) = set.home_of(account) {
                add(format!("the account {}", account.name), other);
            }
        }
        add("the home around this account".to_owned(), set.home().clone());
    }
    if let Some(default) = UserFolders::of_process().and_then(|user| Home::at(user.codex_home()).ok()) {
        if let Ok(set) = AccountSet::open(default.clone()) {
            for account in set.accounts() {
                if let Ok(other) = set.home_of(account) {
                    add(format!("the account {} of the default home", account.name), other);
                }
            }
        }
        add("the default home".to_owned(), default);
    }
    found.into_iter().filter_map(|(name, other)| OtherHome::read(name, other, environment, clock)).collect()
}

impl OtherHome {
    /// Reads the login of another home from its file only: a keychain could ask the user.
    fn read(name: String, home: Home, environment: &Environment, clock: &Clock) -> Option<Self> {
        let stores = Stores::open(home, environment).ok()?;
        let (state, _) = HomeState::read(stores.home()).ok()?;
        let stored = store::Store::load(&stores.file(), stores.timeout()).ok().flatten();
        let document = stored.as_ref().map(|stored| &stored.document);
        let records = manager::history(&stores, clock.clone()).map(|history| history.read().records);
        Some(Self {
            name,
            token: document.and_then(AuthDocument::fingerprint),
            owner: document.and_then(store::owner_of),
            spent: state.spent,
            records: records.unwrap_or_default(),
        })
    }
}
