//! `codex fleet status`: shows the hosts, the refresher, the token and whether etcd can be reached.

use codex_auth::fleet::membership::{ListedMember, Membership, Standing};
use codex_auth::fleet::{MemberActivity, SharedRecord, SpendAttempt, SpendIntent};
use codex_auth::keeper::RunningKeeper;
use codex_auth::keeper::member::{self, FleetProblem, FleetReport, FleetView};
use codex_auth::redaction::printable;
use serde_json::{Value, json};

use super::commands;
use super::waiting::waiting;
use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome};
use crate::output::{Output, relative};

/// The longest reason that is shown.
const LONGEST_REASON: usize = 400;

pub(super) fn run(session: &CommandContext, output: &Output) -> CommandOutcome {
    let report_of = || member::fleet_report(session.home(), &session.environment);
    let FleetReport { membership, etcd, .. } = waiting(session, report_of)?;
    let keeper = RunningKeeper::of(session.home());
    let problem = FleetProblem::of(session.home()).filter(|_| keeper.is_some());
    let view = etcd.as_ref().ok();
    if output.is_json() {
        let reason = etcd.as_ref().err().map(ToString::to_string);
        output.report(report(&membership, view, reason.as_deref(), problem.as_ref()))?;
    } else {
        let now = session.clock.now();
        let mut fields = vec![("fleet", format!("{}, as '{}'", membership.fleet, membership.member))];
        let is_logged_out =
            |view: &FleetView| view.state.record.as_ref().is_some_and(SharedRecord::is_logged_out);
        let here = match membership.standing {
            Standing::Joining if view.is_some_and(is_logged_out) => {
                "gets the next login of the fleet, which is logged out".to_owned()
            }
            standing if standing.is_served() => standing.explanation().to_owned(),
            standing => format!("{}; to return: {}", standing.explanation(), commands::to_return(standing)),
        };
        fields.push(("this host", here));
        let endpoints: Vec<_> = membership.endpoints.iter().map(ToString::to_string).collect();
        let user = membership.user.as_ref().map(|user| format!(", as the user '{user}'")).unwrap_or_default();
        let reached = match &etcd {
            Ok(_) => "reachable".to_owned(),
            Err(error) => format!("not usable: {}", printable(&error.to_string(), LONGEST_REASON)),
        };
        fields.push(("etcd", format!("{}{user} ({reached})", endpoints.join(", "))));
        if let Some(view) = view {
            fields.extend(of_view(view, &membership));
        }
        fields.push((
            "keeper",
            match keeper {
                Some(_) => "runs on this host".to_owned(),
                None => "does not run on this host; commands take part themselves".to_owned(),
            },
        ));
        if let Some(problem) = &problem {
            let since = relative(problem.since, now);
            fields.push(("problem", format!("{} ({since})", printable(&problem.reason, LONGEST_REASON))));
        }
        output.fields(&fields)?;
        if let Some(view) = view {
            for member in &view.members {
                output.data(&format!("  {}", line_of(member, view, &membership)))?;
            }
        }
    }
    match etcd {
        Ok(_) => Ok(()),
        Err(error) => {
            let failed = CommandError::from(error);
            if !output.is_json() {
                failed.hints().iter().for_each(|hint| output.hint(hint));
            }
            Err(CommandError::reported(failed.kind()))
        }
    }
}

