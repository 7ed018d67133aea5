//! The authority that a login is made at, and the addresses that a login needs there.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;

use super::endpoint::{DEFAULT_ISSUER, Endpoint, EndpointError, TOKEN_PATH, client_id, of_setting, parse};
use crate::config::Environment;
use crate::document::Provenance;

/// What Codex 0.169 asks for (`codex-blackbox.md` 6).
const SCOPE: &str = "openid profile email offline_access api.connectors.read api.connectors.invoke";
const ORIGINATOR: &str = "codex_cli_rs";

/// An authority by the address that its endpoints begin with: `https`, or `http` to this very machine.
///
/// `Display` shows host and path. Cloning it is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Issuer(Arc<Url>);

impl Issuer {
    /// The authority of new logins: that of `CODEX_APP_SERVER_LOGIN_ISSUER`, else OpenAI.
    ///
    /// # Errors
    /// [`EndpointError`]: the one that is named must not be given a token. No other is tried in its place.
    pub fn of(environment: &Environment) -> Result<Self, EndpointError> {
        match &environment.network.login_issuer {
            Some(setting) => of_setting(setting).map(Self::at),
            None => Self::named("the default issuer", DEFAULT_ISSUER),
        }
    }

    /// The authority at `address`, which stands in `name`: an option, a variable or a field.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn named(name: &'static str, address: &str) -> Result<Self, EndpointError> {
        parse(name, address).map(Self::at)
    }

    fn at(mut url: Url) -> Self {
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        url.set_query(None);
        Self(Arc::new(url))
    }

    /// What a document that comes from here says of its origin.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        let issuer = self.0.as_str().trim_end_matches('/').to_owned();
        let client_id = client_id(&Provenance::default()).to_owned();
        Provenance::new(Some(issuer), Some(client_id))
    }

    /// Where a browser begins a login, as Codex 0.169 begins one (`codex-blackbox.md` 6). In it are the challenge of
    /// the code and the state, which are made to be seen, and nothing that is worth anything by itself.
    #[must_use]
    pub fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> String {
        let mut url = Endpoint::below((*self.0).clone(), "/oauth/authorize").url().clone();
        let provenance = self.provenance();
        let mut query = url.query_pairs_mut();
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
            .append_pair("originator", ORIGINATOR);
        if !request.workspaces.is_empty() {
            query.append_pair("allowed_workspace_id", &request.workspaces.join(","));
        }
        drop(query);
        url.into()
    }

    /// Where a person types the code of a device.
    #[must_use]
    pub fn device_page(&self) -> String {
        self.endpoint("/codex/device").url().to_string()
    }

    /// Where the authority says that the codes of devices come back to.
    pub(super) fn device_redirect(&self) -> String {
        self.endpoint("/deviceauth/callback").url().to_string()
    }

    pub(super) fn token(&self) -> Endpoint {
        self.endpoint(TOKEN_PATH)
    }

    pub(super) fn endpoint(&self, path: &str) -> Endpoint {
        Endpoint::below((*self.0).clone(), path)
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

/// What the beginning of a login tells the authority.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the fields of one request; another would be another request")]
pub struct AuthorizeRequest<'a> {
    /// Where the browser brings the code.
    pub redirect_uri: &'a str,
    /// The S256 challenge that the verifier of the exchange fits.
    pub challenge: &'a str,
    /// What the browser must bring back with the code.
    pub state: &'a str,
    /// The workspaces that the login may be for; any where there are none.
    pub workspaces: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(address: &str) -> Issuer {
        Issuer::named("--issuer", address).unwrap()
    }

    fn request<'a>(workspaces: &'a [String]) -> AuthorizeRequest<'a> {
        let redirect_uri = "http://127.0.0.1:1455/auth/callback";
        AuthorizeRequest { redirect_uri, challenge: "challenge", state: "state", workspaces }
    }

    #[test]
    fn a_login_begins_as_codex_begins_it() {
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
    fn an_issuer_is_written_down_without_a_slash_at_its_end() {
        for (address, written, device) in [
            ("https://a.example", "https://a.example", "https://a.example/codex/device"),
            ("https://a.example/t/?q=1", "https://a.example/t", "https://a.example/t/codex/device"),
        ] {
            assert_eq!(issuer(address).provenance().issuer.as_deref(), Some(written));
            assert_eq!(issuer(address).device_page(), device);
            assert_eq!(format!("https://{}", issuer(address)), written);
        }
        assert!(Issuer::named("--issuer", "http://a.example").is_err());
    }
}
