//! The addresses that tokens may be sent to.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::address::Address;
use crate::config::{Environment, NetworkSetting};
use crate::document::Provenance;

/// OpenAI's authority, for logins that record no issuer.
pub(super) const DEFAULT_ISSUER: &str = "https://auth.openai.com";
/// Codex's OAuth client id, for logins that record none.
const DEFAULT_CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
pub(super) const TOKEN_PATH: &str = "/oauth/token";
const REVOKE_PATH: &str = "/oauth/revoke";
const ISSUER_FIELD: &str = "tokens.oauth_provenance.issuer";
const DEFAULT_CHATGPT: &str = "https://chatgpt.com/backend-api";
const CHATGPT_KEY: &str = "chatgpt_base_url";

/// An address that may receive a token: `https`, or `http` on this machine.
///
/// Equal endpoints have equal URLs, query included. `Display` and `Debug` show host and path only, which keeps the
/// query of an override out of messages and records. Clones are cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Arc<Address>);

impl Endpoint {
    /// Returns where tokens of `provenance` are refreshed: `CODEX_REFRESH_TOKEN_URL_OVERRIDE`, else their issuer, else
    /// OpenAI.
    ///
    /// # Errors
    /// [`EndpointError`]: that address must not receive a token. No other is tried instead.
    pub fn refresh(environment: &Environment, provenance: &Provenance) -> Result<Self, EndpointError> {
        match &environment.network.refresh_url {
            Some(setting) => parse_setting(setting).map(Arc::new).map(Self),
            None => Self::from_issuer(provenance, TOKEN_PATH),
        }
    }

    /// Returns where tokens of `provenance` are revoked: `CODEX_REVOKE_TOKEN_URL_OVERRIDE`, else `/oauth/revoke` on the
    /// host of `CODEX_REFRESH_TOKEN_URL_OVERRIDE`, else their issuer, else OpenAI.
    ///
    /// # Errors
    /// [`EndpointError`]: that address must not receive a token. No other is tried instead.
    pub fn revoke(environment: &Environment, provenance: &Provenance) -> Result<Self, EndpointError> {
        let network = &environment.network;
        match (&network.revoke_url, &network.refresh_url) {
            (Some(setting), _) => parse_setting(setting).map(Arc::new).map(Self),
            (None, Some(setting)) => Ok(Self(Arc::new(parse_setting(setting)?.with_path(REVOKE_PATH)))),
            (None, None) => Self::from_issuer(provenance, REVOKE_PATH),
        }
    }

    /// Whether it is on this machine, for which no proxy is used.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Returns the host; empty if there is none.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    pub(super) fn address(&self) -> &Address {
        &self.0
    }

    fn from_issuer(provenance: &Provenance, path: &str) -> Result<Self, EndpointError> {
        let issuer = provenance.issuer.as_deref().unwrap_or(DEFAULT_ISSUER);
        Ok(Self::below(&parse(ISSUER_FIELD, issuer)?, path))
    }

    /// Returns the address at `path` below `base`, which may have a path itself, as tenants do.
    pub(super) fn below(base: &Address, path: &str) -> Self {
        Self(Arc::new(base.with_path(&format!("{}{path}", base.path().trim_end_matches('/')))))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// Returns the OAuth client id for tokens of `provenance`: the recorded one, else Codex's.
#[must_use]
pub fn client_id(provenance: &Provenance) -> &str {
    provenance.client_id.as_deref().unwrap_or(DEFAULT_CLIENT_ID)
}

/// An address that must not receive a token. Nothing was sent to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}; it must be an https address, or an http address on this machine")]
#[non_exhaustive]
pub struct EndpointError {
    /// The variable, option or document field that names it.
    pub name: &'static str,
    /// The problem.
    pub problem: EndpointProblem,
}

/// Why an address must not receive a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointProblem {
    /// It contains a user name or password, which would appear wherever the address is shown.
    #[error("contains a user name or password")]
    Credentials,
    /// It is not a URL with a host.
    #[error("is not an address")]
    NotAnAddress,
    /// It is `http` on another machine.
    #[error("would send tokens to {host} unencrypted")]
    Plain {
        /// The machine.
        host: String,
    },
    /// It is neither `https` nor `http`.
    #[error("is not an http or https address")]
    Scheme,
}

pub(super) fn parse_setting(setting: &NetworkSetting) -> Result<Address, EndpointError> {
    let Some(text) = setting.value.to_str() else {
        return Err(EndpointError { name: setting.variable, problem: EndpointProblem::NotAnAddress });
    };
    parse(setting.variable, text)
}

pub(super) fn parse(name: &'static str, text: &str) -> Result<Address, EndpointError> {
    let refuse = |problem| Err(EndpointError { name, problem });
    let Some(address) = Address::parse(text) else { return refuse(EndpointProblem::NotAnAddress) };
    let Some(host) = address.host() else { return refuse(EndpointProblem::NotAnAddress) };
    if address.has_credentials() {
        return refuse(EndpointProblem::Credentials);
    }
    match address.scheme() {
        "https" => {}
        "http" if is_loopback(&address) => {}
        "http" => return refuse(EndpointProblem::Plain { host: host.to_owned() }),
        _ => return refuse(EndpointProblem::Scheme),
    }
    Ok(address)
}

/// Returns the address of the ChatGPT service: `base`, the `chatgpt_base_url` of `config.toml`, else OpenAI's.
pub(super) fn chatgpt_base(base: Option<&str>) -> Result<Address, EndpointError> {
    parse(CHATGPT_KEY, base.unwrap_or(DEFAULT_CHATGPT))
}

