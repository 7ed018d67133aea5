//! The authority: which addresses count and why, the way there, whether it answers, and what time it is there.

use std::time::Duration;

use codex_auth::authority::{self, Authority, Endpoint, ProbeResponse, ProxyRoute, Route, TrustRoots};
use codex_auth::config::NetworkSetting;
use codex_auth::document::Provenance;
use codex_auth::{AuthDocument, Timestamp};
use jiff::SignedDuration;

use super::Examination;
use super::finding::Finding;
use crate::output::span;

/// How long the authority may take to answer an empty request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks differ by so much without anybody noticing.
const UNNOTICED: SignedDuration = SignedDuration::from_secs(30);
/// From here on tokens are refreshed too late, or again and again.
const HARMFUL: SignedDuration = SignedDuration::from_mins(5);

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
            findings.insert(0, refused("authority", &error));
            findings.extend(issued(subject, document.as_ref()));
            return findings;
        }
    };
    findings.insert(0, address("refreshed", &endpoint, subject.environment.network.refresh_url.as_ref()));
    let authority = Authority::new(&subject.environment);
    match authority.route(&endpoint) {
        Ok(route) => {
            findings.extend(told(&route));
            let (answer, date) = answer(subject, &authority, &endpoint);
            findings.push(answer);
            findings.push(
                date.or_else(|| issued(subject, document.as_ref()))
                    .unwrap_or_else(|| Finding::ok("clock", "nothing to compare it with")),
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
        Err(error) => refused("authority", &error),
    }
}

fn address(done: &str, endpoint: &Endpoint, setting: Option<&NetworkSetting>) -> Finding {
    let because = setting.map(|setting| format!(" ({})", setting.variable)).unwrap_or_default();
    Finding::ok("authority", format!("tokens are {done} at {endpoint}{because}"))
}

fn refused(check: &'static str, error: &authority::EndpointError) -> Finding {
    let finding = Finding::problem(check, error.to_string());
    finding.remedy(match error.name.starts_with("CODEX_") {
        true => format!("unset {}", error.name),
        false => "codex login".to_owned(),
    })
}

fn told(route: &Route) -> Vec<Finding> {
    let passage = match &route.passage {
        ProxyRoute::Proxy { variable, address, exceptions } => {
            let except =
                exceptions.map(|name| format!(", except for the hosts in {name}")).unwrap_or_default();
            format!("by the proxy {address} ({variable}){except}")
        }
        _ => "no proxy".to_owned(),
    };
    let trust = match &route.trust {
        TrustRoots::Added { variable, path } => {
            format!("those of the system, and those in {} ({variable})", path.display())
        }
        TrustRoots::Nobody => "not needed: the authority is on this machine".to_owned(),
        _ => "those of the system".to_owned(),
    };
    vec![Finding::ok("route", passage), Finding::ok("certificates", trust)]
}

/// Whether the authority answers, and what its clock says of ours.
fn answer(subject: &Examination, authority: &Authority, endpoint: &Endpoint) -> (Finding, Option<Finding>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return (Finding::problem("reachable", format!("no request can be made: {error}")), None);
        }
    };
    let reached = runtime.block_on(authority.reach(endpoint, PATIENCE));
    // A name that is still being looked up is nobody's business any more.
    runtime.shutdown_background();
    match reached {
        Ok(ProbeResponse { status, date, .. }) => (
            Finding::ok("reachable", format!("{endpoint} answers (HTTP {status} to an empty request)")),
            date.map(|date| clock(date.duration_since(subject.clock.now()), "the authority's")),
        ),
        Err(error) => (
            // Not a problem yet: a token is used for as long as it lives.
            Finding::warning("reachable", error.to_string()),
            None,
        ),
    }
}

/// What the access token says of our clock: it cannot have been made in the future.
fn issued(subject: &Examination, document: Option<&AuthDocument>) -> Option<Finding> {
    let issued: Timestamp = document?.access_claims().issued_at?;
    let ahead = issued.duration_since(subject.clock.now());
    Some(if ahead > UNNOTICED {
        clock(ahead, "the one that dated the access token")
    } else {
        Finding::ok("clock", "agrees with the date of the access token")
    })
}

/// What it means that another clock is ahead of ours by `ahead`.
fn clock(ahead: SignedDuration, other: &str) -> Finding {
    let apart = ahead.abs();
    if apart <= UNNOTICED {
        return Finding::ok("clock", format!("within {} s of {other}", UNNOTICED.as_secs()));
    }
    let direction = if ahead.is_positive() { "behind" } else { "ahead of" };
    let told = format!("this machine's clock is {} {direction} {other}", span(apart));
    let found = if apart < HARMFUL {
        Finding::warning("clock", format!("{told}; tokens seem to end at another time than they do"))
    } else {
        Finding::problem("clock", format!("{told}, so tokens are refreshed too late or for nothing"))
    };
    found.remedy("set the clock of this machine, best by NTP")
}
