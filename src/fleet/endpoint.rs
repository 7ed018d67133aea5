//! Addresses of etcd, parsed by the HTTP client's parser.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

/// The client URL of an etcd member: `https://HOST[:PORT]`, or `http` to this machine. The default port is 2379.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EtcdEndpoint(Url);

/// Why a text is not an [`EtcdEndpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdEndpointError {
    /// It is not a URL with a host.
    #[error("'{text}' is not a URL; write https://HOST:2379")]
    NotAUrl {
        /// The text.
        text: String,
    },
    /// It contains a user name or password, which is not repeated.
    #[error("the URL of etcd contains a user name or password; give the user with --user")]
    Credentials,
    /// It has a path or a query.
    #[error("'{url}' has a path or a query; write only https://HOST:PORT")]
    Path {
        /// The URL.
        url: String,
    },
    /// It is neither `https`, nor `http` to this machine.
    #[error("'{url}' would send a password in plain text; use https, or http to localhost")]
    Insecure {
        /// The URL.
        url: String,
    },
}

impl EtcdEndpoint {
    /// Returns the URL of a method of the gateway.
    pub(super) fn method(&self, name: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("/v3/{name}"));
        url
    }
}

impl FromStr for EtcdEndpoint {
    type Err = EtcdEndpointError;

    fn from_str(text: &str) -> Result<Self, EtcdEndpointError> {
        let not_a_url = || EtcdEndpointError::NotAUrl { text: text.to_owned() };
        let mut url = Url::parse(text).map_err(|_| not_a_url())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EtcdEndpointError::Credentials);
        }
        let is_here = match url.host().ok_or_else(not_a_url)? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => IpAddr::V4(address).is_loopback(),
            Host::Ipv6(address) => IpAddr::V6(address).is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if is_here => {}
            "http" => return Err(EtcdEndpointError::Insecure { url: url.into() }),
            _ => return Err(not_a_url()),
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(EtcdEndpointError::Path { url: url.into() });
        }
        // An explicit default port of the scheme is not kept by the parser.
        let is_explicit =
            text.trim_end_matches('/').ends_with(":443") || text.trim_end_matches('/').ends_with(":80");
        if url.port().is_none() && !is_explicit {
            url.set_port(Some(2379)).map_err(|()| not_a_url())?;
        }
        Ok(Self(url))
    }
}

impl fmt::Display for EtcdEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for EtcdEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_to_this_machine_are_endpoints() {
        for (text, shown) in [
            ("https://etcd.example", "https://etcd.example:2379"),
            ("https://etcd.example:443", "https://etcd.example"),
            ("https://10.0.0.1:2379/", "https://10.0.0.1:2379"),
            ("http://localhost:2379", "http://localhost:2379"),
            ("http://127.0.0.1", "http://127.0.0.1:2379"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(text.parse::<EtcdEndpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_address_that_is_not_an_endpoint_is_refused_without_its_password() {
        for text in
            ["", "etcd:2379", "ftp://h", "https://", "https://h/path", "https://h?q", "http://10.0.0.1"]
        {
            assert!(text.parse::<EtcdEndpoint>().is_err(), "{text}");
        }
        let error = "https://u:marked@h".parse::<EtcdEndpoint>().unwrap_err();
        assert_eq!(error, EtcdEndpointError::Credentials);
        assert!(!error.to_string().contains("marked"));
    }
}
