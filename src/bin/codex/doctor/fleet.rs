//! Findings about the fleet of a login.

use codex_auth::keeper::member::{self, FleetError};

use super::examination::Examination;
use super::finding::Finding;
use crate::fleet::FleetBrief;

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    match FleetBrief::of(&subject.home) {
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
        return Finding::warning("fleet", line).remedy("codex logout, then codex fleet resume");
    }
    match report.etcd {
        Ok(_) => Finding::ok("fleet", format!("{line}; etcd responds")),
        Err(error @ FleetError::Membership(_)) => Finding::failed("fleet", error),
        Err(error) => Finding::failed("fleet", error).or_remedy("codex fleet status"),
    }
}