/// Whether `address` is `localhost`, in 127.0.0.0/8, or `::1`. No name is looked up.
fn is_loopback(address: &Address) -> bool {
    let Some(host) = address.host() else { return false };
    host == LOCALHOST
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The only name that counts as this machine; the client does not look it up either.
pub(super) const LOCALHOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let value = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        Environment::read(|name| if name == "CODEX_HOME" { Some("/place".into()) } else { value(name) })
            .unwrap()
    }

    const REFRESH: &str = "CODEX_REFRESH_TOKEN_URL_OVERRIDE";
    const REVOKE: &str = "CODEX_REVOKE_TOKEN_URL_OVERRIDE";

    fn issued_by(issuer: &str) -> Provenance {
        Provenance { issuer: Some(issuer.to_owned()), client_id: None }
    }

    #[test]
    fn the_variable_overrides_the_issuer_and_the_issuer_overrides_openai() {
        let default = Provenance::default();
        let other = issued_by("https://issuer.example/tenant/");
        for (pairs, provenance, refresh, revoke) in [
            (&[][..], &default, "auth.openai.com/oauth/token", "auth.openai.com/oauth/revoke"),
            (&[], &other, "issuer.example/tenant/oauth/token", "issuer.example/tenant/oauth/revoke"),
            (&[(REFRESH, "")], &default, "auth.openai.com/oauth/token", "auth.openai.com/oauth/revoke"),
            (&[(REVOKE, "https://r.example/x")], &other, "issuer.example/tenant/oauth/token", "r.example/x"),
            (
                &[(REFRESH, "https://t.example:8443/t"), (REVOKE, "https://r.example/x")],
                &other,
                "t.example:8443/t",
                "r.example/x",
            ),
        ] {
            let environment = environment(pairs);
            assert_eq!(
                Endpoint::refresh(&environment, provenance).unwrap().to_string(),
                refresh,
                "{pairs:?}"
            );
            assert_eq!(Endpoint::revoke(&environment, provenance).unwrap().to_string(), revoke, "{pairs:?}");
        }
    }

    #[test]
    fn derives_revoke_url_from_refresh_token_override() {
        let environment = environment(&[(REFRESH, "http://127.0.0.1:8080/oauth/token?marked=1")]);
        let endpoint = Endpoint::revoke(&environment, &Provenance::default()).unwrap();
        assert_eq!(endpoint.address().to_string(), "http://127.0.0.1:8080/oauth/revoke");
    }

    #[test]
    fn the_query_of_an_override_is_sent_and_never_shown() {
        let environment = environment(&[(REFRESH, "https://t.example/t?marked=1#part")]);
        let endpoint = Endpoint::refresh(&environment, &Provenance::default()).unwrap();
        assert_eq!(endpoint.address().to_string(), "https://t.example/t?marked=1");
        assert_eq!(format!("{endpoint} {endpoint:?}"), "t.example/t Endpoint(t.example/t)");
    }

    #[test]
    fn plain_http_is_allowed_to_this_machine_only() {
        for (url, here) in [
            ("http://127.0.0.1:1/t", true),
            ("http://127.9.9.9/t", true),
            ("http://127.1/t", true),
            ("http://[::1]:1/t", true),
            ("http://localhost:1/t", true),
            ("http://LOCALHOST/t", true),
            ("http://0.0.0.0/t", false),
            ("http://10.0.0.1/t", false),
            ("http://[::ffff:127.0.0.1]/t", false),
            ("http://localhost.evil.example/t", false),
            ("http://127.0.0.1.evil.example/t", false),
            ("http://evil.example/127.0.0.1", false),
        ] {
            let endpoint = Endpoint::refresh(&environment(&[(REFRESH, url)]), &Provenance::default());
            match endpoint {
                Ok(endpoint) => assert!(here && endpoint.is_loopback(), "{url}"),
                Err(error) => {
                    assert!(
                        !here && matches!(error.problem, EndpointProblem::Plain { .. }),
                        "{url}: {error}"
                    );
                }
            }
            let issuer = url.strip_suffix("/t").unwrap_or(url);
            assert_eq!(Endpoint::revoke(&environment(&[]), &issued_by(issuer)).is_ok(), here, "{issuer}");
        }
    }

    #[test]
    fn a_refused_address_is_described_and_not_shown() {
        for (url, problem) in [
            ("marked", EndpointProblem::NotAnAddress),
            ("  ", EndpointProblem::NotAnAddress),
            ("https://", EndpointProblem::NotAnAddress),
            ("file:///marked", EndpointProblem::NotAnAddress),
            ("ftp://example/marked", EndpointProblem::Scheme),
            ("https://marked@example/t", EndpointProblem::Credentials),
            ("https://:marked@example/t", EndpointProblem::Credentials),
            ("http://marked:marked@127.0.0.1/t", EndpointProblem::Credentials),
        ] {
            let error =
                Endpoint::refresh(&environment(&[(REFRESH, url)]), &Provenance::default()).unwrap_err();
            assert_eq!((error.name, &error.problem), (REFRESH, &problem), "{url}");
            assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
        }
        let error = Endpoint::refresh(&environment(&[]), &issued_by("http://evil.example")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tokens.oauth_provenance.issuer would send tokens to evil.example unencrypted; \
             it must be an https address, or an http address on this machine"
        );
    }

    #[test]
    fn the_client_id_is_the_recorded_one_or_codexs() {
        assert_eq!(client_id(&Provenance::default()), "app_EMoamEEZ73f0CkXaXp7hrann");
        let provenance = Provenance { issuer: None, client_id: Some("app_other".to_owned()) };
        assert_eq!(client_id(&provenance), "app_other");
    }
}
