//! `codex sync status`: shows whether a keeper runs, and when it refreshes next.

use clap::Args;
use codex_auth::accounts::{Account, AccountSet};
use codex_auth::keeper::{Client, KeeperState, KeeperStatus, RunningKeeper};
use codex_auth::redaction::printable;
use codex_auth::{Clock, Environment, Home, Stores, Timestamp, store};
use codex_auth_platform::service;
use serde_json::{Value, json};

use super::service::Installation;
use crate::choice;
use crate::daemon::DaemonState;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::located;
use crate::output::{Output, path_text, plain, relative};

#[derive(Args, Debug)]
pub(crate) struct SyncStatusArguments {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn run(_arguments: &SyncStatusArguments, output: &mut Output) -> CommandOutcome {
    let mut environment = Environment::of_process()?;
    output.configure(&environment);
    let home = match located::locate_without_pins(&mut environment, output) {
        Ok(chosen) => Some(chosen.home),
        // With CODEX_AUTH_SOCKET set, no home is needed.
        Err(_) if environment.socket.is_some() && !choice::is_named() => None,
        Err(error) => return Err(error),
    };
    output.set_home(json!(home.as_ref().map(|home| path_text(home.path()))));
    let socket = environment.socket.as_ref().filter(|_| !choice::is_named());
    let is_elsewhere = socket.is_some();
    let client = match socket {
        Some(path) => Some(Client::at(path)),
        None => home.as_ref().and_then(|home| Client::of(home, &environment)),
    };
    let keeper = match (&client, &home) {
        (Some(client), _) if is_elsewhere => KeeperState::behind(client),
        (_, Some(home)) => KeeperState::of(home, &environment),
        _ => Ok(KeeperState::Absent),
    };
    let keeper = keeper.map_err(|error| CommandError::new(Exit::Failed, error.to_string()))?;
    let status = keeper.status().cloned();
    let socket = client.map(|client| client.path().display().to_string());
    let daemon = home.as_ref().and_then(|home| {
        DaemonState::look(home, || {
            let found = Stores::open(home.clone(), &environment)?.find()?;
            Ok::<_, store::Error>(found.stored.map(|stored| stored.document))
        })
    });
    if let Some(daemon) = &daemon {
        daemon.report(output);
    }
    let installed = home
        .as_ref()
        .and_then(|home| Installation::of(home, &environment).ok())
        .filter(|found| service::read(&found.file).is_some());
    let installed = installed.map(|found| found.file.display().to_string());
    output.head("account", json!(status.as_ref().and_then(|status| status.account.clone())));
    let accounts = match &home {
        Some(home) if environment.socket.is_none() => AccountKeeper::all(home, &keeper, &environment)?,
        _ => Vec::new(),
    };
    if output.is_json() {
        let mut report = json!({
            "running": keeper.pid().is_some() || keeper.is_silent(),
            "responding": status.is_some(),
            "installed": installed,
            "socket": socket,
            "pid": keeper.pid(),
            "version": status.as_ref().map(|status| status.version.clone()),
            "usable": status.as_ref().map(|status| status.reason.is_none()),
            "reason": status.as_ref().and_then(|status| status.reason.clone()),
            "busy": status.as_ref().and_then(|status| status.busy.clone()),
            "expires_at": status.as_ref().and_then(|status| status.expires_at),
            "next_refresh_at": status.as_ref().and_then(|status| status.next_refresh_at),
        });
        if !accounts.is_empty() {
            report["accounts"] = accounts.iter().map(AccountKeeper::report).collect();
        }
        output.report(report)?;
    } else if let Some(status) = &status {
        show(status, socket.as_deref(), installed.as_deref(), output)?;
        show_accounts(&accounts, output)?;
    } else {
        output.data(&without_status(&keeper))?;
        if accounts.iter().any(|account| account.keeper.pid().is_some()) {
            show_accounts(&accounts, output)?;
        }
        output.hint(&match (installed, &keeper) {
            (Some(_), KeeperState::Absent) => {
                "it is installed; to start it: codex sync install --now".to_owned()
            }
            (None, KeeperState::Absent) => "to start one at every login: codex sync install --now".to_owned(),
            (Some(_), _) => "to restart it: codex sync install --now".to_owned(),
            (None, _) => continue_or_end(keeper.pid()),
        });
    }
    daemon.iter().for_each(|daemon| daemon.warn(output));
    // Scripts use the exit code.
    if status.is_some() { Ok(()) } else { Err(CommandError::reported(Exit::Failed)) }
}

/// Describes a keeper without a status.
fn without_status(keeper: &KeeperState) -> String {
    match (keeper.is_silent(), keeper.pid()) {
        (false, _) => "no keeper is running".to_owned(),
        (true, Some(pid)) => format!("the keeper (pid {pid}) does not respond"),
        (true, None) => "the keeper does not respond".to_owned(),
    }
}

/// Returns what to do with a keeper that does not respond and that no service manager restarts.
pub(crate) fn continue_or_end(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("if it was stopped, continue it: kill -CONT {pid}; or end it: kill -KILL {pid}"),
        None => "restart the keeper of that socket".to_owned(),
    }
}

