//! What reports about a login say of its fleet, without a request.

use codex_auth::document::AuthDocument;
use codex_auth::fleet::membership::Membership;
use codex_auth::keeper::RunningKeeper;
use codex_auth::keeper::member::FleetProblem;
use codex_auth::redaction::printable;
use codex_auth::{Home, Timestamp};
use serde_json::{Value, json};

use crate::output::relative;

/// The longest reason that is shown.
const LONGEST_REASON: usize = 400;

/// The fleet of a home.
#[derive(Debug)]
pub(crate) struct FleetBrief {
    membership: Membership,
    problem: Option<FleetProblem>,
}

impl FleetBrief {
    /// Returns the fleet of `home`, which holds `document`; `None` if it is in none. A membership that cannot be read is
    /// the message.
    pub(crate) fn of(home: &Home, document: Option<&AuthDocument>) -> Result<Option<Self>, String> {
        let mut membership = Membership::of(home).map_err(|error| error.to_string())?;
        if let Some(membership) = membership.as_mut().filter(|_| document.is_none()) {
            membership.standing = membership.standing.without_login();
        }
        // The note of a keeper that was killed says nothing of the present.
        let problem = || FleetProblem::of(home).filter(|_| RunningKeeper::of(home).is_some());
        Ok(membership.map(|membership| Self { membership, problem: problem() }))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.membership.fleet.as_str(),
            "member": self.membership.member.to_string(),
            "standing": self.membership.standing.as_str(),
            "problem": self.problem.as_ref().map(|problem| &problem.reason),
        })
    }

    /// Returns one line about it.
    pub(crate) fn line(&self, now: Timestamp) -> String {
        let Membership { fleet, member, standing, .. } = &self.membership;
        match (&self.problem, standing.is_served()) {
            (_, false) => format!("{fleet}: {}", standing.explanation()),
            (None, true) => format!("{fleet}, as {member}; its refresh token is with the fleet"),
            (Some(problem), true) => format!(
                "{fleet}, as {member}; not reached for {}: {}",
                relative(problem.since, now).trim_end_matches(" ago"),
                printable(&problem.reason, LONGEST_REASON)
            ),
        }
    }
}
