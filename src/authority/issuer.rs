//! The address of an authority, and the URLs that a login needs there.

use std::fmt;
use std::sync::Arc;

use form_urlencoded::Serializer;

use super::address::Address;
use super::endpoint::{DEFAULT_ISSUER, Endpoint, EndpointError, TOKEN_PATH, client_id, parse, parse_setting};
use crate::config::Environment;
use crate::document::Provenance;

/// The scope that Codex 0.169 requests.
const SCOPE: &str = "openid profile email offline_access api.connectors.read api.connectors.invoke";

/// The base address of an authority: `https`, or `http` on this machine.
///
/// `Display` shows host and path. Clones are cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Issuer(Arc<Address>);

impl Issuer {
    /// Returns the issuer for new logins: `CODEX_APP_SERVER_LOGIN_ISSUER`, else OpenAI.
    ///
    /// # Errors
    /// [`EndpointError`]: the variable's address must not receive a token. The default is not tried instead.
    pub fn from_environment(environment: &Environment) -> Result<Self, EndpointError> {
        match &environment.network.login_issuer {
            Some(setting) => parse_setting(setting).map(|address| Self::from_address(&address)),
            None => Self::parse("the default issuer", DEFAULT_ISSUER),
        }
    }

    /// Parses `address`; `name` is the option, variable or field that it comes from, for messages.
    ///
    /// # Errors
    /// As [`Self::from_environment`].
    pub fn parse(name: &'static str, address: &str) -> Result<Self, EndpointError> {
        parse(name, address).map(|address| Self::from_address(&address))
    }

    fn from_address(address: &Address) -> Self {
        Self(Arc::new(address.with_path(address.path().trim_end_matches('/'))))
    }

    /// Returns the provenance that documents from this issuer record.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        let issuer = self.0.to_string().trim_end_matches('/').to_owned();
        let client_id = client_id(&Provenance::default()).to_owned();
        Provenance::new(Some(issuer), Some(client_id))
    }

    /// Returns the URL at which a browser begins a login, with the parameters of Codex 0.169. The challenge and the
    /// state in it are not secret.
    #[must_use]
    pub fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> String {
        let provenance = self.provenance();
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id(&provenance))
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", request.state)
            .append_pair("scope", SCOPE)
            .append_pair("id_token_add_organizations", "true")
            .append_pair("codex_cli_simplified_flow", "true")
            .append_pair("originator", request.originator);
        if !request.workspaces.is_empty() {
            query.append_pair("allowed_workspace_id", &request.workspaces.join(","));
        }
        format!("{}?{}", self.endpoint("/oauth/authorize").address(), query.finish())
    }

    /// Returns the page on which the user types a device code.
    #[must_use]
    pub fn device_page(&self) -> String {
        self.endpoint("/codex/device").address().to_string()
    }

    /// The redirect URI of device logins.
    pub(super) fn device_redirect(&self) -> String {
        self.endpoint("/deviceauth/callback").address().to_string()
    }

    pub(super) fn token_endpoint(&self) -> Endpoint {
        self.endpoint(TOKEN_PATH)
    }

    pub(super) fn endpoint(&self, path: &str) -> Endpoint {
        Endpoint::below(&self.0, path)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.endpoint("").to_string().trim_end_matches('/'))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({self})")
    }
}

/// The parameters of an authorization request.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers construct it, and the request has no other fields")]
pub struct AuthorizeRequest<'a> {
    /// The address that receives the code.
    pub redirect_uri: &'a str,
    /// The S256 challenge of the PKCE verifier.
    pub challenge: &'a str,
    /// The state that must come back with the code.
    pub state: &'a str,
    /// The program that the user logs in for.
    pub originator: &'a str,
    /// The workspaces that the login may be for; empty allows any.
    pub workspaces: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(address: &str) -> Issuer {
        Issuer::parse("--issuer", address).unwrap()
    }

    fn request<'a>(workspaces: &'a [String]) -> AuthorizeRequest<'a> {
        let redirect_uri = "http://127.0.0.1:1455/auth/callback";
        AuthorizeRequest {
            redirect_uri,
            challenge: "challenge",
            state: "state",
            originator: "codex_cli_rs",
            workspaces,
        }
    }

    #[test]
    fn the_authorize_url_is_that_of_codex() {
        let url = issuer("https://auth.openai.com/").authorize_url(&request(&[]));
        assert_eq!(
            url,
            "https://auth.openai.com/oauth/authorize?response_type=code\
             &client_id=app_EMoamEEZ73f0CkXaXp7hrann\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A1455%2Fauth%2Fcallback\
             &code_challenge=challenge&code_challenge_method=S256&state=state\
             &scope=openid+profile+email+offline_access+api.connectors.read+api.connectors.invoke\
             &id_token_add_organizations=true&codex_cli_simplified_flow=true&originator=codex_cli_rs"
        );
    }

    #[test]
    fn login_server_includes_forced_workspaces_as_one_query_param() {
        let workspaces = ["ws-1".to_owned(), "ws-2".to_owned()];
        let url = issuer("https://auth.openai.com").authorize_url(&request(&workspaces));
        assert!(url.ends_with("&allowed_workspace_id=ws-1%2Cws-2"), "{url}");
    }

    #[test]
    fn an_issuer_is_recorded_without_a_trailing_slash() {
        for (address, written, device) in [
            ("https://a.example", "https://a.example", "https://a.example/codex/device"),
            ("https://a.example/t/?q=1", "https://a.example/t", "https://a.example/t/codex/device"),
        ] {
            assert_eq!(issuer(address).provenance().issuer.as_deref(), Some(written));
            assert_eq!(issuer(address).device_page(), device);
            assert_eq!(format!("https://{}", issuer(address)), written);
        }
        assert!(Issuer::parse("--issuer", "http://a.example").is_err());
    }
}
