//! The way to an authority as far as it can be told with no token in hand: proxy, certificates, and whether it answers.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::DATE;

use super::endpoint::Endpoint;
use super::error::{Error, HttpClientError, RequestFailure, Transport};
use super::refusal::date;
use super::{Authority, client};

/// How requests to an endpoint travel. `Display` of its parts holds no secret: of a proxy only host and port are told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// By way of whom.
    pub passage: ProxyRoute,
    /// Whose certificates are trusted.
    pub trust: TrustRoots,
}

/// By way of whom requests travel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyRoute {
    /// Nobody's.
    Direct,
    /// A proxy's.
    Proxy {
        /// The variable that names it.
        variable: &'static str,
        /// Its host and port.
        address: String,
        /// The variable that excepts some hosts, if one does.
        exceptions: Option<&'static str>,
    },
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustRoots {
    /// Those of the system, and those of a file besides.
    Added {
        /// The variable that names the file.
        variable: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Nobody's: what goes to this very machine is not encrypted.
    Nobody,
    /// Those of the system.
    System,
}

/// The answer of an authority to a request with nothing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeResponse {
    /// The HTTP status; any of them shows that the authority can be reached.
    pub status: u16,
    /// What time it is there.
    pub date: Option<Timestamp>,
}

impl Authority {
    /// How requests to `endpoint` travel. Nothing is sent.
    ///
    /// # Errors
    /// [`HttpClientError`]: the proxy or the certificates that the user has set cannot be used, so nothing could be sent.
    pub fn route(&self, endpoint: &Endpoint) -> Result<Route, HttpClientError> {
        self.client(endpoint)?;
        if endpoint.is_plain() {
            return Ok(Route { passage: ProxyRoute::Direct, trust: TrustRoots::Nobody });
        }
        let network = &self.0.network;
        let trust = network.ca_bundle().map_or(TrustRoots::System, |setting| TrustRoots::Added {
            variable: setting.variable,
            path: setting.value.clone().into(),
        });
        let passage = match client::chosen_proxy(network).filter(|_| !endpoint.is_loopback()) {
            None => ProxyRoute::Direct,
            Some(setting) => {
                let url = client::proxy_url(setting)?;
                let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
                ProxyRoute::Proxy {
                    variable: setting.variable,
                    address: format!("{}{port}", url.host_str().unwrap_or_default()),
                    exceptions: network.no_proxy.as_ref().map(|setting| setting.variable),
                }
            }
        };
        Ok(Route { passage, trust })
    }

    /// Asks whether `endpoint` answers at all, within `within`, by a request without a token or a body.
    ///
    /// # Errors
    /// - [`Error::Client`]: nothing could be sent.
    /// - [`Error::Transient`]: there was no connection, or no answer.
    pub async fn reach(&self, endpoint: &Endpoint, within: Duration) -> Result<ProbeResponse, Error> {
        let request = self.client(endpoint)?.head(endpoint.url().clone()).timeout(within);
        let response = request.send().await.map_err(|error| {
            let error = Transport::new(error);
            let cause =
                if error.is_tls() { RequestFailure::Tls(error) } else { RequestFailure::Connection(error) };
            Error::Transient { endpoint: endpoint.clone(), cause, retry_after: None }
        })?;
        let told = response.headers().get(DATE).and_then(|value| value.to_str().ok()).and_then(date);
        Ok(ProbeResponse { status: response.status().as_u16(), date: told })
    }
}