fn of_view(view: &FleetView, membership: &Membership) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let refresher = view.state.leader.as_ref();
    fields.push(("refresher", refresher.map_or_else(|| "none now".to_owned(), ToString::to_string)));
    let Some(record) = &view.state.record else {
        fields.push(("login", "none yet".to_owned()));
        return fields;
    };
    let login = match (record.is_logged_out(), record.poison()) {
        (true, _) => "logged out; to log in again: codex login".to_owned(),
        (_, Some(_)) => "does not work any more; to log in again: codex login".to_owned(),
        _ => record.document().claims().email.clone().unwrap_or_else(|| "works".to_owned()),
    };
    fields.push(("login", printable(&login, LONGEST_REASON)));
    fields.push(("token", format!("number {}", record.order().generation)));
    fields.push(("key", format!("number {}; this host has {}", record.order().epoch, membership.epoch)));
    if view.state.activity == MemberActivity::AwaitingOthers {
        let waits = "etcd was restored from a backup; a refresh waits about 20 seconds for the other hosts";
        fields.push(("restore", waits.to_owned()));
    }
    if let Some(intent) = record.intent() {
        let SpendIntent { member, .. } = intent;
        fields.push(("intent", format!("{member} is refreshing ({})", attempt(intent))));
    }
    fields
}

fn line_of(member: &ListedMember, view: &FleetView, membership: &Membership) -> String {
    let mut text = member.name.to_string();
    match (&member.entry, lag(member, view)) {
        (None, _) => text.push_str(": its entry is damaged"),
        (Some(entry), _) if is_without_key(entry.epoch, view) => text.push_str(": needs a new invite"),
        (Some(_), Some(0) | None) => {}
        (Some(_), Some(1)) => text.push_str(": 1 token behind"),
        (Some(_), Some(lag)) => text.push_str(&format!(": {lag} tokens behind")),
    }
    if member.name == membership.member {
        text.push_str(" (this host)");
    }
    text
}

/// How many tokens the record is ahead of what a member has reported.
fn lag(member: &ListedMember, view: &FleetView) -> Option<u64> {
    let record = view.state.record.as_ref()?;
    Some(record.order().generation.saturating_sub(member.entry.as_ref()?.generation))
}

fn is_without_key(epoch: u64, view: &FleetView) -> bool {
    view.state.record.as_ref().is_some_and(|record| record.order().epoch > epoch)
}

fn attempt(intent: &SpendIntent) -> &'static str {
    match intent.attempt {
        SpendAttempt::First => "first attempt",
        SpendAttempt::Refused => "refused; another host must confirm that",
        SpendAttempt::Second { .. } => "second attempt",
    }
}

fn report(
    membership: &Membership,
    view: Option<&FleetView>,
    reason: Option<&str>,
    problem: Option<&FleetProblem>,
) -> Value {
    let record = view.and_then(|view| view.state.record.as_ref());
    let own = view.and_then(|view| view.members.iter().find(|member| member.name == membership.member));
    let lag_of = |member: &ListedMember| view.and_then(|view| lag(member, view));
    let members = view.map(|view| view.members.as_slice()).unwrap_or_default().iter().map(|member| {
        json!({
            "name": member.name.to_string(),
            "joined": member.entry.as_ref().map(|entry| entry.joined.to_string()),
            "generation": member.entry.as_ref().map(|entry| entry.generation),
            "epoch": member.entry.as_ref().map(|entry| entry.epoch),
            "lag": lag_of(member),
        })
    });
    json!({
        "fleet": membership.fleet.as_str(),
        "member": membership.member.to_string(),
        "standing": membership.standing.as_str(),
        "etcd": {
            "endpoints": membership.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "user": membership.user,
            "reachable": view.is_some(),
            "reason": reason,
        },
        "refresher": view.and_then(|view| view.state.leader.as_ref()).map(ToString::to_string),
        "generation": record.map(|record| record.order().generation),
        "epoch": record.map(|record| record.order().epoch),
        "key_epoch": membership.epoch,
        "lag": own.and_then(lag_of),
        "logged_out": record.map(SharedRecord::is_logged_out),
        "usable": record.map(|record| record.poison().is_none() && !record.is_logged_out()),
        "intent": record.and_then(SharedRecord::intent).map(|intent| json!({
            "member": intent.member.to_string(),
            "attempt": attempt(intent),
        })),
        "members": members.collect::<Vec<_>>(),
        "problem": problem.map(|problem| json!({
            "since": problem.since.to_string(),
            "reason": problem.reason,
        })),
        "warnings": [],
    })
}
