//! The checks of the authority: its addresses, the proxy and certificates, whether it responds, and its clock.

use std::time::Duration;

use codex_auth::authority::{self, Authority, Endpoint, ProbeResponse, ProxyRoute, Route, TrustRoots};
use codex_auth::config::NetworkSetting;
use codex_auth::document::Provenance;
use codex_auth::{AuthDocument, Timestamp};
use jiff::SignedDuration;

use super::examination::Examination;
use super::finding::Finding;
use crate::output::span;

/// How long the authority may take to respond to an empty request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// A difference of clocks that has no effect.
const TOLERATED_SKEW: SignedDuration = SignedDuration::from_secs(30);
/// The difference of clocks from which tokens are refreshed too late or too often.
const HARMFUL_SKEW: SignedDuration = SignedDuration::from_mins(5);

pub(super) fn findings(subject: &Examination) -> Vec<Finding> {
    let found = subject.stores.as_ref().ok().and_then(|stores| stores.find().ok());
    let document = found.and_then(|found| found.stored).map(|stored| stored.document);
    let provenance = document
        .as_ref()
        .and_then(AuthDocument::tokens)
        .map(|tokens| tokens.provenance.clone())
        .unwrap_or_default();
    let mut findings = vec![revocation(subject, &provenance)];
    let endpoint = match Endpoint::refresh(&subject.environment, &provenance) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            findings.insert(0, endpoint_problem("authority", &error));
            findings.extend(issued(subject, document.as_ref()));
            return findings;
        }
    };
    findings.insert(0, address("refreshed", &endpoint, subject.environment.network.refresh_url.as_ref()));
    let authority = Authority::new(&subject.environment);
    match authority.route(&endpoint) {
        Ok(route) => {
            findings.extend(route_findings(&route));
            let (reachable, date) = probe(subject, &authority, &endpoint);
            findings.push(reachable);
            findings.push(
                date.or_else(|| issued(subject, document.as_ref()))
                    .unwrap_or_else(|| Finding::ok("clock", "no other clock to compare with")),
            );
        }
        Err(error) => {
            findings.push(Finding::problem("route", error.to_string()));
            findings.extend(issued(subject, document.as_ref()));
        }
    }
    findings
}

fn revocation(subject: &Examination, provenance: &Provenance) -> Finding {
    let network = &subject.environment.network;
    match Endpoint::revoke(&subject.environment, provenance) {
        Ok(endpoint) => {
            address("revoked", &endpoint, network.revoke_url.as_ref().or(network.refresh_url.as_ref()))
        }
        Err(error) => endpoint_problem("authority", &error),
    }
}

fn address(participle: &str, endpoint: &Endpoint, setting: Option<&NetworkSetting>) -> Finding {
    let because = setting.map(|setting| format!(" ({})", setting.variable)).unwrap_or_default();
    Finding::ok("authority", format!("tokens are {participle} at {endpoint}{because}"))
}

fn endpoint_problem(check: &'static str, error: &authority::EndpointError) -> Finding {
    let finding = Finding::problem(check, error.to_string());
    finding.remedy(match error.name.starts_with("CODEX_") {
        true => format!("unset {}", error.name),
        false => "codex login".to_owned(),
    })
}

fn route_findings(route: &Route) -> Vec<Finding> {
    let passage = match &route.proxy {
        ProxyRoute::Proxy { variable, address, exceptions } => {
            let except =
                exceptions.map(|name| format!(", except for the hosts in {name}")).unwrap_or_default();
            format!("through the proxy {address} ({variable}){except}")
        }
        _ => "no proxy".to_owned(),
    };
    let trust = match &route.trust {
        TrustRoots::SystemAndFile { variable, path } => {
            format!("the system's, and those in {} ({variable})", path.display())
        }
        TrustRoots::None => "not needed: the authority runs on this machine".to_owned(),
        _ => "the system's".to_owned(),
    };
    vec![Finding::ok("route", passage), Finding::ok("certificates", trust)]
}

/// Checks whether the authority responds, and compares its clock.
fn probe(subject: &Examination, authority: &Authority, endpoint: &Endpoint) -> (Finding, Option<Finding>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return (Finding::problem("reachable", format!("cannot start an HTTP client: {error}")), None);
        }
    };
    let reached = runtime.block_on(authority.probe(endpoint, PROBE_TIMEOUT));
    // Does not wait for a name lookup that is still running.
    runtime.shutdown_background();
    match reached {
        Ok(ProbeResponse { status, date, .. }) => (
            Finding::ok("reachable", format!("{endpoint} responds (HTTP {status} to an empty request)")),
            date.map(|date| clock(date.duration_since(subject.clock.now()), "the authority's")),
        ),
        Err(error) => (
            // Not a problem yet: the current token is used until it expires.
            Finding::warning("reachable", error.to_string()),
            None,
        ),
    }
}

/// Compares the clock with the issue date of the access token, which cannot be in the future.
fn issued(subject: &Examination, document: Option<&AuthDocument>) -> Option<Finding> {
    let issued: Timestamp = document?.access_claims().issued_at?;
    let ahead = issued.duration_since(subject.clock.now());
    Some(if ahead > TOLERATED_SKEW {
        clock(ahead, "the clock that dated the access token")
    } else {
        Finding::ok("clock", "agrees with the date of the access token")
    })
}

/// A finding for another clock that is ahead of this machine's by `ahead`.
fn clock(ahead: SignedDuration, other: &str) -> Finding {
    let apart = ahead.abs();
    if apart <= TOLERATED_SKEW {
        return Finding::ok("clock", format!("within {} s of {other}", TOLERATED_SKEW.as_secs()));
    }
    let direction = if ahead.is_positive() { "behind" } else { "ahead of" };
    let skew = format!("this machine's clock is {} {direction} {other}", span(apart));
    let found = if apart < HARMFUL_SKEW {
        Finding::warning("clock", format!("{skew}, so tokens expire earlier or later than shown"))
    } else {
        Finding::problem("clock", format!("{skew}, so tokens are refreshed too late or too often"))
    };
    found.remedy("set the clock of this machine, preferably by NTP")
}
