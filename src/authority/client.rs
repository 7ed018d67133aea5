//! The HTTP client: TLS, proxies, and the options that single-use tokens need (feature `http`).

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_auth_platform::private_file::{self, Links};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{ClientBuilder, NoProxy, Proxy, Response, redirect, retry};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::Verifier;
use zeroize::Zeroizing;

use super::endpoint::LOCALHOST;
use super::error::{CaProblem, HttpClientError, MissingResponse, RequestFailure, TlsError, Transport};
use super::proxy::{chosen_proxy, proxy_address};
use super::ticks::elapsed;
use super::token::InvalidTokenResponse;
use super::wire::{ConnectLimit, Exchange, ExchangeError, HttpClient, HttpRequest, HttpResponse};
use crate::config::{Network, NetworkSetting};

/// The maximum size of a CA file; one with every public CA has a quarter of this.
const MAX_CA_BUNDLE: u64 = 1024 * 1024;
/// The maximum length of a response; a token response is a few kilobytes.
const MAX_RESPONSE: usize = 256 * 1024;
/// The initial capacity of the response buffer, small enough that the allocator makes no system call.
const INITIAL_CAPACITY: usize = 32 * 1024;
/// The `originator` header of programs that share a login with Codex.
const ORIGINATOR: HeaderValue = HeaderValue::from_static("codex_cli_rs");

/// A client with fixed settings.
struct ReqwestClient(reqwest::Client);

impl HttpClient for ReqwestClient {
    /// Time in which this process was stopped does not count, and a response that is ready counts before the time limit.
    fn exchange(&self, request: HttpRequest, timeout: Duration) -> Exchange<'_> {
        let HttpRequest { method, address, headers, body: sent } = request;
        let request = self.0.request(method, address.into_url()).headers(headers);
        let request = if sent.is_empty() { request } else { request.body(sent) };
        let room = buffer();
        Box::pin(async move {
            let answer = async {
                let response = request.send().await.map_err(|error| exchange_error(error, timeout))?;
                let (status, headers) = (response.status(), response.headers().clone());
                Ok(HttpResponse { status, headers, body: body(response, timeout, room).await })
            };
            tokio::select! {
                biased;
                answer = answer => answer,
                () = elapsed(timeout) => Err(ExchangeError::NoResponse(MissingResponse::TimedOut(timeout))),
            }
        })
    }
}

/// Whether `signature` is a signature of `signed` with RS256 by the key of modulus `n` and exponent `e`.
pub(super) fn is_signed_by(n: Vec<u8>, e: Vec<u8>, signed: &[u8], signature: &[u8]) -> bool {
    RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
}

/// Builds the client for `https`, with the certificates and proxies of `network`. The certificates are read once, here.
pub(super) fn secure(
    network: &Network,
    connect: ConnectLimit,
) -> Result<Box<dyn HttpClient>, HttpClientError> {
    let mut builder = builder(tls(network)?, connect);
    let excepted =
        network.no_proxy.as_ref().map(|setting| setting.value.to_string_lossy()).unwrap_or_default();
    if let Some(setting) = chosen_proxy(network) {
        builder = builder.proxy(proxy(setting, &excepted)?);
    }
    build(builder)
}

/// Builds the client for `http`, which is used for this machine only. It has no certificates and no proxy, so broken
/// settings of those cannot stop it.
pub(super) fn plain(connect: ConnectLimit) -> Result<Box<dyn HttpClient>, HttpClientError> {
    let config = tls_builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    build(builder(config, connect))
}

/// Builds a client for another server than the authority, without a proxy. `ca` names the only
/// certificates that it trusts; without it, those of the system and of `network` are trusted.
#[cfg(feature = "fleet")]
pub(crate) fn private_client(
    ca: Option<&NetworkSetting>,
    network: &Network,
    connect: Duration,
) -> Result<reqwest::Client, HttpClientError> {
    let tls = match ca {
        None => tls(network)?,
        Some(setting) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_ca_bundle(setting)? {
                roots.add(certificate).map_err(tls_error)?;
            }
            tls_builder()?.with_root_certificates(roots).with_no_client_auth()
        }
    };
    builder(tls, ConnectLimit { timeout: connect, last_check: None })
        .build()
        .map_err(|error| HttpClientError::Setup(transport(error)))
}

