//! The HTTP client: TLS, proxies, and the options that single-use tokens need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_auth_platform::private_file::{self, Links};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Url, redirect, retry};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::Verifier;

use super::endpoint::{Endpoint, LOCALHOST};
use super::error::{CaProblem, HttpClientError, Transport};
use super::ticks::ConnectTimeout;
use crate::config::{Network, NetworkSetting};

/// The maximum size of a CA file; one with every public CA has a quarter of this.
const MAX_CA_BUNDLE: u64 = 1024 * 1024;
/// The `originator` header of programs that share a login with Codex.
const ORIGINATOR: HeaderValue = HeaderValue::from_static("codex_cli_rs");

/// Builds the client for `https`, with the certificates and proxies of `network`. The certificates are read once, here.
pub(super) fn secure(network: &Network, connect: Duration) -> Result<Client, HttpClientError> {
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
pub(super) fn plain(connect: Duration) -> Result<Client, HttpClientError> {
    let config = tls_builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    build(builder(config, connect))
}

/// The options of both clients.
///
/// Every request is sent once and on a new connection: on a kept connection that is dead, it is unknown whether the
/// token was spent. Redirects are not followed, and the environment is not read except as [`system_roots`] describes.
fn builder(tls: ClientConfig, connect: Duration) -> ClientBuilder {
    let here = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let here = here.map(|address| SocketAddr::new(address, 0));
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .pool_max_idle_per_host(0)
        .connector_layer(ConnectTimeout(connect))
        // `localhost` is this machine, whatever a resolver says; port 0 means the URL's port.
        .resolve_to_addrs(LOCALHOST, &here)
        .default_headers(headers())
}

fn build(builder: ClientBuilder) -> Result<Client, HttpClientError> {
    builder.build().map_err(|error| HttpClientError::Setup(Transport::new(error)))
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

/// Returns the proxy setting, unless `NO_PROXY` excludes every host.
pub(super) fn chosen_proxy(network: &Network) -> Option<&NetworkSetting> {
    let excepted =
        network.no_proxy.as_ref().map(|setting| setting.value.to_string_lossy()).unwrap_or_default();
    // reqwest's own `*` does not match IP addresses.
    let everything = excepted.split(',').any(|entry| entry.trim() == "*");
    network.proxy.as_ref().filter(|_| !everything)
}

/// Parses the address of the proxy that `setting` names. It may contain a password.
pub(super) fn proxy_url(setting: &NetworkSetting) -> Result<Url, HttpClientError> {
    let refused = || HttpClientError::Proxy { variable: setting.variable };
    let text = setting.value.to_str().ok_or_else(refused)?.trim();
    // As in curl, an address without a scheme means http.
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|_| refused())?;
    let known = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
    if !known.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(refused());
    }
    Ok(url)
}

/// Returns the proxy of requests to `endpoint`: its variable, and its host and port.
pub(super) fn proxy_of(network: &Network, endpoint: &Endpoint) -> Option<(&'static str, String)> {
    let setting = chosen_proxy(network).filter(|_| !endpoint.is_plain() && !endpoint.is_loopback())?;
    let host = endpoint.url().host_str()?;
    let excepted = network.no_proxy.as_ref().map(|setting| setting.value.to_string_lossy());
    let is_excepted = excepted.is_some_and(|list| {
        let domains = list.split(',').map(|entry| entry.trim().trim_start_matches('.'));
        domains.filter(|domain| !domain.is_empty()).any(|domain| {
            let is_below = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
            host == domain || is_below || is_in_network(host, domain)
        })
    });
    let url = proxy_url(setting).ok().filter(|_| !is_excepted)?;
    Some((setting.variable, address(&url)))
}

/// Whether `host` is an address in `network`, such as `10.0.0.0/8`.
fn is_in_network(host: &str, network: &str) -> bool {
    let address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Some(host), Some(base), Ok(length)) = (address(host), address(base), length.parse::<u32>()) else {
        return false;
    };
    let bits = |address| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    host.is_ipv4() == base.is_ipv4() && (bits(host) ^ bits(base)).leading_zeros() >= length
}

/// Returns host and port of `url`.
pub(super) fn address(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// Builds the proxy that `setting` names, for every host but this machine and those in `excepted`.
fn proxy(setting: &NetworkSetting, excepted: &str) -> Result<Proxy, HttpClientError> {
    let refused = |_| HttpClientError::Proxy { variable: setting.variable };
    let url = proxy_url(setting)?;
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
    let verifier = Verifier::new_with_extra_roots(roots, provider).map_err(HttpClientError::Tls)?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Configures TLS with ring for this client only: the host process may use another provider.
fn tls_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, HttpClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(HttpClientError::Tls)
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
    fn a_network_contains_the_addresses_with_its_prefix() {
        for (host, network, expected) in [
            ("192.0.2.1", "192.0.2.0/24", true),
            ("192.0.3.1", "192.0.2.0/24", false),
            ("192.0.2.1", "0.0.0.0/0", true),
            ("[2001:db8::1]", "2001:db8::/32", true),
            ("192.0.2.1", "::/0", false),
            ("a.example", "192.0.2.0/24", false),
            ("192.0.2.1", "192.0.2.0", false),
        ] {
            assert_eq!(is_in_network(host, network), expected, "{host} {network}");
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
