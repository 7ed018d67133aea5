//! Findings about the fleet of a login.

use codex_auth::keeper::member::{self, FleetError, FleetView};

use super::examination::Examination;
use super::finding::Finding;
use crate::fleet::{FleetBrief, to_return};

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    let status = subject.diagnosis.login.as_ref().ok().and_then(|login| login.status.as_ref().ok());
    let document = status.and_then(|status| status.snapshot().document());
    match FleetBrief::of(&subject.home, document) {
        Ok(None) => Vec::new(),
        Err(problem) => {
            vec![Finding::problem("fleet", problem).remedy("codex fleet leave, then codex fleet join")]
        }
        Ok(Some(brief)) => vec![check(subject, &brief)],
    }
}

/// Reads the record from etcd, which spends and changes nothing.
fn check(subject: &Examination, brief: &FleetBrief) -> Finding {
    let line = brief.line(subject.clock.now());
    let report = match member::fleet_report(&subject.home, &subject.environment) {
        Ok(report) => report,
        Err(error) => return Finding::failed("fleet", error),
    };
    if !report.membership.standing.is_served() {
        return Finding::warning("fleet", line).remedy(to_return(report.membership.standing));
    }
    let is_dead =
        |view: &FleetView| view.state.record.as_ref().is_some_and(|record| record.poison().is_some());
    match report.etcd {
        Ok(view) if is_dead(&view) => {
            Finding::problem("fleet", "the login of the fleet does not work any more").remedy("codex login")
        }
        Ok(_) => Finding::ok("fleet", format!("{line}; etcd responds")),
        Err(error @ FleetError::Membership(_)) => Finding::failed("fleet", error),
        Err(error) => Finding::failed("fleet", error).or_remedy("codex fleet status"),
    }
}
