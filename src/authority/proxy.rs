//! Which proxy a request uses, from the settings.

use std::net::IpAddr;

use super::address::Address;
use super::endpoint::Endpoint;
use super::error::HttpClientError;
use crate::config::{Network, NetworkSetting};

/// Returns the proxy setting, unless `NO_PROXY` excludes every host.
pub(super) fn chosen_proxy(network: &Network) -> Option<&NetworkSetting> {
    let excepted =
        network.no_proxy.as_ref().map(|setting| setting.value.to_string_lossy()).unwrap_or_default();
    // reqwest's own `*` does not match IP addresses.
    let everything = excepted.split(',').any(|entry| entry.trim() == "*");
    network.proxy.as_ref().filter(|_| !everything)
}

/// Parses the address of the proxy that `setting` names. It may contain a password.
pub(super) fn proxy_address(setting: &NetworkSetting) -> Result<Address, HttpClientError> {
    let refused = || HttpClientError::Proxy { variable: setting.variable };
    let text = setting.value.to_str().ok_or_else(refused)?.trim();
    // As in curl, an address without a scheme means http.
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let address = Address::parse(&text).ok_or_else(refused)?;
    let known = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
    if !known.contains(&address.scheme()) || address.host().is_none() {
        return Err(refused());
    }
    Ok(address)
}

/// Returns the proxy of requests to `endpoint`: its variable, and its host and port.
pub(super) fn proxy_of(network: &Network, endpoint: &Endpoint) -> Option<(&'static str, String)> {
    let setting = chosen_proxy(network).filter(|_| !endpoint.is_plain() && !endpoint.is_loopback())?;
    let host = endpoint.address().host()?;
    let excepted = network.no_proxy.as_ref().map(|setting| setting.value.to_string_lossy());
    let is_excepted = excepted.is_some_and(|list| {
        let domains = list.split(',').map(|entry| entry.trim().trim_start_matches('.'));
        domains.filter(|domain| !domain.is_empty()).any(|domain| {
            let is_below = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
            host == domain || is_below || is_in_network(host, domain)
        })
    });
    let address = proxy_address(setting).ok().filter(|_| !is_excepted)?;
    Some((setting.variable, host_and_port(&address)))
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
pub(super) fn host_and_port(address: &Address) -> String {
    let port = address.port_or_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", address.host().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
