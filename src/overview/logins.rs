//! The logins of a home, each followed by a manager, and what changed of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::files::FileFollower;
use super::login::{self, LoginOverview};
use super::records::RecordFollower;
use crate::accounts::{self, AccountName, AccountSet, ChosenHome, HomeHistory, HomeRecord};
use crate::clock::Clock;
use crate::config::{Environment, HistorySetting};
use crate::failpoint;
use crate::home::Home;
use crate::keeper::{Client, Export, ExportList, KeeperState, RunningKeeper};
use crate::manager::{AccountPolicy, AuthManager, CodexPrograms, LoginChange, Snapshot, WatchHandle};
use crate::store::ChangeAuthor;

/// How often the running programs are looked up while the screen has no focus.
const PROGRAM_INTERVAL: Duration = Duration::from_secs(120);
/// How often they are looked up for a person at the screen.
const PROGRAM_INTERVAL_ATTENDED: Duration = Duration::from_secs(1);

/// Follows all logins of a home. Dropping it ends that.
#[derive(Debug)]
pub struct Overview {
    home: Home,
    environment: Environment,
    clock: Clock,
    set: AccountSet,
    logins: Vec<FollowedLogin>,
    files: FileFollower,
    history: HomeHistory,
    _records: RecordFollower,
    sender: UnboundedSender<OverviewChange>,
    changes: UnboundedReceiver<OverviewChange>,
    programs: CodexPrograms,
    searched: Option<Instant>,
}

/// A change that [`Overview::changed`] reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OverviewChange {
    /// A login was changed by a program that records no events.
    Login(LoginEvent),
    /// An event was recorded in the history of the home or of an account.
    Recorded(Box<HomeRecord>),
    /// The accounts, a keeper or an export may have changed.
    Files,
}

/// A change of one login that no history records, or not at once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginEvent {
    /// When it was seen.
    pub at: Timestamp,
    /// The account; `None` for the login of a home that is none.
    pub account: Option<AccountName>,
    /// The home of the login.
    pub home: Home,
    /// What changed.
    pub change: LoginChange,
    /// The process that made the change, if it is known.
    pub by: Option<ChangeAuthor>,
    /// The e-mail address of the login after the change. It is text of a server: filter it before it is printed.
    pub email: Option<String>,
}

/// How old the list of running programs may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramSearch {
    /// Two minutes: a search reads `/proc`.
    Background,
    /// A second: a person looks at the list.
    Attended,
}

/// A login and the task that follows it.
#[derive(Debug)]
struct FollowedLogin {
    name: Option<AccountName>,
    home: Home,
    manager: AuthManager,
    _watch: WatchHandle,
    follower: JoinHandle<()>,
}

impl Drop for FollowedLogin {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Overview {
    /// Reads the accounts of `home`, or of the home around it if it is the folder of an account, and follows them.
    ///
    /// # Errors
    /// As [`AccountSet::open`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn open(home: Home, environment: Environment) -> Result<Self, accounts::Error> {
        let set = AccountSet::around(home)?;
        let (sender, changes) = unbounded_channel();
        let home = set.home().clone();
        let files = {
            let sender = sender.clone();
            FileFollower::start(vec![home.accounts_file(), home.document()], move || {
                sender.send(OverviewChange::Files).is_ok()
            })
        };
        let history = HomeHistory::open(&ChosenHome::of_home(home.clone()), &environment)?;
        let records = {
            let sender = sender.clone();
            RecordFollower::start(history.clone().follow(), move |record| {
                sender.send(OverviewChange::Recorded(Box::new(record))).is_ok()
            })
        };
        let mut overview = Self {
            home,
            environment,
            clock: Clock::system(),
            set,
            logins: Vec::new(),
            files,
            history,
            _records: records,
            sender,
            changes,
            programs: CodexPrograms::default(),
            searched: None,
        };
        overview.follow()?;
        Ok(overview)
    }

    /// Returns the home whose logins these are.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Returns the events that were recorded before, at most `count` and not before `since`; the latest is the last.
    #[must_use]
    pub fn recorded_events(&self, since: Timestamp, count: usize) -> Vec<HomeRecord> {
        let mut records = self.history.read(Some(since)).records;
        records.drain(..records.len().saturating_sub(count));
        records
    }