fn exchange_error(error: reqwest::Error, timeout: Duration) -> ExchangeError {
    if error.is_builder() {
        return ExchangeError::NotSent(HttpClientError::Setup(transport(error)));
    }
    if !error.is_connect() {
        return ExchangeError::NoResponse(missing_response(error, timeout));
    }
    let error = transport(error);
    ExchangeError::NotConnected(if error.causes().any(<dyn StdError>::is::<rustls::Error>) {
        RequestFailure::Tls(error)
    } else {
        RequestFailure::Connection(error)
    })
}

/// Drops the URL, which may have a query that must not be shown.
fn transport(error: reqwest::Error) -> Transport {
    Transport::new(error.without_url())
}

fn missing_response(error: reqwest::Error, timeout: Duration) -> MissingResponse {
    if error.is_timeout() {
        MissingResponse::TimedOut(timeout)
    } else {
        MissingResponse::BrokenOff(transport(error))
    }
}

/// Allocates the response buffer before anything is sent, so that running out of memory cannot lose a response.
fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(INITIAL_CAPACITY))
}

async fn body(
    mut response: Response,
    timeout: Duration,
    mut body: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, MissingResponse> {
    while let Some(chunk) = response.chunk().await.map_err(|error| missing_response(error, timeout))? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(MissingResponse::Undecodable(InvalidTokenResponse::TooLarge));
        }
        if body.len() + chunk.len() > body.capacity() {
            // A `Vec` that grows would leave unwiped copies behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(MAX_RESPONSE));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The options of both clients.
///
/// Every request is sent once and on a new connection: on a kept connection that is dead, it is unknown whether the
/// token was spent. Redirects are not followed, and the environment is not read except as [`system_roots`] describes.
fn builder(tls: ClientConfig, connect: ConnectLimit) -> ClientBuilder {
    let here = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let here = here.map(|address| SocketAddr::new(address, 0));
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .pool_max_idle_per_host(0)
        .connector_layer(connect)
        // `localhost` is this machine, whatever a resolver says; port 0 means the URL's port.
        .resolve_to_addrs(LOCALHOST, &here)
        .default_headers(headers())
}

fn build(builder: ClientBuilder) -> Result<Box<dyn HttpClient>, HttpClientError> {
    let client = builder.build().map_err(|error| HttpClientError::Setup(transport(error)))?;
    Ok(Box::new(ReqwestClient(client)))
}

fn headers() -> HeaderMap {
    let agent = format!(
        "codex-auth/{} ({}; {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("originator"), ORIGINATOR);
    if let Ok(agent) = HeaderValue::from_str(&agent) {
        headers.insert(reqwest::header::USER_AGENT, agent);
    }
    headers
}

/// Builds the proxy that `setting` names, for every host but this machine and those in `excepted`.
fn proxy(setting: &NetworkSetting, excepted: &str) -> Result<Proxy, HttpClientError> {
    let refused = |_| HttpClientError::Proxy { variable: setting.variable };
    let url = proxy_address(setting)?.into_url();
    let excepted = NoProxy::from_string(&format!("{LOCALHOST},127.0.0.0/8,::1,{excepted}"));
    Ok(Proxy::https(url).map_err(refused)?.no_proxy(excepted))
}

fn tls(network: &Network) -> Result<ClientConfig, HttpClientError> {
    let mut roots = network.ca_bundle().map(read_ca_bundle).transpose()?.unwrap_or_default();
    if network.ssl_cert_file.is_some() || network.ssl_cert_dir.is_some() {
        roots.extend(system_roots());
    }
    let config = tls_builder()?;
    let provider = Arc::clone(config.crypto_provider());
    let verifier = Verifier::new_with_extra_roots(roots, provider).map_err(tls_error)?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Configures TLS with ring for this client only: the host process may use another provider.
fn tls_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, HttpClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(tls_error)
}

fn tls_error(error: rustls::Error) -> HttpClientError {
    HttpClientError::Tls(TlsError::new(error))
}

/// Returns the certificates in the system's folders.
///
/// On Linux `rustls_platform_verifier` reads them itself, unless `SSL_CERT_FILE` or `SSL_CERT_DIR` is set: then it
/// reads only those. This program adds them to the system's, so the folders are read here. On macOS the verifier uses
/// the system's trust store, and there is no such folder.
fn system_roots() -> Vec<CertificateDer<'static>> {
    let loaded = openssl_probe::candidate_cert_dirs()
        .flat_map(|folder| rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs);
    // One bad file must not make the others unusable.
    let mut store = RootCertStore::empty();
    loaded.filter(|certificate| store.add(certificate.clone()).is_ok()).collect()
}

fn read_ca_bundle(setting: &NetworkSetting) -> Result<Vec<CertificateDer<'static>>, HttpClientError> {
    let path = Path::new(&setting.value);
    let refused =
        |problem| HttpClientError::CaBundle { variable: setting.variable, path: path.to_owned(), problem };
    let contents = private_file::read(path, MAX_CA_BUNDLE, Links::Follow)
        .map_err(|error| refused(CaProblem::Unreadable(error)))?
        .ok_or_else(|| refused(CaProblem::Missing))?;
    parse_certificates(&contents.bytes).map_err(refused)
}

/// Parses the certificates of a PEM file, including OpenSSL's `TRUSTED CERTIFICATE`; keys and CRLs are skipped.
fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaProblem> {
    let pem = String::from_utf8_lossy(pem)
        .replace("-----BEGIN TRUSTED CERTIFICATE-----", "-----BEGIN CERTIFICATE-----")
        .replace("-----END TRUSTED CERTIFICATE-----", "-----END CERTIFICATE-----");
    let mut store = RootCertStore::empty();
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| CaProblem::Malformed)?;
        let certificate = CertificateDer::from(first_element(&certificate).to_vec());
        store.add(certificate.clone()).map_err(|_| CaProblem::Malformed)?;
        found.push(certificate);
    }
    if found.is_empty() { Err(CaProblem::Empty) } else { Ok(found) }
}

