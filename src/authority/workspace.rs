//! The look-up of the workspace that a ChatGPT token is used for.

use std::time::Duration;

use serde::Deserialize;

use super::Authority;
use super::address::Address;
use super::endpoint::{Endpoint, EndpointError, chatgpt_base};
use super::error::MissingResponse;
use super::request::{Bearer, LoginRequest, RequestBody, RequestError};
use crate::secret::Secret;

/// The timeout of Codex 0.171.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The constraints on the routing of requests that Codex 0.171 knows.
const CONSTRAINTS: [&str; 3] = ["NO_CONSTRAINT", "us", "us_cr"];

/// A workspace, and where its requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workspace {
    /// The account id.
    pub account_id: String,
    /// The name, if it has one.
    pub name: Option<String>,
    /// The origin that serves it: `https://host`, with a port if that is not 443.
    pub backend_origin: String,
    /// The constraint on its routing: `NO_CONSTRAINT`, `us` or `us_cr`.
    pub routing_override: String,
}

impl Endpoint {
    /// Returns where the workspaces of a token are looked up: below `base`, the `chatgpt_base_url` of `config.toml`, else
    /// at OpenAI. The path depends on the base as in Codex 0.171.
    ///
    /// # Errors
    /// [`EndpointError`]: the address must not receive a token. The default is not tried instead.
    pub fn workspaces(base: Option<&str>) -> Result<Self, EndpointError> {
        let base = chatgpt_base(base)?;
        let path = match base.path().contains("/backend-api") {
            true => "/wham/accounts/check",
            false => "/api/codex/accounts/check",
        };
        Ok(Self::below(&base, path))
    }
}

impl Authority {
    /// Looks up the workspace `account_id` with `token`, which is not spent.
    ///
    /// # Errors
    /// [`WorkspaceError`]; after [`WorkspaceError::Unauthorized`] a newer token may help.
    pub async fn workspace(
        &self,
        endpoint: &Endpoint,
        token: &Secret,
        account_id: &str,
    ) -> Result<Workspace, WorkspaceError> {
        let bearer = Bearer { token, account_id: Some(account_id) };
        let body = RequestBody::Get(Some(bearer));
        let request = LoginRequest { endpoint, body, redacted: token.clone(), timeout: REQUEST_TIMEOUT };
        let body = request.fetch(self).await.map_err(WorkspaceError::of_request)?;
        // The parser's message quotes the input.
        let response: WorkspacesResponse =
            serde_json::from_slice(&body).map_err(|_| WorkspaceError::Undecodable)?;
        let mut found = response.accounts.into_iter().filter(|account| account.id == account_id);
        match (found.next(), found.next()) {
            (Some(only), None) => only.into_workspace(),
            (Some(_), Some(_)) => Err(WorkspaceError::Ambiguous),
            (None, _) => Err(WorkspaceError::NotListed),
        }
    }
}

/// Why a workspace is unknown. The messages are those of Codex 0.171, which editors may show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The service lists the workspace more than once.
    #[error("duplicate workspace in routing discovery")]
    Ambiguous,
    /// The service does not list the workspace.
    #[error("selected workspace missing from routing discovery")]
    NotListed,
    /// The address of the service must not receive a token. Nothing was sent.
    #[error("workspace routing discovery failed")]
    Endpoint(#[from] EndpointError),
    /// The origin has a user name or password, or is not `https`.
    #[error("workspace backend must use an HTTPS origin without credentials")]
    InsecureOrigin,
    /// The workspace has no origin.
    #[error("workspace routing discovery missing backend origin")]
    NoOrigin,
    /// The origin has a path, a query or a fragment.
    #[error("workspace routing discovery must return an origin")]
    NotAnOrigin,
    /// The request failed.
    #[error("workspace routing discovery failed")]
    Request(#[source] RequestError),
    /// The constraint is missing or unknown.
    #[error("workspace routing discovery has invalid account routing override")]
    RoutingOverride,
    /// There was no response in time.
    #[error("workspace routing discovery timed out")]
    TimedOut,
    /// The token was refused.
    #[error("workspace routing discovery unauthorized (401)")]
    Unauthorized,
    /// The response is not what the service sends.
    #[error("workspace routing discovery failed")]
    Undecodable,
}

impl WorkspaceError {
    fn of_request(error: RequestError) -> Self {
        match error {
            RequestError::Unanswered { cause: MissingResponse::TimedOut(_), .. } => Self::TimedOut,
            error if error.status() == Some(401) => Self::Unauthorized,
            error => Self::Request(error),
        }
    }
}

#[derive(Deserialize)]
struct WorkspacesResponse {
    accounts: Vec<ListedWorkspace>,
}

#[derive(Deserialize)]
struct ListedWorkspace {
    id: String,
    name: Option<String>,
    workspace_backend_origin: Option<String>,
    account_routing_override: Option<String>,
}

impl ListedWorkspace {
    fn into_workspace(self) -> Result<Workspace, WorkspaceError> {
        let origin = self.workspace_backend_origin.ok_or(WorkspaceError::NoOrigin)?;
        let backend_origin = https_origin(&origin)?;
        let routing_override = self
            .account_routing_override
            .filter(|constraint| CONSTRAINTS.contains(&constraint.as_str()))
            .ok_or(WorkspaceError::RoutingOverride)?;
        Ok(Workspace { account_id: self.id, name: self.name, backend_origin, routing_override })
    }
}

/// Returns `text` in its normal form, if it is an `https` origin.
fn https_origin(text: &str) -> Result<String, WorkspaceError> {
    let address = Address::parse(text).ok_or(WorkspaceError::NotAnOrigin)?;
    if address.scheme() != "https" || address.has_credentials() {
        return Err(WorkspaceError::InsecureOrigin);
    }
    let host = address.host().filter(|_| address.path() == "/" && !text.contains(['?', '#']));
    let host = host.ok_or(WorkspaceError::NotAnOrigin)?;
    Ok(address.port().map_or_else(|| format!("https://{host}"), |port| format!("https://{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_are_looked_up_at_codexs_address() {
        for (base, at) in [
            (None, "chatgpt.com/backend-api/wham/accounts/check"),
            (Some("https://a.example/backend-api/"), "a.example/backend-api/wham/accounts/check"),
            (Some("https://a.example/api/codex"), "a.example/api/codex/api/codex/accounts/check"),
            (Some("http://127.0.0.1:9"), "127.0.0.1:9/api/codex/accounts/check"),
            (Some("http://127.0.0.1:9/x"), "127.0.0.1:9/x/api/codex/accounts/check"),
        ] {
            assert_eq!(Endpoint::workspaces(base).unwrap().to_string(), at);
        }
        assert!(Endpoint::workspaces(Some("http://a.example")).is_err());
    }

    #[test]
    fn an_origin_is_https_and_has_nothing_but_a_host_and_a_port() {
        for (text, origin) in [
            ("https://us.example.com", "https://us.example.com"),
            ("https://US.example.com:443/", "https://us.example.com"),
            ("https://us.example.com:8443", "https://us.example.com:8443"),
        ] {
            assert_eq!(https_origin(text).unwrap(), origin);
        }
        for text in ["http://us.example.com", "https://u:p@us.example.com", "https://u@us.example.com"] {
            assert!(matches!(https_origin(text), Err(WorkspaceError::InsecureOrigin)), "{text}");
        }
        for text in ["https://us.example.com/path", "https://us.example.com/?x=1", "us", ""] {
            assert!(matches!(https_origin(text), Err(WorkspaceError::NotAnOrigin)), "{text}");
        }
    }
}