    /// Waits for an event, or for a change of a login, an account, a keeper or an export. Returns at least every 30 s, because events can
    /// be lost.
    ///
    /// # Cancellation
    /// Loses no change.
    pub async fn changed(&mut self) -> OverviewChange {
        failpoint::at("overview");
        match self.changes.recv().await {
            Some(change) => change,
            // This struct holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Returns the changes that were reported meanwhile, without waiting.
    pub fn pending_changes(&mut self) -> Vec<OverviewChange> {
        std::iter::from_fn(|| self.changes.try_recv().ok()).collect()
    }

    /// Returns the logins as they are now, in the order of the accounts; a login that is no account is the last.
    ///
    /// # Errors
    /// As [`AccountSet::open`]; what was followed before is still followed.
    pub async fn read(&mut self, search: ProgramSearch) -> Result<Vec<LoginOverview>, accounts::Error> {
        self.set = AccountSet::open(self.home.clone())?;
        self.follow()?;
        self.find_programs(search).await;
        let now = self.clock.now();
        let active = self.set.active().map(|account| account.name.clone());
        let mut logins = Vec::with_capacity(self.logins.len());
        for followed in &self.logins {
            let mut login = login::read(&followed.manager, &followed.home, now).await;
            login.is_active = followed.name.is_none() || followed.name == active;
            login.name.clone_from(&followed.name);
            login.programs = self.programs.using(&followed.home);
            if login.is_active && followed.home != self.home {
                login.programs.extend(self.programs.using(&self.home));
            }
            let beside = self.beside(&followed.home).await;
            (login.keeper, login.exports) = beside;
            logins.push(login);
        }
        Ok(logins)
    }

    /// Returns the keeper and the exports of a login.
    async fn beside(&self, home: &Home) -> (KeeperState, Vec<Export>) {
        let Some(running) = RunningKeeper::of(home) else { return (KeeperState::Absent, exports(home)) };
        let (asked, environment) = (home.clone(), self.environment.clone());
        let state = spawn_blocking(move || KeeperState::of(&asked, &environment).ok()).await.ok().flatten();
        (state.unwrap_or(KeeperState::Silent { holder: Some(running.holder) }), exports(home))
    }

    async fn find_programs(&mut self, search: ProgramSearch) {
        let limit = match search {
            ProgramSearch::Background => PROGRAM_INTERVAL,
            ProgramSearch::Attended => PROGRAM_INTERVAL_ATTENDED,
        };
        if self.searched.is_some_and(|last| last.elapsed() < limit) {
            return;
        }
        if let Ok(found) = spawn_blocking(CodexPrograms::find).await {
            self.programs = found;
            self.searched = Some(Instant::now());
        }
    }

    /// Begins to follow new accounts, and ends it for removed ones.
    fn follow(&mut self) -> Result<(), accounts::Error> {
        let mut wanted = Vec::new();
        for account in self.set.accounts() {
            wanted.push((Some(account.name.clone()), self.set.home_of(account)?));
        }
        if self.set.active().is_none() && !wanted.iter().any(|(_, home)| *home == self.home) {
            wanted.push((None, self.home.clone()));
        }
        let mut known = std::mem::take(&mut self.logins);
        for (name, home) in wanted {
            let position = known.iter().position(|login| login.name == name && login.home == home);
            self.logins.push(match position {
                Some(position) => known.swap_remove(position),
                None => FollowedLogin::start(name, home, &self.environment, &self.clock, &self.sender),
            });
        }
        self.files.update(self.watched());
        Ok(())
    }

    fn watched(&self) -> Vec<PathBuf> {
        let mut files = vec![self.home.accounts_file(), self.home.document()];
        for login in &self.logins {
            files.extend([login.home.keeper_lock(), login.home.export_list()]);
            files.extend(Client::of(&login.home, &self.environment).map(|client| client.path().to_owned()));
        }
        files
    }
}

impl FollowedLogin {
    fn start(
        name: Option<AccountName>,
        home: Home,
        environment: &Environment,
        clock: &Clock,
        sender: &UnboundedSender<OverviewChange>,
    ) -> Self {
        let manager = AuthManager::builder(home.clone(), environment.clone());
        let manager = manager.policy(AccountPolicy::Follow).open_anyway();
        let mut snapshots = manager.subscribe();
        let mut reported: Arc<Snapshot> = snapshots.borrow_and_update().clone();
        let watch = manager.watch();
        let (account, place, clock, sender) = (name.clone(), home.clone(), clock.clone(), sender.clone());
        // What this library changes is in the history.
        let is_recorded = environment.history == HistorySetting::On;
        let follower = tokio::spawn(async move {
            while snapshots.changed().await.is_ok() {
                let new = snapshots.borrow_and_update().clone();
                let change = LoginChange::between(&reported, &new);
                reported = new;
                let is_foreign = reported.author().is_none() || has_no_record(change);
                let sent = match change {
                    Some(change) if is_foreign || !is_recorded => OverviewChange::Login(LoginEvent {
                        at: clock.now(),
                        account: account.clone(),
                        home: place.clone(),
                        change,
                        by: reported.author().cloned(),
                        email: reported.document().and_then(|document| document.claims().email.clone()),
                    }),
                    // A note about how it is stored, or an event that the history has.
                    _ => OverviewChange::Files,
                };
                if sender.send(sent).is_err() {
                    return;
                }
            }
        });
        Self { name, home, manager, _watch: watch, follower }
    }
}

/// Whether this library records no event of `change`, by whichever program.
fn has_no_record(change: Option<LoginChange>) -> bool {
    matches!(change, Some(LoginChange::Readable | LoginChange::Unreadable))
}

fn exports(home: &Home) -> Vec<Export> {
    // A list that cannot be read is reported by the commands that change it.
    ExportList::read(home).map(|list| list.exports).unwrap_or_default()
}