/// Returns the first DER element: OpenSSL appends trust settings to a trusted certificate.
fn first_element(der: &[u8]) -> &[u8] {
    let length = match der {
        [_, length @ ..=0x7f, ..] => 2 + usize::from(*length),
        [_, 0x81, a, ..] => 3 + usize::from(*a),
        [_, 0x82, a, b, ..] => 4 + usize::from(u16::from_be_bytes([*a, *b])),
        _ => return der,
    };
    der.get(..length).unwrap_or(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(value: &str) -> NetworkSetting {
        NetworkSetting { variable: "HTTPS_PROXY", value: value.into() }
    }

    #[test]
    fn a_proxy_address_has_a_known_scheme_and_a_host() {
        for value in
            ["http://p:1", "https://u:marked@p", "socks5://p", "socks5h://p:2", "p:3128", " http://p "]
        {
            assert!(proxy(&setting(value), "").is_ok(), "{value}");
        }
        for value in ["ftp://p", "http://", "http://p:99999", "http://marked p", "://marked"] {
            let error = proxy(&setting(value), "").unwrap_err();
            assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
        }
    }

    #[test]
    fn the_first_der_element_ends_at_its_length() {
        for (der, end) in
            [(&[0x30, 1, 9, 7][..], 3), (&[0x30, 0x81, 1, 9, 7], 4), (&[0x30, 0x82, 0, 1, 9, 7], 5)]
        {
            assert_eq!(first_element(der), &der[..end]);
        }
        for odd in [&[][..], &[0x30], &[0x30, 5, 1], &[0x30, 0x80, 1], &[0x30, 0x83, 0, 0, 1, 9]] {
            assert_eq!(first_element(odd), odd);
        }
    }

    #[test]
    fn text_without_certificates_is_empty_and_a_bad_one_is_malformed() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for pem in ["", "not a certificate", key] {
            assert!(matches!(parse_certificates(pem.as_bytes()), Err(CaProblem::Empty)), "{pem}");
        }
        for inside in ["AAAA", "not base64!", ""] {
            let pem = format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n");
            assert!(matches!(parse_certificates(pem.as_bytes()), Err(CaProblem::Malformed)), "{pem}");
        }
        let unended = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(matches!(parse_certificates(unended.as_bytes()), Err(CaProblem::Malformed)));
    }
}
