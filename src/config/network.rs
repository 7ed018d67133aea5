//! The user's settings for requests to the authority: URLs, certificates and proxies.

use std::ffi::OsString;
use std::fmt;

use super::variables::{
    ALL_PROXY, ALL_PROXY_LOWER, AUTHAPI_URL, CA_CERTIFICATE, HTTPS_PROXY, HTTPS_PROXY_LOWER, LOGIN_ISSUER,
    NO_PROXY, NO_PROXY_LOWER, REFRESH_URL, REVOKE_URL, SSL_CERT_DIR, SSL_CERT_FILE, Variable,
};

/// The user's settings for requests to the authority, checked only when they are used.
///
/// `HTTP_PROXY` is not among them: http requests go only to this machine, without a proxy.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Network {
    /// The token endpoint.
    pub refresh_url: Option<NetworkSetting>,
    /// The revocation endpoint.
    pub revoke_url: Option<NetworkSetting>,
    /// The authority for new logins.
    pub login_issuer: Option<NetworkSetting>,
    /// The base URL for checking personal access tokens.
    pub authapi_url: Option<NetworkSetting>,
    /// A file of certificates to trust.
    pub ca_certificate: Option<NetworkSetting>,
    /// The same, if `ca_certificate` is not set.
    pub ssl_cert_file: Option<NetworkSetting>,
    /// A folder of certificates to trust.
    pub ssl_cert_dir: Option<NetworkSetting>,
    /// The proxy for https requests.
    pub proxy: Option<NetworkSetting>,
    /// The hosts to connect to without the proxy.
    pub no_proxy: Option<NetworkSetting>,
}

impl Network {
    /// Reads the settings from `value`, which returns no empty values.
    pub(super) fn read(value: impl Fn(Variable) -> Option<OsString>) -> Self {
        let first = |variables: &[Variable]| {
            variables.iter().find_map(|variable| {
                value(*variable).map(|value| NetworkSetting { variable: variable.name, value })
            })
        };
        Self {
            refresh_url: first(&[REFRESH_URL]),
            revoke_url: first(&[REVOKE_URL]),
            login_issuer: first(&[LOGIN_ISSUER]),
            authapi_url: first(&[AUTHAPI_URL]),
            ca_certificate: first(&[CA_CERTIFICATE]),
            ssl_cert_file: first(&[SSL_CERT_FILE]),
            ssl_cert_dir: first(&[SSL_CERT_DIR]),
            proxy: first(&[HTTPS_PROXY, HTTPS_PROXY_LOWER, ALL_PROXY, ALL_PROXY_LOWER]),
            no_proxy: first(&[NO_PROXY, NO_PROXY_LOWER]),
        }
    }

    /// Returns the file of certificates to use: `CODEX_CA_CERTIFICATE`, else `SSL_CERT_FILE`.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&NetworkSetting> {
        self.ca_certificate.as_ref().or(self.ssl_cert_file.as_ref())
    }
}

/// The value of a variable and its name. A URL may contain a password, so `Debug` shows only the name.
#[derive(Clone)]
#[non_exhaustive]
pub struct NetworkSetting {
    /// The variable.
    pub variable: &'static str,
    /// The value; never empty.
    pub value: OsString,
}

impl NetworkSetting {
    /// Creates a setting that messages call `name`, with a `value` that is not empty.
    #[must_use]
    pub fn new(name: &'static str, value: impl Into<OsString>) -> Self {
        Self { variable: name, value: value.into() }
    }
}

impl fmt::Debug for NetworkSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkSetting").field("variable", &self.variable).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_set_variable_is_used_and_debug_does_not_show_its_value() {
        let network = Network::read(|variable| match variable.name {
            "all_proxy" => Some("socks5://marked@proxy".into()),
            "https_proxy" => Some("http://marked@proxy".into()),
            "SSL_CERT_FILE" => Some("/marked.pem".into()),
            _ => None,
        });
        assert_eq!(network.proxy.as_ref().map(|setting| setting.variable), Some("https_proxy"));
        assert_eq!(network.ca_bundle().map(|setting| setting.variable), Some("SSL_CERT_FILE"));
        assert!(network.no_proxy.is_none());
        assert!(!format!("{network:?}").contains("marked"), "{network:?}");
    }
}
