//! What the dashboard shows: plain values, from which the screen is drawn.

use std::collections::VecDeque;
use std::time::Duration;

use codex_auth::Timestamp;
use codex_auth::accounts::HomeRecord;
use codex_auth::diagnosis::CodexProcess;
use codex_auth::history::{FleetChange, HistoryEvent};
use codex_auth::keeper::KeeperState;
use codex_auth::manager::LoginChange;
use codex_auth::overview::{LoginEvent, LoginHealth, LoginOverview};
use codex_auth::redaction::printable;

use super::look::Tone;
use super::moments;
use super::prompt::Prompt;
use crate::context::credential;
use crate::output::plain;
use crate::screen_line::{LineKind, ScreenLine};
use crate::{history, status};

/// The events that are kept.
pub(super) const MAX_EVENTS: usize = 200;
/// The lines of a command that are kept.
const MAX_LINES: usize = 500;
/// The longest reason that is shown, in characters.
const LONGEST_REASON: usize = 400;

/// All that the screen is drawn from.
#[derive(Debug)]
pub(super) struct Model {
    /// The folder of the logins.
    pub(super) home: String,
    pub(super) now: Timestamp,
    /// The local date of now.
    pub(super) today: String,
    pub(super) logins: Vec<LoginRow>,
    /// The position of the login that commands are about.
    pub(super) selected: usize,
    /// The latest event is the last.
    pub(super) events: VecDeque<EventRow>,
    /// What hinders the dashboard itself.
    pub(super) problem: Option<String>,
    pub(super) prompt: Prompt,
    pub(super) report: Option<Report>,
}

/// A login as it is shown. All text of others is filtered.
#[derive(Clone, Debug, Default)]
pub(super) struct LoginRow {
    /// The account; `None` for a login that is none.
    pub(super) name: Option<String>,
    pub(super) is_active: bool,
    /// The e-mail address and plan, or the kind of the credential.
    pub(super) who: String,
    pub(super) workspace: Option<String>,
    pub(super) health: Option<LoginHealth>,
    /// Why no token can be obtained, or who is waited for.
    pub(super) reason: Option<String>,
    pub(super) hints: Vec<String>,
    pub(super) store: String,
    pub(super) location: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) warnings: Vec<String>,
    pub(super) programs: Vec<String>,
    pub(super) keeper: Option<KeeperRow>,
    pub(super) exports: Vec<String>,
}

/// The keeper of a login.
#[derive(Clone, Debug)]
pub(super) enum KeeperRow {
    Responding { pid: u32, next_refresh_at: Option<Timestamp>, reason: Option<String> },
    Silent { pid: Option<u32> },
}

impl KeeperRow {
    fn of(keeper: &KeeperState) -> Option<Self> {
        match keeper {
            KeeperState::Responding(status) => Some(Self::Responding {
                pid: status.pid,
                next_refresh_at: status.next_refresh_at,
                reason: status.reason.as_deref().map(|reason| printable(reason, LONGEST_REASON)),
            }),
            KeeperState::Silent { .. } => Some(Self::Silent { pid: keeper.pid() }),
            _ => None,
        }
    }

    fn next_refresh_at(&self) -> Option<Timestamp> {
        match self {
            Self::Responding { next_refresh_at, .. } => *next_refresh_at,
            Self::Silent { .. } => None,
        }
    }
}

/// An event of a login.
#[derive(Clone, Debug)]
pub(super) struct EventRow {
    /// The local date and time, to the second.
    pub(super) time: String,
    pub(super) account: Option<String>,
    pub(super) what: String,
    pub(super) details: String,
    pub(super) tone: Tone,
}

/// The lines of the last command.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// The command.
    pub(super) title: String,
    pub(super) lines: Vec<ScreenLine>,
    pub(super) is_running: bool,
    /// How many lines are scrolled out above.
    pub(super) scroll: usize,
}

impl Report {
    pub(super) fn running(title: String) -> Self {
        Self { title, lines: Vec::new(), is_running: true, scroll: 0 }
    }

    /// Adds a line of the command.
    pub(super) fn add(&mut self, line: ScreenLine) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }
}

impl Model {
    pub(super) fn new(home: &str, now: Timestamp) -> Self {
        Self {
            home: plain(home),
            now,
            today: date(now),
            logins: Vec::new(),
            selected: 0,
            events: VecDeque::new(),
            problem: None,
            prompt: Prompt::default(),
            report: None,
        }
    }

    /// Sets the time.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
        self.today = date(now);
    }

    /// Returns the selected login.
    pub(super) fn login(&self) -> Option<&LoginRow> {
        self.logins.get(self.selected)
    }

    /// Replaces the logins; the same account stays selected.
    pub(super) fn set_logins(&mut self, logins: &[LoginOverview]) {
        let selected = self.login().map(|login| login.name.clone());
        self.logins = logins.iter().map(LoginRow::of).collect();
        let position = |name: &Option<String>| self.logins.iter().position(|login| login.name == *name);
        self.selected = selected
            .as_ref()
            .and_then(position)
            .unwrap_or_else(|| self.logins.iter().position(|login| login.is_active).unwrap_or_default());
    }

    /// Selects the account `name`.
    pub(super) fn select(&mut self, name: &str) {
        let position = self.logins.iter().position(|login| login.name.as_deref() == Some(name));
        self.selected = position.unwrap_or(self.selected);
    }

    pub(super) fn add_event(&mut self, event: EventRow) {
        self.events.push_back(event);
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }

    /// Returns how long the shown times stay true.
    pub(super) fn until_changed(&self) -> Option<Duration> {
        let expiries = self.logins.iter().filter_map(|login| login.expires_at);
        let keeper = self.login().and_then(|login| login.keeper.as_ref()?.next_refresh_at());
        expiries.chain(keeper).map(|moment| moments::until_changed(moment, self.now)).min()
    }
}

