//! `codex fleet`: hosts that share one login through etcd.

mod brief;
mod commands;
mod hints;
mod status;
mod waiting;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use codex_auth::document::AuthDocument;
use codex_auth::fleet::membership::{FleetName, Membership, MembershipError, Standing};
use codex_auth::fleet::{EtcdEndpoint, EtcdEndpointError, MemberName};
use codex_auth::keeper::member::{FleetError, MemberTask, perform};
use codex_auth::{Environment, Home};
use jiff::SignedDuration;

pub(crate) use self::brief::FleetBrief;
pub(crate) use self::commands::to_return;
pub(crate) use self::waiting::waiting;

use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome};
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = crate::help::FLEET)]
pub(crate) struct FleetArguments {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Found a fleet from the present login
    Init(InitArguments),
    /// Print an invite for one more host: a line that is secret until it was used
    Invite(InviteArguments),
    /// Join the fleet of an invite, which is read from standard input
    Join(JoinArguments),
    /// Show the hosts, the refresher, the token and whether etcd can be reached
    #[command(after_help = crate::help::FLEET_STATUS)]
    Status(ReportArguments),
    /// Refresh, and seal the login with a new key, which the other hosts get by new invites
    #[command(after_help = crate::help::FLEET_REKEY)]
    Rekey(ReportArguments),
    /// Leave the fleet; the login of this host is removed
    #[command(after_help = crate::help::FLEET_LEAVE)]
    Leave(ReportArguments),
    /// Return to the fleet after a program has logged out here or logged in to another account
    #[command(after_help = crate::help::FLEET_RESUME)]
    Resume(ReportArguments),
}

const ETCD_HELP: &str = "An address of etcd, such as https://etcd.example:2379; may be given several times";

#[derive(Args, Debug)]
#[command(after_help = crate::help::FLEET_INIT)]
struct InitArguments {
    #[arg(long, value_name = "URL", required = true, value_parser = endpoint, help = ETCD_HELP)]
    etcd: Vec<EtcdEndpoint>,

    /// A PEM file with the only certificates that are trusted for etcd
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca: Option<PathBuf>,

    /// The etcd user, whose password is read from standard input
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// The name of the fleet
    #[arg(long, value_name = "FLEET", default_value_t, value_parser = name::<FleetName>)]
    name: FleetName,

    /// The name of this host in the fleet (default: the name of the machine)
    #[arg(long, value_name = "NAME", value_parser = name::<MemberName>)]
    member: Option<MemberName>,

    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::FLEET_INVITE)]
struct InviteArguments {
    /// How long the invite can be used, from 1m to 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
    ttl: Duration,

    /// Report as JSON, including the invite
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::FLEET_JOIN)]
struct JoinArguments {
    /// The name of this host in the fleet (default: the name of the machine)
    #[arg(long, value_name = "NAME", value_parser = name::<MemberName>)]
    member: Option<MemberName>,

    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ReportArguments {
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl FleetArguments {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            FleetCommand::Init(arguments) => arguments.json,
            FleetCommand::Invite(arguments) => arguments.json,
            FleetCommand::Join(arguments) => arguments.json,
            FleetCommand::Status(arguments)
            | FleetCommand::Rekey(arguments)
            | FleetCommand::Leave(arguments)
            | FleetCommand::Resume(arguments) => arguments.json,
        }
    }
}

pub(crate) fn run(arguments: &FleetArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    match &arguments.command {
        FleetCommand::Init(arguments) => commands::init(arguments, &session, output),
        FleetCommand::Invite(arguments) => commands::invite(arguments, &session, output),
        FleetCommand::Join(arguments) => commands::join(arguments, &session, output),
        FleetCommand::Status(_) => status::run(&session, output),
        FleetCommand::Rekey(_) => commands::rekey(&session, output),
        FleetCommand::Leave(_) => commands::leave(&session, output),
        FleetCommand::Resume(_) => commands::resume(&session, output),
    }
}

/// Makes a login that was stored in `home` that of its fleet, if it is a member, and says what came of it.
pub(crate) fn after_login(home: &Home, environment: &Environment, output: &Output) {
    match Membership::served(home) {
        Ok(Some(membership)) => {
            if let Err(error) = perform(home, environment, MemberTask::Settle) {
                let fleet = &membership.fleet;
                output.warn(&format!(
                    "the login is stored here, but the fleet '{fleet}' has it not yet: {error}"
                ));
                CommandError::from(error).hints().iter().for_each(|hint| output.hint(hint));
                return;
            }
            match Membership::of(home) {
                Ok(Some(now)) if !now.standing.is_served() => commands::tell_set_aside(&now, output),
                _ => output
                    .inform(&format!("every host of the fleet '{}' has this login now", membership.fleet)),
            }
        }
        Ok(None) => {}
        Err(error) => output.warn(&error.to_string()),
    }
}

/// Returns the error of a member whose login `document` is not there because a program has removed it.
pub(crate) fn removed_login(home: &Home, document: Option<&AuthDocument>) -> Option<CommandError> {
    let standing = Membership::of(home).ok()??.standing.without_login();
    let is_left = document.is_none() && standing == Standing::Left;
    is_left.then(|| FleetError::from(MembershipError::SetAside { standing }).into())
}

/// Parses an address of etcd.
fn endpoint(word: &str) -> Result<EtcdEndpoint, String> {
    word.parse().map_err(|error| match error {
        // What is no URL may have a password.
        EtcdEndpointError::NotAUrl { .. } => "a URL such as https://etcd.example:2379".to_owned(),
        EtcdEndpointError::Credentials => {
            "a URL without a user name and password; give the user with --user".to_owned()
        }
        error => format!("another URL: {error}"),
    })
}

/// Parses the name of a fleet or of a host.
fn name<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| "a name of 1 to 64 letters, digits, '.', '_' and '-'".to_owned())
}

/// Parses the lifetime of an invite.
fn lifetime(word: &str) -> Result<Duration, String> {
    let wanted = || "a time span from 1m to 7d".to_owned();
    let span: SignedDuration = match word.strip_suffix('d').map(str::parse::<i64>) {
        Some(Ok(days)) => SignedDuration::from_hours(days.saturating_mul(24).clamp(0, 24 * 365)),
        _ => word.parse().map_err(|_| wanted())?,
    };
    let allowed = SignedDuration::from_mins(1)..=SignedDuration::from_hours(7 * 24);
    if allowed.contains(&span) { Ok(span.unsigned_abs()) } else { Err(wanted()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_lasts_from_a_minute_to_a_week() {
        let seconds = |word| lifetime(word).map(|span| span.as_secs()).ok();
        assert_eq!([seconds("1m"), seconds("1h"), seconds("7d")], [Some(60), Some(3600), Some(604_800)]);
        for word in ["", "0s", "59s", "8d", "-1h", "1", "d", "999999999999999999d"] {
            assert_eq!(seconds(word), None, "{word}");
        }
    }
}
