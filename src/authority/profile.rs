//! Whose a personal access token is, by the authority's word.

use std::time::Duration;

use serde::Deserialize;

use super::Authority;
use super::endpoint::{Endpoint, EndpointError, of_setting, parse};
use super::error::MissingResponse;
use super::request::{LoginRequest, RequestBody, RequestError};
use super::token::InvalidTokenResponse;
use crate::config::Environment;
use crate::secret::Secret;

/// How long the look-up may take.
const WITHIN: Duration = Duration::from_secs(30);
/// Where Codex 0.169 looks personal access tokens up (`codex-behaviour.md` 2.3).
const DEFAULT_AUTHAPI: &str = "https://auth.openai.com/api/accounts";
const WHOAMI_PATH: &str = "/v1/user-auth-credential/whoami";

/// Whose a token is. What the authority leaves out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The owner's e-mail address.
    pub email: Option<String>,
    /// The person.
    pub user_id: Option<String>,
    /// The workspace that the token acts for.
    pub account_id: Option<String>,
    /// The subscription.
    pub plan: Option<String>,
}

impl Endpoint {
    /// Where personal access tokens are looked up: below `CODEX_AUTHAPI_BASE_URL`, else at OpenAI.
    ///
    /// # Errors
    /// [`EndpointError`]: the one that is named must not be given a token. No other is tried in its place.
    pub fn whoami(environment: &Environment) -> Result<Self, EndpointError> {
        let base = match &environment.network.authapi_url {
            Some(setting) => of_setting(setting)?,
            None => parse("the default address", DEFAULT_AUTHAPI)?,
        };
        Ok(Self::below(base, WHOAMI_PATH))
    }
}

impl Authority {
    /// Asks whose `token` is.
    ///
    /// # Errors
    /// [`RequestError`]; a token that is worth nothing is refused with 401.
    pub async fn whoami(&self, endpoint: &Endpoint, token: &Secret) -> Result<Profile, RequestError> {
        let content = RequestBody::Get(Some(token));
        let request = LoginRequest { endpoint, content, secret: token.clone(), within: WITHIN };
        let body = request.body(self).await?;
        // The parser's own message quotes what it found.
        let answer: ProfileResponse = serde_json::from_slice(&body).map_err(|_| {
            request.unanswered(MissingResponse::Undecodable(InvalidTokenResponse::NotAnObject))
        })?;
        Ok(Profile {
            email: present(answer.email),
            user_id: present(answer.chatgpt_user_id),
            account_id: present(answer.chatgpt_account_id),
            plan: present(answer.chatgpt_plan_type),
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

/// Fit for one line of a terminal; an empty text is none.
pub(super) fn present(text: Option<String>) -> Option<String> {
    text.map(|text| text.chars().filter(|letter| !letter.is_control()).collect::<String>())
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_looked_up_where_codex_looks_it_up() {
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
