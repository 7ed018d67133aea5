//! TLS: which certificates the client trusts.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_auth::authority::{CaProblem, Error, HttpClientError, RequestFailure, RetryAdvice};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::server::{Server, over_tls, speaking};
use super::{REFRESH_URL, TEST_DEADLINES, refresh_with};

const CODEX_CA: &str = "CODEX_CA_CERTIFICATE";
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// A certificate authority, and a folder for its files.
pub struct Signer {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Signer {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    /// Starts a server with a certificate for `names`.
    pub fn server(&self, names: &[&str]) -> Server {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        over_tls(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// Writes a file of these parts.
    pub fn file(&self, name: &str, parts: &[&str]) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::write(&path, parts.concat()).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// Writes a file of its own certificate.
    pub fn certificate(&self) -> String {
        self.file("own.pem", &[&self.issuer.pem()])
    }
}

fn refused(variables: &[(&str, &str)], server: &Server) -> Error {
    let url = server.url("https");
    let variables: Vec<_> = variables.iter().copied().chain([(REFRESH_URL, url.as_str())]).collect();
    refresh_with(&variables, TEST_DEADLINES, "rt-marked").unwrap_err()
}

fn accepted(variables: &[(&str, &str)], server: &Server) {
    let url = server.url("https");
    let variables: Vec<_> = variables.iter().copied().chain([(REFRESH_URL, url.as_str())]).collect();
    let response = refresh_with(&variables, TEST_DEADLINES, "rt-marked").unwrap();
    assert_eq!(response.access_token.unwrap().expose(), "at-over-a-wire");
}

#[test]
fn a_server_with_an_untrusted_certificate_gets_no_token() {
    let signer = Signer::new();
    let server = signer.server(&["127.0.0.1"]);
    let error = refused(&[], &server);
    assert!(matches!(&error, Error::Transient { cause: RequestFailure::Tls(_), .. }), "{error:?}");
    assert_eq!(error.kind(), RetryAdvice::Transient);
    let text = error.to_string();
    assert!(text.contains("/oauth/token cannot be reached over TLS: invalid peer certificate"), "{text}");
    assert!(text.ends_with("set CODEX_CA_CERTIFICATE to its certificate"), "{text}");
    let records = server.ended();
    assert!(records.iter().all(|records| records.starts_with("failed: ")), "{records:?}");
}

#[test]
fn a_certificate_for_another_host_is_not_enough() {
    let signer = Signer::new();
    let server = signer.server(&["other.example"]);
    let error = refused(&[(CODEX_CA, &signer.certificate())], &server);
    assert!(matches!(&error, Error::Transient { cause: RequestFailure::Tls(_), .. }), "{error:?}");
}

#[test]
fn a_server_without_tls_gets_no_token() {
    let server = speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let error = refused(&[], &server);
    assert!(matches!(&error, Error::Transient { cause: RequestFailure::Tls(_), .. }), "{error:?}");
    // A server that closes the connection is unreachable, not unsafe.
    let error = refused(&[], &speaking(b""));
    assert!(matches!(&error, Error::Transient { cause: RequestFailure::Connection(_), .. }), "{error:?}");
}

#[test]
fn ca_own_variable() {
    let signer = Signer::new();
    accepted(&[(CODEX_CA, &signer.certificate())], &signer.server(&["127.0.0.1"]));
}

#[test]
fn ca_fallback_to_ssl_cert_file() {
    let signer = Signer::new();
    accepted(&[(SSL_CERT_FILE, &signer.certificate())], &signer.server(&["127.0.0.1"]));
    accepted(&[(CODEX_CA, ""), (SSL_CERT_FILE, &signer.certificate())], &signer.server(&["127.0.0.1"]));
}

#[test]
fn ca_own_variable_comes_before_ssl_cert_file() {
    let (signer, other) = (Signer::new(), Signer::new());
    let server = signer.server(&["127.0.0.1"]);
    accepted(&[(CODEX_CA, &signer.certificate()), (SSL_CERT_FILE, &other.certificate())], &server);
    // The other variable is not even read.
    accepted(&[(CODEX_CA, &signer.certificate()), (SSL_CERT_FILE, "/nowhere")], &server);
    let error = refused(&[(CODEX_CA, &other.certificate()), (SSL_CERT_FILE, &signer.certificate())], &server);
    assert!(matches!(&error, Error::Transient { cause: RequestFailure::Tls(_), .. }), "{error:?}");
}

#[test]
fn ca_bundle_of_several_certificates() {
    let (signer, other) = (Signer::new(), Signer::new());
    let key = KeyPair::generate().unwrap().serialize_pem();
    let bundle = signer
        .file("bundle.pem", &["# a comment\n", &other.issuer.pem(), "\nmore\n", &key, &signer.issuer.pem()]);
    for signer in [&signer, &other] {
        accepted(&[(CODEX_CA, &bundle)], &signer.server(&["127.0.0.1"]));
    }
}

#[test]
fn ca_label_of_a_trusted_certificate_is_accepted() {
    let signer = Signer::new();
    // OpenSSL appends that the certificate is trusted for servers.
    let trust = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    let trusted = STANDARD.encode([signer.issuer.der().as_ref(), &trust].concat());
    let lines: Vec<_> =
        trusted.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!(
        "-----BEGIN TRUSTED CERTIFICATE-----\n{}\n-----END TRUSTED CERTIFICATE-----\n",
        lines.join("\n")
    );
    accepted(&[(CODEX_CA, &signer.file("trusted.pem", &[&pem]))], &signer.server(&["127.0.0.1"]));
}

#[test]
fn ca_file_without_certificates_is_rejected_with_a_hint() {
    let signer = Signer::new();
    let server = signer.server(&["127.0.0.1"]);
    let empty = signer.file("empty.pem", &[]);
    for variable in [CODEX_CA, SSL_CERT_FILE] {
        let error = refused(&[(variable, &empty)], &server);
        assert!(
            matches!(&error, Error::Client(HttpClientError::CaBundle { problem: CaProblem::Empty, .. })),
            "{error:?}"
        );
        assert_eq!(error.kind(), RetryAdvice::NotSent);
        assert_eq!(
            error.to_string(),
            format!(
                "{variable} names {empty}, which contains no certificate; set it to a PEM file of certificates, or unset it"
            )
        );
    }
    assert_eq!(server.ended(), [""; 0]);
}

#[test]
fn ca_file_that_is_malformed_is_rejected_with_a_hint() {
    let signer = Signer::new();
    let server = signer.server(&["127.0.0.1"]);
    let broken = "-----BEGIN CERTIFICATE-----\nbWFya2Vk\n-----END CERTIFICATE-----\n";
    let file = signer.file("broken.pem", &[&signer.issuer.pem(), broken]);
    let error = refused(&[(CODEX_CA, &file)], &server);
    assert!(
        matches!(&error, Error::Client(HttpClientError::CaBundle { problem: CaProblem::Malformed, .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("which contains a malformed certificate; set it to a PEM"), "{error}");
    let folder = signer.folder.path().to_str().unwrap();
    let error = refused(&[(CODEX_CA, folder)], &server);
    assert!(error.to_string().contains("which cannot be read"), "{error}");
    let error = refused(&[(CODEX_CA, "/nowhere/ca.pem")], &server);
    assert!(error.to_string().contains("/nowhere/ca.pem, which does not exist"), "{error}");
    assert_eq!(server.ended(), [""; 0]);
}

#[test]
fn a_fixed_cause_is_noticed() {
    let signer = Signer::new();
    let server = signer.server(&["127.0.0.1"]);
    let file = signer.file("late.pem", &[]);
    let environment = super::environment(&[(CODEX_CA, &file), (REFRESH_URL, &server.url("https"))]);
    let authority = codex_auth::authority::Authority::new(&environment);
    let request = super::request(&environment, "rt-marked").unwrap();
    assert_eq!(super::run(authority.refresh(&request)).unwrap_err().kind(), RetryAdvice::NotSent);
    signer.file("late.pem", &[&signer.issuer.pem()]);
    super::run(authority.refresh(&request)).unwrap();
}