impl LoginRow {
    fn of(login: &LoginOverview) -> Self {
        let account = login.account.as_ref();
        let email = account.and_then(|account| account.email.as_deref()).map(plain);
        let plan = account.and_then(|account| account.plan.as_deref()).map(plain);
        let who = match (email, plan, &login.mode) {
            (Some(email), Some(plan), _) => format!("{email} ({plan})"),
            (Some(email), None, _) => email,
            (None, _, Some(mode)) => credential(Some(mode)),
            (None, _, None) => String::new(),
        };
        let error = login.usability.reason();
        let reason = error.map(ToString::to_string);
        let busy = login.usability.busy().map(|holder| format!("waiting for {holder}"));
        Self {
            name: login.name.as_ref().map(ToString::to_string),
            is_active: login.is_active,
            who,
            workspace: account.and_then(|account| account.id.as_deref()).map(plain),
            health: Some(login.health),
            reason: reason.or(busy).map(|reason| printable(&reason, LONGEST_REASON)),
            hints: error.map(|error| status::unusable(error).hints().to_vec()).unwrap_or_default(),
            store: login.store.map(|store| store.as_str().to_owned()).unwrap_or_default(),
            location: login.location.as_deref().map(|location| printable(location, LONGEST_REASON)),
            expires_at: login.expires_at,
            warnings: login.warnings.iter().map(|warning| printable(warning, LONGEST_REASON)).collect(),
            programs: login.programs.iter().map(program).collect(),
            keeper: KeeperRow::of(&login.keeper),
            exports: login.exports.iter().map(|export| plain(&export.folder.to_string_lossy())).collect(),
        }
    }

    /// Returns the account for a sentence.
    pub(super) fn title(&self) -> String {
        match (&self.name, self.who.as_str()) {
            (Some(name), "") => name.clone(),
            (Some(name), who) => format!("{name}, {who}"),
            (None, "") => "the login".to_owned(),
            (None, who) => who.to_owned(),
        }
    }
}

impl EventRow {
    /// The row of a change that no history records.
    pub(super) fn of(event: &LoginEvent) -> Self {
        let by = event.by.as_ref().map_or_else(|| "another program".to_owned(), ToString::to_string);
        let email = event.email.as_deref().map(|email| format!("{} · ", plain(email))).unwrap_or_default();
        Self {
            time: history::local(event.at),
            account: event.account.as_ref().map(ToString::to_string),
            what: event.change.to_string(),
            details: format!("{email}by {by}"),
            tone: tone(event.change),
        }
    }

    /// The row of a recorded event, as `codex log` shows it.
    pub(super) fn recorded(of: &HomeRecord) -> Self {
        let record = &of.record;
        let tone = match record.event {
            HistoryEvent::Login { .. } | HistoryEvent::Refreshed { .. } | HistoryEvent::Healed { .. } => {
                Tone::Good
            }
            HistoryEvent::Poisoned { .. } | HistoryEvent::RescueLost { .. } => Tone::Bad,
            HistoryEvent::Fleet {
                change: FleetChange::Left | FleetChange::Detached | FleetChange::Unreachable,
            }
            | HistoryEvent::Logout { .. }
            | HistoryEvent::NotRefreshed { .. }
            | HistoryEvent::ClockStepped { .. }
            | HistoryEvent::StoreUnavailable { .. } => Tone::Warning,
            _ => Tone::Plain,
        };
        let parts = [record.event.to_string(), format!("by {}", record.process())];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self {
            time: history::local(record.at),
            account: of.account.as_ref().map(ToString::to_string),
            what: record.event.word().to_owned(),
            details: printable(&parts.join(" · "), LONGEST_REASON),
            tone,
        }
    }
}

fn date(at: Timestamp) -> String {
    history::local(at).chars().take(10).collect()
}

fn tone(change: LoginChange) -> Tone {
    match change {
        LoginChange::Poisoned | LoginChange::Unreadable => Tone::Bad,
        LoginChange::Logout | LoginChange::AccountChanged | LoginChange::WorkspaceChanged => Tone::Warning,
        LoginChange::Login | LoginChange::Healed | LoginChange::Refreshed => Tone::Good,
        _ => Tone::Plain,
    }
}

fn program(program: &CodexProcess) -> String {
    let name = program.executable.file_name().unwrap_or(program.executable.as_os_str());
    format!("{} (pid {})", plain(&name.to_string_lossy()), program.pid)
}

impl From<LineKind> for Tone {
    fn from(kind: LineKind) -> Self {
        match kind {
            LineKind::Text => Self::Plain,
            LineKind::Warning => Self::Warning,
            LineKind::Error => Self::Bad,
            LineKind::Hint => Self::Hint,
        }
    }
}
