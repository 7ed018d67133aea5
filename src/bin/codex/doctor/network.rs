//! Findings about the authority: its addresses, the proxy and certificates, whether it responds, and its clock.

use codex_auth::authority::{EndpointError, ProbeResponse, ProxyRoute, Route, TrustRoots};
use codex_auth::diagnosis::{
    AuthorityAddress, ClockDifference, ClockReference, ClockSkew, Connection, NetworkDiagnosis,
    TOLERATED_SKEW,
};
use jiff::SignedDuration;

use super::finding::Finding;
use crate::output::span;

pub(super) fn findings(network: &NetworkDiagnosis) -> Vec<Finding> {
    let mut findings = vec![address("refreshed", &network.refresh), address("revoked", &network.revocation)];
    match (&network.refresh, &network.connection) {
        (Ok(refresh), Some(Ok(connection))) => {
            findings.extend(route(&connection.route));
            findings.push(reachable(refresh, connection));
            let nothing = || Finding::ok("clock", "no other clock to compare with");
            findings.push(network.clock.as_ref().map_or_else(nothing, clock));
        }
        (_, connection) => {
            let route = connection.as_ref().and_then(|connection| connection.as_ref().err());
            findings.extend(route.map(|error| Finding::problem("route", error.to_string())));
            findings.extend(network.clock.as_ref().map(clock));
        }
    }
    findings
}

fn address(participle: &str, address: &Result<AuthorityAddress, EndpointError>) -> Finding {
    match address {
        Ok(AuthorityAddress { endpoint, variable, .. }) => {
            let because = variable.map(|variable| format!(" ({variable})")).unwrap_or_default();
            Finding::ok("authority", format!("tokens are {participle} at {endpoint}{because}"))
        }
        Err(error) => {
            Finding::problem("authority", error.to_string()).remedy(match error.name.starts_with("CODEX_") {
                true => format!("unset {}", error.name),
                false => "codex login".to_owned(),
            })
        }
    }
}

fn route(route: &Route) -> Vec<Finding> {
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

fn reachable(refresh: &AuthorityAddress, connection: &Connection) -> Finding {
    let endpoint = &refresh.endpoint;
    match &connection.response {
        Ok(ProbeResponse { status, .. }) => {
            Finding::ok("reachable", format!("{endpoint} responds (HTTP {status} to an empty request)"))
        }
        // Not a problem yet: the current token is used until it expires.
        Err(error) => Finding::warning("reachable", error.to_string()),
    }
}

fn clock(difference: &ClockDifference) -> Finding {
    let (skew, ahead) = (difference.skew(), SignedDuration::from_secs(difference.ahead_secs));
    let other = match (difference.reference, skew) {
        (ClockReference::AccessToken, ClockSkew::Tolerated) => {
            return Finding::ok("clock", "agrees with the date of the access token");
        }
        (ClockReference::AccessToken, _) => "the clock that dated the access token",
        _ => "the authority's",
    };
    let direction = if ahead.is_positive() { "behind" } else { "ahead of" };
    let apart = format!("this machine's clock is {} {direction} {other}", span(ahead));
    let found = match skew {
        ClockSkew::Tolerated => {
            return Finding::ok("clock", format!("within {} s of {other}", TOLERATED_SKEW.as_secs()));
        }
        ClockSkew::Noticeable => {
            Finding::warning("clock", format!("{apart}, so tokens expire earlier or later than shown"))
        }
        _ => Finding::problem("clock", format!("{apart}, so tokens are refreshed too late or too often")),
    };
    found.remedy("set the clock of this machine, preferably by NTP")
}
