//! What stands for the parsed address of a server without the feature `http`: nothing is ever connected to it.

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

/// An absolute URI.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Address(Uri);

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some()).map(Self)
    }

    pub(super) fn scheme(&self) -> &str {
        self.0.scheme_str().unwrap_or_default()
    }

    /// Returns the host, if there is one.
    pub(super) fn host(&self) -> Option<&str> {
        self.0.host().filter(|host| !host.is_empty())
    }

    /// Returns the port, unless it is the default of the scheme.
    pub(super) fn port(&self) -> Option<u16> {
        self.0.port_u16().filter(|port| Some(*port) != self.default_port())
    }

    pub(super) fn port_or_default(&self) -> Option<u16> {
        self.0.port_u16().or_else(|| self.default_port())
    }

    pub(super) fn path(&self) -> &str {
        self.0.path()
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.0.authority().is_some_and(|authority| authority.as_str().contains('@'))
    }

    /// Returns the address of `path` on the same server, without a query.
    pub(super) fn with_path(&self, path: &str) -> Self {
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(path).ok().or(Some(PathAndQuery::from_static("/")));
        Self(Uri::from_parts(parts).unwrap_or_else(|_| self.0.clone()))
    }

    /// Returns the host that a redirect from here to `location` leads to.
    pub(super) fn host_of_redirect(&self, location: &str) -> Option<String> {
        let location = location.parse::<Uri>().ok()?;
        location.host().or_else(|| self.host()).map(str::to_owned)
    }

    fn default_port(&self) -> Option<u16> {
        match self.scheme() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
