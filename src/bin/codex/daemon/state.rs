//! A daemon that was found, and whether it serves the stored login.

use codex_auth::daemon::{Daemon, Error, ServedAccount, ServedComparison, ServedLogin};
use codex_auth::{AuthDocument, Home};
use serde_json::{Value, json};

use crate::output::{self, Output, plain};

/// The field of a JSON report; absent where no daemon runs.
pub(crate) const FIELD: &str = "codex_daemon";

/// What a command has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginChange {
    /// Which login is stored.
    Login,
    /// The store; the daemon knows only the old one.
    Store,
}

/// Why a daemon does not serve the stored login as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Departure {
    EnvironmentToken,
    OlderCredential,
    OldStore,
    OtherLogin,
    Unknown,
}

/// A daemon that was found, and how its login relates to the stored one.
pub(crate) struct DaemonState {
    found: Result<Daemon, Error>,
    departure: Option<Departure>,
    /// Whether a `/logout` in a Codex that uses the daemon would end a login that is stored.
    endangers_stored: bool,
}

/// Whether a restart would make a daemon serve the stored login.
pub(super) enum Restartable {
    No(DaemonState),
    Yes(Daemon),
}

impl DaemonState {
    /// Looks for the daemon of `home`; `None` if none runs, or if the `stored` login cannot be read. Reads the stored
    /// login only if there is a daemon.
    pub(crate) fn look<E>(
        home: &Home,
        stored: impl FnOnce() -> Result<Option<AuthDocument>, E>,
    ) -> Option<Self> {
        let found = Daemon::find(home).transpose()?;
        let stored = stored().ok()?;
        let departure = found.as_ref().ok().and_then(|daemon| departure(daemon, stored.as_ref()));
        Some(Self { found, departure, endangers_stored: stored.is_some() })
    }

    /// The state after a command has made this change, without a restart.
    pub(super) fn after(mut self, change: LoginChange) -> Self {
        if change == LoginChange::Store && self.found.is_ok() {
            self.departure = self.departure.or(Some(Departure::OldStore));
        }
        self
    }

    pub(super) fn restartable(self) -> Restartable {
        match (self.found, self.departure) {
            (Ok(daemon), Some(departure)) if departure != Departure::EnvironmentToken => {
                Restartable::Yes(daemon)
            }
            (found, departure) => Restartable::No(Self { found, departure, ..self }),
        }
    }

    /// Returns whether the daemon serves the stored login.
    pub(super) fn is_good(&self) -> bool {
        self.found.is_ok() && self.departure.is_none()
    }

    /// Returns the login that the daemon serves, for messages.
    pub(super) fn served(&self) -> Option<String> {
        self.found.as_ref().ok().map(|daemon| served_text(daemon.served()))
    }

    /// Returns a warning that names the login which the daemon serves, unless that is the stored one.
    pub(crate) fn warning(&self) -> Option<String> {
        self.text(&served_text)
    }

    /// As [`Self::warning`], without the name of an account.
    pub(crate) fn anonymous_warning(&self) -> Option<String> {
        self.text(&|served| match served {
            ServedLogin::Account(_) => "another account (codex status names it)".to_owned(),
            other => served_text(other),
        })
    }

    fn text(&self, name: &dyn Fn(&ServedLogin) -> String) -> Option<String> {
        let daemon = match &self.found {
            Ok(daemon) => daemon,
            Err(error) => return Some(error.to_string()),
        };
        let departure = self.departure?;
        let subject = subject(daemon);
        let what = match (departure, daemon.served()) {
            (Departure::EnvironmentToken, _) => {
                format!(
                    "{subject} uses the CODEX_ACCESS_TOKEN of the program that started it, whatever is stored"
                )
            }
            (Departure::OtherLogin, ServedLogin::LoggedOut) => {
                format!("{subject} is logged out and does not see the stored login")
            }
            (Departure::OtherLogin, served) => format!("{subject} still serves {}", name(served)),
            (Departure::OlderCredential, _) => {
                format!("{subject} is older than the stored credential and may serve another one")
            }
            (Departure::OldStore, _) => return Some(format!("{subject} still uses the old store")),
            (Departure::Unknown, ServedLogin::Unknown(reason)) => {
                return Some(format!("{subject} does not say which login it serves: {reason}"));
            }
            (Departure::Unknown, served) => {
                return Some(format!("{subject} serves {}, which may not be the stored login", name(served)));
            }
        };
        let danger = match self.endangers_stored {
            true => ", and a /logout there would revoke and remove the stored login",
            false => "",
        };
        Some(format!("{what}; so does every Codex in a terminal{danger}"))
    }

