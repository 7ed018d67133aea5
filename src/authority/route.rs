//! How requests reach the authority: proxy, trusted certificates, and a probe without a token.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use http::header::DATE;
use jiff::Timestamp;

use super::Authority;
use super::endpoint::Endpoint;
use super::error::{Error, HttpClientError, RequestFailure, Transport};
use super::proxy;
use super::refusal::parse_http_date;
use super::wire::{ExchangeError, HttpRequest};

/// How requests reach an endpoint. It holds no secret: of a proxy only host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The proxy.
    pub proxy: ProxyRoute,
    /// The trusted certificates.
    pub trust: TrustRoots,
}

/// The proxy that requests use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyRoute {
    /// No proxy.
    Direct,
    /// A proxy.
    Proxy {
        /// The environment variable that names it.
        variable: &'static str,
        /// Its host and port.
        address: String,
        /// The environment variable that excludes some hosts, if it is set.
        exceptions: Option<&'static str>,
    },
}

/// The certificates that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustRoots {
    /// Those of the system and of a file.
    SystemAndFile {
        /// The environment variable that names the file.
        variable: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// None: requests to this machine over `http` are not encrypted.
    None,
    /// Those of the system.
    System,
}

/// The response to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeResponse {
    /// The HTTP status; any status shows that the authority can be reached.
    pub status: u16,
    /// The server's clock.
    pub date: Option<Timestamp>,
}

impl Authority {
    /// Returns how requests reach `endpoint`. Nothing is sent.
    ///
    /// # Errors
    /// [`HttpClientError`]: the configured proxy or certificates cannot be used.
    pub fn route(&self, endpoint: &Endpoint) -> Result<Route, HttpClientError> {
        self.client(endpoint)?;
        if endpoint.is_plain() {
            return Ok(Route { proxy: ProxyRoute::Direct, trust: TrustRoots::None });
        }
        let network = &self.0.network;
        let trust = network.ca_bundle().map_or(TrustRoots::System, |setting| TrustRoots::SystemAndFile {
            variable: setting.variable,
            path: setting.value.clone().into(),
        });
        let passage = match proxy::chosen_proxy(network).filter(|_| !endpoint.is_loopback()) {
            None => ProxyRoute::Direct,
            Some(setting) => {
                let address = proxy::proxy_address(setting)?;
                ProxyRoute::Proxy {
                    variable: setting.variable,
                    address: proxy::host_and_port(&address),
                    exceptions: network.no_proxy.as_ref().map(|setting| setting.variable),
                }
            }
        };
        Ok(Route { proxy: passage, trust })
    }

    /// Sends a HEAD request without a token to `endpoint`, with the time limit `timeout`.
    ///
    /// # Errors
    /// - [`Error::Client`]: nothing was sent.
    /// - [`Error::Transient`]: there was no connection or no response.
    pub async fn probe(&self, endpoint: &Endpoint, timeout: Duration) -> Result<ProbeResponse, Error> {
        let request = HttpRequest::without_body(Method::HEAD, endpoint.address().clone());
        let response =
            self.client(endpoint)?.exchange(request, timeout).await.map_err(|error| match error {
                ExchangeError::NotSent(error) => Error::from(error),
                ExchangeError::NotConnected(cause) => {
                    let cause = self.with_proxy(endpoint, cause);
                    Error::Transient { endpoint: endpoint.clone(), cause, retry_after: None }
                }
                ExchangeError::NoResponse(cause) => {
                    let cause =
                        self.with_proxy(endpoint, RequestFailure::Connection(Transport::of_probe(cause)));
                    Error::Transient { endpoint: endpoint.clone(), cause, retry_after: None }
                }
            })?;
        let date = response.headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(parse_http_date);
        Ok(ProbeResponse { status: response.status(), date })
    }
}
