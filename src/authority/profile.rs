//! The look-up of the owner of a personal access token.

use std::time::Duration;

use serde::Deserialize;

use super::Authority;
use super::endpoint::{Endpoint, EndpointError, parse, parse_setting};
use super::error::MissingResponse;
use super::request::{Bearer, LoginRequest, RequestBody, RequestError};
use super::token::InvalidTokenResponse;
use crate::config::Environment;
use crate::redaction::printable;
use crate::secret::Secret;

/// The timeout of the look-up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The base address at which Codex 0.169 looks up personal access tokens.
const DEFAULT_AUTHAPI: &str = "https://auth.openai.com/api/accounts";
const WHOAMI_PATH: &str = "/v1/user-auth-credential/whoami";

/// The owner of a token. What the authority leaves out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The owner's e-mail address.
    pub email: Option<String>,
    /// The user id.
    pub user_id: Option<String>,
    /// The workspace that the token acts for.
    pub account_id: Option<String>,
    /// The subscription.
    pub plan: Option<String>,
}

impl Endpoint {
    /// Returns where personal access tokens are looked up: below `CODEX_AUTHAPI_BASE_URL`, else at OpenAI.
    ///
    /// # Errors
    /// [`EndpointError`]: the variable's address must not receive a token. The default is not tried instead.
    pub fn whoami(environment: &Environment) -> Result<Self, EndpointError> {
        let base = match &environment.network.authapi_url {
            Some(setting) => parse_setting(setting)?,
            None => parse("the default address", DEFAULT_AUTHAPI)?,
        };
        Ok(Self::below(&base, WHOAMI_PATH))
    }
}

impl Authority {
    /// Looks up the owner of `token`.
    ///
    /// # Errors
    /// [`RequestError`]; an invalid token is refused with 401.
    pub async fn whoami(&self, endpoint: &Endpoint, token: &Secret) -> Result<Profile, RequestError> {
        let content = RequestBody::Get(Some(Bearer { token, account_id: None }));
        let request =
            LoginRequest { endpoint, body: content, redacted: token.clone(), timeout: REQUEST_TIMEOUT };
        let body = request.fetch(self).await?;
        // The parser's message quotes the input.
        let answer: ProfileResponse = serde_json::from_slice(&body).map_err(|_| {
            request.unanswered(MissingResponse::Undecodable(InvalidTokenResponse::NotAnObject))
        })?;
        Ok(Profile {
            email: single_line(answer.email),
            user_id: single_line(answer.chatgpt_user_id),
            account_id: single_line(answer.chatgpt_account_id),
            plan: single_line(answer.chatgpt_plan_type),
        })
    }
}

#[derive(Deserialize)]
struct ProfileResponse {
    email: Option<String>,
    chatgpt_user_id: Option<String>,
    chatgpt_account_id: Option<String>,
    chatgpt_plan_type: Option<String>,
}

/// Removes control characters; an empty string becomes `None`.
pub(super) fn single_line(text: Option<String>) -> Option<String> {
    text.map(|text| printable(&text, usize::MAX)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_looked_up_at_codexs_address() {
        let environment = |base: Option<&'static str>| {
            Environment::read(|name| match name {
                "CODEX_HOME" => Some("/place".into()),
                "CODEX_AUTHAPI_BASE_URL" => base.map(Into::into),
                _ => None,
            })
            .unwrap()
        };
        let at = |base| Endpoint::whoami(&environment(base)).map(|endpoint| endpoint.to_string());
        let path = "v1/user-auth-credential/whoami";
        assert_eq!(at(None).unwrap(), format!("auth.openai.com/api/accounts/{path}"));
        assert_eq!(at(Some("http://127.0.0.1:9/")).unwrap(), format!("127.0.0.1:9/{path}"));
        assert!(at(Some("http://example.org")).is_err());
    }
}
