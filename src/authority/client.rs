//! The HTTP client: whose certificates it trusts, which way it goes, and what it never does.

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

use super::endpoint::LOCALHOST;
use super::error::{CaProblem, HttpClientError, Transport};
use super::ticks::ConnectWithin;
use crate::config::{Network, NetworkSetting};

/// A bundle of every authority on the web has a quarter of this.
const LARGEST_BUNDLE: u64 = 1024 * 1024;
/// By what the authority knows programs that share a login with Codex.
const ORIGINATOR: HeaderValue = HeaderValue::from_static("codex_cli_rs");

/// A client for `https`, by the certificates and proxies of `network`.
///
/// Certificates are read here, once: those of the system are some hundred files.
pub(super) fn secure(network: &Network, connect: Duration) -> Result<Client, HttpClientError> {
    let mut builder = builder(tls(network)?, connect);
    let excepted =
        network.no_proxy.as_ref().map(|setting| setting.value.to_string_lossy()).unwrap_or_default();
    if let Some(setting) = chosen_proxy(network) {
        builder = builder.proxy(proxy(setting, &excepted)?);
    }
    finished(builder)
}

/// A client for `http`, which is for this machine alone: it trusts no certificate and knows no proxy, so nothing that is
/// wrong with those can stop it.
pub(super) fn plain(connect: Duration) -> Result<Client, HttpClientError> {
    let config = versions()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    finished(builder(config, connect))
}

/// What both have in common: whatever spends a single-use token needs.
///
/// Every request is sent once and on a connection of its own: a kept connection may be dead, and then nobody can say
/// whether the token was spent. No redirect is followed, and nothing is read from the environment but the certificates
/// that [`system_roots`] speaks of.
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
        .connector_layer(ConnectWithin(connect))
        // What is called this machine is this machine, whatever a resolver says; port 0 stands for the address's own.
        .resolve_to_addrs(LOCALHOST, &here)
        .default_headers(headers())
}

fn finished(builder: ClientBuilder) -> Result<Client, HttpClientError> {
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

/// The setting of the proxy, unless every host is excepted from it.
pub(super) fn chosen_proxy(network: &Network) -> Option<&NetworkSetting> {
    let excepted =
        network.no_proxy.as_ref().map(|setting| setting.value.to_string_lossy()).unwrap_or_default();
    // The client's own reading of the star leaves out hosts that are numbers.
    let everything = excepted.split(',').any(|entry| entry.trim() == "*");
    network.proxy.as_ref().filter(|_| !everything)
}

/// The address of the proxy that `setting` names. It may hold a password.
pub(super) fn proxy_url(setting: &NetworkSetting) -> Result<Url, HttpClientError> {
    let refused = || HttpClientError::Proxy { variable: setting.variable };
    let text = setting.value.to_str().ok_or_else(refused)?.trim();
    // As everywhere, an address without a scheme is meant to be http.
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|_| refused())?;
    let known = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
    if !known.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(refused());
    }
    Ok(url)
}

/// The proxy that `setting` names, for every host but this machine and those of `excepted`.
fn proxy(setting: &NetworkSetting, excepted: &str) -> Result<Proxy, HttpClientError> {
    let refused = |_| HttpClientError::Proxy { variable: setting.variable };
    let url = proxy_url(setting)?;
    let excepted = NoProxy::from_string(&format!("{LOCALHOST},127.0.0.0/8,::1,{excepted}"));
    Ok(Proxy::https(url).map_err(refused)?.no_proxy(excepted))
}

fn tls(network: &Network) -> Result<ClientConfig, HttpClientError> {
    let mut roots = network.ca_bundle().map(bundle).transpose()?.unwrap_or_default();
    if network.ssl_cert_file.is_some() || network.ssl_cert_dir.is_some() {
        roots.extend(system_roots());
    }
    let config = versions()?;
    let provider = Arc::clone(config.crypto_provider());
    let verifier = Verifier::new_with_extra_roots(roots, provider).map_err(HttpClientError::Tls)?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// TLS with ring, for this client alone: the process may have chosen another provider for its own ends.
fn versions() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, HttpClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(HttpClientError::Tls)
}

/// The certificates in the system's own folders.
///
/// On Linux the verifier looks there by itself, unless `SSL_CERT_FILE` or `SSL_CERT_DIR` is set: then it looks where they
/// say instead. We promise "besides", so we add what it leaves out. On macOS it asks the system, and there is no such
/// folder.
fn system_roots() -> Vec<CertificateDer<'static>> {
    let loaded = openssl_probe::candidate_cert_dirs()
        .flat_map(|folder| rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs);
    // One bad file among the system's hundreds is no reason to trust none of them.
    let mut store = RootCertStore::empty();
    loaded.filter(|certificate| store.add(certificate.clone()).is_ok()).collect()
}

fn bundle(setting: &NetworkSetting) -> Result<Vec<CertificateDer<'static>>, HttpClientError> {
    let path = Path::new(&setting.value);
    let refused =
        |problem| HttpClientError::CaBundle { variable: setting.variable, path: path.to_owned(), problem };
    let contents = private_file::read(path, LARGEST_BUNDLE, Links::Follow)
        .map_err(|error| refused(CaProblem::Unreadable(error)))?
        .ok_or_else(|| refused(CaProblem::Missing))?;
    certificates(&contents.bytes).map_err(refused)
}

/// The certificates of a PEM file, with the label of OpenSSL's trusted ones accepted; keys and lists beside them are
/// skipped.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaProblem> {
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

/// The first DER element: behind a trusted certificate OpenSSL keeps what it is trusted for.
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
    fn a_proxy_is_an_address_that_can_be_gone_through() {
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
    fn an_element_ends_where_it_says() {
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
            assert!(matches!(certificates(pem.as_bytes()), Err(CaProblem::Empty)), "{pem}");
        }
        for inside in ["AAAA", "not base64!", ""] {
            let pem = format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n");
            assert!(matches!(certificates(pem.as_bytes()), Err(CaProblem::Malformed)), "{pem}");
        }
        let unended = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(matches!(certificates(unended.as_bytes()), Err(CaProblem::Malformed)));
    }
}
