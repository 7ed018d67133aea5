//! How the authority is reached: addresses, certificates and proxies that the user has set.

use std::ffi::OsString;
use std::fmt;

use super::environment::{
    ALL_PROXY, ALL_PROXY_LOWER, AUTHAPI_URL, CA_CERTIFICATE, HTTPS_PROXY, HTTPS_PROXY_LOWER, LOGIN_ISSUER,
    NO_PROXY, NO_PROXY_LOWER, REFRESH_URL, REVOKE_URL, SSL_CERT_DIR, SSL_CERT_FILE, Variable,
};

/// How the authority is reached, as far as the user has a say in it. Nothing of it is judged before it is used.
///
/// `HTTP_PROXY` is not among it: the only plain requests are those to this machine, and they take no proxy.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Network {
    /// The token endpoint.
    pub refresh_url: Option<NetworkSetting>,
    /// The revocation endpoint.
    pub revoke_url: Option<NetworkSetting>,
    /// The authority of a new login.
    pub login_issuer: Option<NetworkSetting>,
    /// Where personal access tokens are looked up.
    pub authapi_url: Option<NetworkSetting>,
    /// A file of certificates to trust.
    pub ca_certificate: Option<NetworkSetting>,
    /// Another, for when the first is not set.
    pub ssl_cert_file: Option<NetworkSetting>,
    /// A folder of certificates to trust.
    pub ssl_cert_dir: Option<NetworkSetting>,
    /// The way to hosts that are not this machine.
    pub proxy: Option<NetworkSetting>,
    /// Hosts that are reached without it.
    pub no_proxy: Option<NetworkSetting>,
}

impl Network {
    /// Takes what `value` answers; it never answers with nothing in it.
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

    /// The file of certificates that counts: `CODEX_CA_CERTIFICATE`, else `SSL_CERT_FILE`.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&NetworkSetting> {
        self.ca_certificate.as_ref().or(self.ssl_cert_file.as_ref())
    }
}

/// The value of a variable, with the name by which a message calls it. An address may have a password in it, so `Debug`
/// shows the name alone.
#[derive(Clone)]
#[non_exhaustive]
pub struct NetworkSetting {
    /// The variable.
    pub variable: &'static str,
    /// What it holds; never empty.
    pub value: OsString,
}

impl fmt::Debug for NetworkSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("variable", &self.variable).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_names_counts_and_an_address_is_not_shown() {
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