/// The keeper of an account.
struct AccountKeeper {
    account: Account,
    is_active: bool,
    socket: Option<String>,
    keeper: KeeperState,
}

impl AccountKeeper {
    /// Asks the keepers of all accounts of `home`, whose own is `keeper`.
    fn all(home: &Home, keeper: &KeeperState, environment: &Environment) -> Result<Vec<Self>, CommandError> {
        let set = AccountSet::open(home.clone())?;
        let ask = |account: &Account| {
            let home = set.home_of(account)?;
            let running = RunningKeeper::of(&home).map(|keeper| keeper.holder);
            // One process is the keeper of all accounts. If it is stopped, each of them would cost a second.
            let keeper = match keeper {
                KeeperState::Silent { holder } if running.is_some() && *holder == running => keeper.clone(),
                // A keeper whose response is not understood serves no program.
                _ => KeeperState::of(&home, environment).unwrap_or(KeeperState::Silent { holder: running }),
            };
            Ok(Self {
                account: account.clone(),
                is_active: set.active() == Some(account),
                keeper,
                socket: Client::of(&home, environment).map(|client| path_text(client.path())),
            })
        };
        set.accounts().map(ask).collect()
    }

    fn report(&self) -> Value {
        let status = self.keeper.status();
        json!({
            "id": self.account.id.as_str(),
            "name": self.account.name.as_str(),
            "active": self.is_active,
            "running": self.keeper.pid().is_some() || self.keeper.is_silent(),
            "responding": status.is_some(),
            "socket": self.socket,
            "pid": self.keeper.pid(),
            "identity": status.and_then(|status| status.account.as_ref()),
            "usable": status.map(|status| status.reason.is_none()),
            "reason": status.and_then(|status| status.reason.as_ref()),
            "busy": status.and_then(|status| status.busy.as_ref()),
            "expires_at": status.and_then(|status| status.expires_at),
            "next_refresh_at": status.and_then(|status| status.next_refresh_at),
        })
    }

    /// The words of a report after the name.
    fn summary(&self, now: Timestamp) -> String {
        let Some(status) = self.keeper.status() else { return without_status(&self.keeper) };
        let state = match (&status.reason, status.next_refresh_at) {
            (Some(why), _) => printable(why, 200).to_string(),
            (None, Some(moment)) => format!("refresh {}", relative(moment, now)),
            (None, None) => "refresh not planned".to_owned(),
        };
        format!("pid {}, {state}", status.pid)
    }
}

fn show_accounts(accounts: &[AccountKeeper], output: &Output) -> CommandOutcome {
    let now = Clock::system().now();
    let width = accounts.iter().map(|account| account.account.name.as_str().len()).max().unwrap_or(0);
    for account in accounts {
        let mark = if account.is_active { "*" } else { " " };
        output.data(&format!("{mark} {:width$}  {}", account.account.name.as_str(), account.summary(now)))?;
    }
    Ok(())
}

fn show(
    status: &KeeperStatus,
    socket: Option<&str>,
    installed: Option<&str>,
    output: &Output,
) -> CommandOutcome {
    let now = Clock::system().now();
    let mut fields = vec![("keeper", format!("pid {}, version {}", status.pid, plain(&status.version)))];
    if let Some(email) = status.account.as_ref().and_then(|account| account.email.as_deref()) {
        fields.push(("account", plain(email)));
    }
    fields.extend(status.expires_at.map(|end| ("expires", relative(end, now))));
    fields.push((
        "refresh",
        status.next_refresh_at.map_or_else(|| "not planned".to_owned(), |moment| relative(moment, now)),
    ));
    fields.push((
        "usable",
        match (&status.reason, &status.busy) {
            (Some(why), _) => format!("no: {}", printable(why, 200)),
            (None, Some(holder)) => format!("yes, when {} has finished", plain(holder)),
            (None, None) => "yes".to_owned(),
        },
    ));
    fields.extend(socket.map(|socket| ("socket", socket.to_owned())));
    fields.push(("service", installed.unwrap_or("not installed").to_owned()));
    Ok(output.fields(&fields)?)
}
