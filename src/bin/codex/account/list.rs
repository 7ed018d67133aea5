//! `codex account list` and `which`: the accounts, and the one that a command uses here.

use clap::Args;
use codex_auth::accounts::{Account, AccountReason, AccountSet, ChosenHome};
use codex_auth::document::AuthDocument;
use codex_auth::manager::LoginStatus;
use codex_auth::{Clock, Environment, Stores, Timestamp};
use serde_json::{Value, json};

use super::AccountContext;
use crate::choice;
use crate::context::account as identity;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::located;
use crate::output::{Output, path_text, plain, relative};
use crate::replaced::tell_replaced;

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_LIST)]
pub(super) struct ListArguments {
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_WHICH)]
pub(super) struct WhichArguments {
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The login of an account, as far as it can be read.
struct AccountStatus {
    document: Option<AuthDocument>,
    email: Option<String>,
    identity: Value,
    is_logged_in: bool,
    reason: Option<String>,
    store: Option<&'static str>,
    expires_at: Option<Timestamp>,
}

impl AccountStatus {
    fn read(set: &AccountSet, account: &Account, environment: &Environment, now: Timestamp) -> Self {
        match Self::try_read(set, account, environment, now) {
            Ok(status) => status,
            Err(error) => Self {
                document: None,
                email: None,
                identity: Value::Null,
                is_logged_in: false,
                reason: Some(error.to_string()),
                store: None,
                expires_at: None,
            },
        }
    }

    fn try_read(
        set: &AccountSet,
        account: &Account,
        environment: &Environment,
        now: Timestamp,
    ) -> Result<Self, CommandError> {
        let stores = Stores::open(set.home_of(account)?, environment)?;
        let status = LoginStatus::read(&stores, environment)?;
        let snapshot = status.snapshot();
        let document = snapshot.document();
        Ok(Self {
            document: document.cloned(),
            email: document.and_then(|document| document.claims().email.clone()),
            identity: identity(document),
            is_logged_in: document.and_then(AuthDocument::mode).is_some(),
            reason: status.usability().reason().map(ToString::to_string),
            store: snapshot.location().map(|location| location.kind().as_str()),
            expires_at: snapshot.expires_at(now),
        })
    }
}

pub(super) fn list(_arguments: &ListArguments, output: &mut Output) -> CommandOutcome {
    let AccountContext { environment, set, .. } = AccountContext::open(output)?;
    let now = Clock::system().now();
    let mut rows = Vec::new();
    let mut reports = Vec::new();
    for account in set.accounts() {
        let is_active = set.active() == Some(account);
        let status = AccountStatus::read(&set, account, &environment, now);
        if let Some(document) = &status.document {
            tell_replaced(&set, account, document, &environment, output);
        }
        let pins = set.pins().iter().filter(|pin| pin.account == account.id);
        let pins: Vec<_> = pins.map(|pin| path_text(&pin.folder)).collect();
        if output.is_json() {
            reports.push(json!({
                "id": account.id.as_str(),
                "name": account.name.as_str(),
                "active": is_active,
                "identity": status.identity,
                "logged_in": status.is_logged_in,
                "usable": status.reason.is_none(),
                "reason": status.reason,
                "store": status.store,
                "expires_at": status.expires_at.map(|moment| moment.to_string()),
                "home": path_text(set.home_of(account)?.path()),
                "pins": pins,
            }));
            continue;
        }
        rows.push([
            if is_active { "*".to_owned() } else { " ".to_owned() },
            account.name.to_string(),
            status.email.as_deref().map_or_else(|| "-".to_owned(), plain),
            match (status.reason, status.expires_at) {
                (Some(reason), _) => plain(&reason),
                (None, Some(end)) => format!("expires {}", relative(end, now)),
                (None, None) => "usable".to_owned(),
            },
            pins.iter().map(|pin| plain(pin)).collect::<Vec<_>>().join(", "),
        ]);
    }
    if output.is_json() {
        output.report(
            json!({"accounts": reports, "active": set.active().map(|account| account.name.as_str())}),
        )?;
        return Ok(());
    }
    if rows.is_empty() {
        output.data("no accounts")?;
        output.hint("to add one: codex account add NAME");
        return Ok(());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [1, width(1), width(2), width(3)];
    for row in &rows {
        let cells = row.iter().zip(widths.iter().chain([&0]));
        let line: Vec<_> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        output.data(line.join("  ").trim_end())?;
    }
    output.inform(match set.active() {
        Some(_) => "* is used by editors and by every program that was not started through codex-auth",
        None => "no account is active; to activate one: codex account use NAME",
    });
    Ok(())
}

pub(super) fn which(_arguments: &WhichArguments, output: &mut Output) -> CommandOutcome {
    let mut environment = Environment::of_process()?;
    output.configure(&environment);
    let ChosenHome { home, account, reason, .. } = located::locate(&mut environment, output)?;
    output.set_home(json!(path_text(home.path())));
    let Some(account) = account else {
        let hint = match reason {
            AccountReason::NoAccounts => "to add one: codex account add NAME",
            _ => "to choose one: codex account use NAME",
        };
        if output.is_json() {
            output.report(json!({"name": null, "id": null, "reason": reason.as_str(), "because": reason.to_string(), "pin": null}))?;
        } else {
            output.data(&reason.to_string())?;
            output.hint(hint);
        }
        return Err(CommandError::reported(Exit::Failed));
    };
    if output.is_json() {
        output.report(json!({
            "name": account.name.as_str(),
            "id": account.id.as_str(),
            "reason": reason.as_str(),
            "because": reason.to_string(),
            "pin": choice::pinned_folder(&reason).map(|folder| path_text(&folder)),
        }))?;
    } else {
        output.data(account.name.as_str())?;
        output.inform(&plain(&reason.to_string()));
    }
    Ok(())
}