    /// Returns the command with which the user can restart the daemon, if that helps.
    pub(crate) fn remedy(&self) -> Option<String> {
        let daemon = self.found.as_ref().ok()?;
        self.departure.filter(|departure| *departure != Departure::Unknown)?;
        Some(daemon.restart_command())
    }

    /// Returns the version and process of a daemon that serves the stored login.
    pub(crate) fn good(&self) -> Option<String> {
        let daemon = self.found.as_ref().ok().filter(|_| self.departure.is_none())?;
        let version = daemon.version().map(|version| format!(", version {version}")).unwrap_or_default();
        Some(format!("{}{version}, serves the stored login", subject(daemon)))
    }

    /// Returns whether it serves a login that is certainly not the stored one.
    pub(crate) fn is_wrong(&self) -> bool {
        self.departure == Some(Departure::OtherLogin)
    }

    /// Adds the daemon to the JSON report.
    pub(crate) fn report(&self, output: &mut Output) {
        output.head(FIELD, self.json(&[]));
    }

    /// Warns of a daemon that does not serve the stored login.
    pub(crate) fn warn(&self, output: &Output) {
        if let Some(warning) = self.warning().filter(|_| !output.is_json()) {
            output.warn(&warning);
            if let Some(command) = self.remedy() {
                output.hint(&format!("restart it: {command}"));
            }
        }
    }

    /// Returns the daemon for a JSON report, with `more` fields.
    pub(super) fn json(&self, more: &[(&str, Value)]) -> Value {
        let mut fields = match &self.found {
            Ok(daemon) => json!({
                "pid": daemon.pid(),
                "version": daemon.version(),
                "socket": output::path_text(daemon.socket()),
                "serves": match self.departure {
                    None => "stored-login",
                    Some(Departure::EnvironmentToken) => "environment-token",
                    Some(Departure::OlderCredential) => "older-credential",
                    Some(Departure::OldStore) => "old-store",
                    Some(Departure::OtherLogin) => "other-login",
                    Some(Departure::Unknown) => "unknown",
                },
                "method": method(daemon.served()),
                "account": account(daemon.served()),
            }),
            Err(_) => {
                json!({"pid": null, "version": null, "serves": "unknown", "method": null, "account": null})
            }
        };
        fields["warning"] = json!(self.warning());
        fields["remedy"] = json!(self.remedy());
        for (name, value) in more {
            fields[*name] = value.clone();
        }
        fields
    }
}

fn departure(daemon: &Daemon, stored: Option<&AuthDocument>) -> Option<Departure> {
    if daemon.has_environment_token() {
        return Some(Departure::EnvironmentToken);
    }
    match daemon.comparison(stored) {
        ServedComparison::Same => None,
        ServedComparison::Older => Some(Departure::OlderCredential),
        ServedComparison::Other => Some(Departure::OtherLogin),
        _ => Some(Departure::Unknown),
    }
}

fn subject(daemon: &Daemon) -> String {
    let pid = daemon.pid().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    format!("Codex's daemon{pid}")
}

fn served_text(served: &ServedLogin) -> String {
    match served {
        ServedLogin::Account(ServedAccount { email, plan, identity, .. }) => {
            let name = email.as_ref().or(identity.account_id.as_ref()).or(identity.user_id.as_ref());
            let name = name.map_or_else(|| "an account".to_owned(), |name| plain(name));
            match plan {
                Some(plan) => format!("{name} ({})", plain(plan)),
                None => name,
            }
        }
        ServedLogin::ApiKey => "an API key".to_owned(),
        ServedLogin::LoggedOut => "no login".to_owned(),
        ServedLogin::Other(kind) => format!("a credential of the kind {}", plain(kind)),
        _ => "an unknown login".to_owned(),
    }
}

fn method(served: &ServedLogin) -> Option<&str> {
    match served {
        ServedLogin::Account(_) => Some("chatgpt"),
        ServedLogin::ApiKey => Some("apikey"),
        ServedLogin::Other(kind) => Some(kind),
        _ => None,
    }
}

fn account(served: &ServedLogin) -> Value {
    let ServedLogin::Account(account) = served else { return Value::Null };
    json!({
        "id": account.identity.account_id,
        "user_id": account.identity.user_id,
        "email": account.email,
        "plan": account.plan,
    })
}
