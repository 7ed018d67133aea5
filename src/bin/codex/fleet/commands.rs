//! The commands that change which hosts share the login of a fleet.

use codex_auth::fleet::membership::{Invite, Membership, MembershipError, Standing};
use codex_auth::keeper::RunningKeeper;
use codex_auth::keeper::member::{self, JoinOutcome, NewFleet};
use serde_json::json;

use super::waiting::waiting;
use super::{InitArguments, InviteArguments, JoinArguments};
use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome};
use crate::output::{Output, span};
use crate::piped;

/// How a password and an invite are handed in.
const PIPE_A_PASSWORD: &str = "codex fleet init --etcd URL --user NAME < FILE, with the password in the file";
const PIPE_AN_INVITE: &str = "codex fleet join < FILE, with the invite in the file, and the password of the etcd user in the next line";

pub(super) fn init(arguments: &InitArguments, session: &CommandContext, output: &Output) -> CommandOutcome {
    let password =
        |name: &String| Ok::<_, CommandError>((name.clone(), piped::secret("password", PIPE_A_PASSWORD)?));
    let fleet = NewFleet {
        fleet: arguments.name.clone(),
        member: arguments.member.clone(),
        endpoints: arguments.etcd.clone(),
        ca: arguments.ca.clone(),
        user: arguments.user.as_ref().map(password).transpose()?,
    };
    let membership = waiting(session, || member::found(&session.stores, &session.environment, fleet))?;
    if report(&membership, output)? {
        return Ok(());
    }
    output.inform(&format!(
        "founded the fleet '{}', with this host as '{}'",
        membership.fleet, membership.member
    ));
    output.inform("to add a host: codex fleet invite, and there: codex fleet join");
    tell_without_keeper(session, output);
    Ok(())
}

pub(super) fn invite(
    arguments: &InviteArguments,
    session: &CommandContext,
    output: &Output,
) -> CommandOutcome {
    let invite = waiting(session, || member::invite(session.home(), &session.environment, arguments.ttl))?;
    let line = invite.to_line();
    if output.is_json() {
        output.report(json!({
            "fleet": invite.fleet().as_str(),
            "invite": line.expose(),
            "seconds": arguments.ttl.as_secs(),
            "user": invite.user(),
            "warnings": [],
        }))?;
        return Ok(());
    }
    output.data(line.expose())?;
    let ttl = jiff::SignedDuration::try_from(arguments.ttl).unwrap_or_default();
    output.inform(&format!("for one host, within {}; keep it secret until it was used", span(ttl)));
    if let Some(user) = invite.user() {
        output
            .inform(&format!("the host also needs the password of the etcd user '{user}', in the next line"));
    }
    Ok(())
}

pub(super) fn join(arguments: &JoinArguments, session: &CommandContext, output: &Output) -> CommandOutcome {
    let (line, password) = piped::two_secrets("invite", PIPE_AN_INVITE)?;
    let invite =
        Invite::parse(&line).map_err(|error| member::FleetError::from(MembershipError::from(error)))?;
    let member = arguments.member.clone();
    let password = password?;
    let (membership, outcome) =
        waiting(session, || member::join(&session.stores, &session.environment, &invite, password, member))?;
    if report(&membership, output)? {
        return Ok(());
    }
    let (fleet, member) = (&membership.fleet, &membership.member);
    output.inform(&match outcome {
        JoinOutcome::New => format!("joined the fleet '{fleet}' as '{member}'"),
        JoinOutcome::LoginReplaced => format!(
            "joined the fleet '{fleet}' as '{member}'; the login of this host is that of the fleet now, and the one that \
             it replaced was revoked"
        ),
        JoinOutcome::KeyReplaced => format!("'{member}' has the new key of the fleet '{fleet}'"),
    });
    tell_without_keeper(session, output);
    Ok(())
}

pub(super) fn rekey(session: &CommandContext, output: &Output) -> CommandOutcome {
    let epoch = waiting(session, || member::rekey(session.home(), &session.environment))?;
    if output.is_json() {
        output.report(json!({"epoch": epoch, "warnings": []}))?;
        return Ok(());
    }
    output.inform(&format!(
        "the login of the fleet is sealed with key number {epoch}, which only this host has"
    ));
    output.inform("for each other host that is to stay: codex fleet invite, and there: codex fleet join");
    output.warn(
        "a host that was lost knew the refresh token, and can still end the login: to be sure, change the password of the \
         etcd user and log in again: codex login",
    );
    Ok(())
}

pub(super) fn leave(session: &CommandContext, output: &Output) -> CommandOutcome {
    let left = waiting(session, || member::leave(session.home(), &session.environment))?;
    let listed = left.not_withdrawn.map(|why| {
        let member = &left.membership.member;
        format!("the fleet still lists '{member}', which has no key any more: {why}")
    });
    if output.is_json() {
        output.report(json!({
            "fleet": left.membership.fleet.as_str(),
            "warnings": listed.iter().collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    output
        .inform(&format!("left the fleet '{}'; its login was removed from this host", left.membership.fleet));
    output.inform("for a login of its own: codex login");
    if let Some(warning) = &listed {
        output.warn(warning);
        let Membership { fleet, member, .. } = &left.membership;
        output.hint(&format!("to free the name: etcdctl del /codex-auth/{fleet}/members/{member}"));
    }
    Ok(())
}

pub(super) fn resume(session: &CommandContext, output: &Output) -> CommandOutcome {
    let membership = waiting(session, || member::resume(&session.stores, &session.environment))?;
    if !report(&membership, output)? {
        output.inform(&format!("this host has the login of the fleet '{}' again", membership.fleet));
    }
    Ok(())
}

/// Says that the fleet does not serve the home any more, and how to return.
pub(super) fn tell_set_aside(membership: &Membership, output: &Output) {
    output.warn(membership.standing.explanation());
    output.hint(&format!("to return to the fleet: {}", to_return(membership.standing)));
}

/// Returns the commands that return to the fleet.
pub(crate) fn to_return(standing: Standing) -> &'static str {
    match standing {
        Standing::Detached => "codex logout, then codex fleet resume",
        _ => "codex fleet resume",
    }
}

/// Reports a membership as JSON, if that is asked for.
fn report(membership: &Membership, output: &Output) -> Result<bool, CommandError> {
    if output.is_json() {
        output.report(json!({
            "fleet": membership.fleet.as_str(),
            "member": membership.member.to_string(),
            "epoch": membership.epoch,
            "warnings": [],
        }))?;
    }
    Ok(output.is_json())
}

/// Says how the login is replaced on a host where no keeper runs.
fn tell_without_keeper(session: &CommandContext, output: &Output) {
    if RunningKeeper::of(session.home()).is_none() {
        output.inform("to keep it fresh on this host too: codex sync install --now");
    }
}
