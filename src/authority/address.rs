//! Addresses of servers, parsed by the HTTP client's parser: what is checked is what is connected to.

use std::fmt;

use url::Url;

/// An absolute URL without a fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Address(Url);

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut url = Url::parse(text).ok()?;
        url.set_fragment(None);
        Some(Self(url))
    }

    pub(super) fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// Returns the host, if there is one.
    pub(super) fn host(&self) -> Option<&str> {
        self.0.host_str().filter(|host| !host.is_empty())
    }

    /// Returns the port, unless it is the default of the scheme.
    pub(super) fn port(&self) -> Option<u16> {
        self.0.port()
    }

    pub(super) fn port_or_default(&self) -> Option<u16> {
        self.0.port_or_known_default()
    }

    pub(super) fn path(&self) -> &str {
        self.0.path()
    }

    pub(super) fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// Returns the address of `path` on the same server, without a query.
    pub(super) fn with_path(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        url.set_path(path);
        url.set_query(None);
        Self(url)
    }

    /// Returns the host that a redirect from here to `location` leads to.
    pub(super) fn host_of_redirect(&self, location: &str) -> Option<String> {
        self.0.join(location).ok()?.host_str().map(str::to_owned)
    }

    pub(super) fn into_url(self) -> Url {
        self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::no_url::Address as Unconnected;
    use super::Address;

    macro_rules! parts {
        ($kind:ty, $text:expr) => {
            <$kind>::parse($text).map(|address| {
                let below = address.with_path("/below");
                (
                    address.scheme().to_owned(),
                    address.host().map(str::to_owned),
                    (address.port(), address.port_or_default()),
                    address.path().to_owned(),
                    address.has_credentials(),
                    [address.to_string(), below.to_string()],
                    ["https://b.example/", "/there"].map(|to| address.host_of_redirect(to)),
                )
            })
        };
    }

    #[test]
    fn an_address_has_the_same_parts_without_the_http_client() {
        for text in [
            "https://a.example/",
            "https://a.example/t/oauth/token?marked=1",
            "https://a.example:8443/t",
            "https://ada:sesame@a.example/",
            "http://127.0.0.1:8080/oauth/token",
            "http://[::1]:1/t",
            "a.example",
            "/path",
            "",
        ] {
            assert_eq!(parts!(Address, text), parts!(Unconnected, text), "{text}");
        }
    }
}
