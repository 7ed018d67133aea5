//! Examines the way to the authority, and the clock of this machine.

use std::time::Duration;

use jiff::Timestamp;

use crate::authority::{Authority, Endpoint, EndpointError, HttpClientError, ProbeResponse, Route};
use crate::clock::Clock;
use crate::config::{Environment, NetworkSetting};
use crate::document::AuthDocument;
use crate::manager::{self, block_on};

/// How long the authority may take to respond to an empty request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// A difference of clocks that has no effect.
pub const TOLERATED_SKEW: Duration = Duration::from_secs(30);
/// The difference of clocks from which tokens are refreshed too late or too often.
const HARMFUL_SKEW: Duration = Duration::from_secs(300);

/// The condition of the way to the authority, and of the clock.
#[derive(Debug)]
#[non_exhaustive]
pub struct NetworkDiagnosis {
    /// Where tokens are refreshed.
    pub refresh: Result<AuthorityAddress, EndpointError>,
    /// Where tokens are revoked.
    pub revocation: Result<AuthorityAddress, EndpointError>,
    /// How the authority is reached; `None` without its address.
    pub connection: Option<Result<Connection, HttpClientError>>,
    /// How the clock of this machine differs from the authority's, or from that of the access token if the authority
    /// sent no time; `None` if there is nothing to compare with.
    pub clock: Option<ClockDifference>,
}

/// An address of the authority.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthorityAddress {
    /// The address.
    pub endpoint: Endpoint,
    /// The environment variable that sets it.
    pub variable: Option<&'static str>,
}

/// How the authority is reached.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection {
    /// The proxy and the trusted certificates.
    pub route: Route,
    /// The response to an empty request.
    pub response: Result<ProbeResponse, manager::Error>,
}

/// How the clock of this machine differs from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockDifference {
    /// The other clock.
    pub reference: ClockReference,
    /// By how many seconds the other clock is ahead; negative if it is behind.
    pub ahead_secs: i64,
}

/// A clock that this machine's clock is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockReference {
    /// The authority's, as it is now.
    Authority,
    /// The authority's when it issued the access token. It only shows that a clock is behind.
    AccessToken,
}

/// The effect of a difference of clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockSkew {
    /// None; the difference is at most [`TOLERATED_SKEW`].
    Tolerated,
    /// Tokens expire earlier or later than shown.
    Noticeable,
    /// Tokens are refreshed too late or too often.
    Harmful,
}

impl ClockDifference {
    fn new(reference: ClockReference, theirs: Timestamp, ours: Timestamp) -> Self {
        Self { reference, ahead_secs: theirs.duration_since(ours).as_secs() }
    }

    /// Returns its effect.
    #[must_use]
    pub fn skew(&self) -> ClockSkew {
        match Duration::from_secs(self.ahead_secs.unsigned_abs()) {
            apart if apart <= TOLERATED_SKEW => ClockSkew::Tolerated,
            apart if apart < HARMFUL_SKEW => ClockSkew::Noticeable,
            _ => ClockSkew::Harmful,
        }
    }
}

impl NetworkDiagnosis {
    pub(super) fn of(environment: &Environment, document: Option<&AuthDocument>, clock: &Clock) -> Self {
        let tokens = document.and_then(AuthDocument::tokens);
        let provenance = tokens.map(|tokens| tokens.provenance.clone()).unwrap_or_default();
        let network = &environment.network;
        let address = |endpoint, setting: Option<&NetworkSetting>| AuthorityAddress {
            endpoint,
            variable: setting.map(|setting| setting.variable),
        };
        let refresh = Endpoint::refresh(environment, &provenance)
            .map(|endpoint| address(endpoint, network.refresh_url.as_ref()));
        let revocation = Endpoint::revoke(environment, &provenance)
            .map(|endpoint| address(endpoint, network.revoke_url.as_ref().or(network.refresh_url.as_ref())));
        let authority = Authority::new(environment);
        let connection = refresh.as_ref().ok().map(|refresh| {
            let route = authority.route(&refresh.endpoint)?;
            let response = block_on(authority.probe(&refresh.endpoint, PROBE_TIMEOUT));
            let response = response.and_then(|response| Ok(response?));
            Ok(Connection { route, response })
        });
        let now = clock.now();
        let date =
            connection.as_ref().and_then(|connection| connection.as_ref().ok()?.response.as_ref().ok()?.date);
        let issued = || {
            let issued = document?.access_claims().issued_at?;
            // It is in the past unless this clock is behind.
            let theirs = issued.max(now);
            Some(ClockDifference::new(ClockReference::AccessToken, theirs, now))
        };
        let clock =
            date.map(|date| ClockDifference::new(ClockReference::Authority, date, now)).or_else(issued);
        Self { refresh, revocation, connection, clock }
    }
}
