//! The exchange of an authorization code for tokens, and of an id token for an API key.

use std::time::Duration;

use super::Authority;
use super::endpoint::{Endpoint, client_id};
use super::error::MissingResponse;
use super::issuer::Issuer;
use super::request::{LoginRequest, RequestBody, RequestError};
use super::token::{InvalidTokenResponse, TokenResponse};
use crate::secret::Secret;

/// The timeout of the exchange for tokens. A login holds the lease of its home meanwhile, for which other processes wait
/// at most a minute.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The timeout of the exchange for an API key, without which a login is complete too.
const API_KEY_TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// An authorization code, and the proof that this program requested it.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers construct it, and the request has no other fields")]
pub struct Authorization {
    /// The single-use code.
    pub code: Secret,
    /// The PKCE verifier.
    pub verifier: Secret,
    /// The redirect URI that received the code.
    pub redirect_uri: String,
}

/// The tokens of a new login. `Debug` shows fingerprints.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FirstTokens {
    /// The claims about the user: a JWT, unless the authority sent something else.
    pub id_token: Secret,
    /// The access token.
    pub access_token: Secret,
    /// The refresh token.
    pub refresh_token: Secret,
}

impl Authority {
    /// Exchanges a single-use code for tokens at `issuer`. The response may lack some of the tokens of a login, which
    /// [`FirstTokens::from_response`] checks. The caller must store or revoke those that it has.
    ///
    /// Dropping the future drops the response: its tokens stay valid, and can no longer be revoked.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn exchange(
        &self,
        issuer: &Issuer,
        authorization: &Authorization,
    ) -> Result<TokenResponse, RequestError> {
        let provenance = issuer.provenance();
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", authorization.code.expose()),
            ("redirect_uri", &authorization.redirect_uri),
            ("client_id", client_id(&provenance)),
            ("code_verifier", authorization.verifier.expose()),
        ];
        self.post_form(&issuer.token_endpoint(), &fields, &authorization.code, TOKEN_TIMEOUT).await
    }

    /// Requests the API key of an account, as Codex does after a browser login.
    ///
    /// # Errors
    /// [`RequestError`], also for accounts that have no API key.
    pub async fn api_key(&self, issuer: &Issuer, id_token: &Secret) -> Result<Secret, RequestError> {
        let provenance = issuer.provenance();
        let fields = [
            ("grant_type", TOKEN_EXCHANGE),
            ("client_id", client_id(&provenance)),
            ("requested_token", "openai-api-key"),
            ("subject_token", id_token.expose()),
            ("subject_token_type", ID_TOKEN),
        ];
        let endpoint = issuer.token_endpoint();
        let response = self.post_form(&endpoint, &fields, id_token, API_KEY_TIMEOUT).await?;
        required(response.access_token, "access_token").map_err(|error| RequestError::Unanswered {
            endpoint,
            cause: MissingResponse::Undecodable(error),
        })
    }

    async fn post_form(
        &self,
        endpoint: &Endpoint,
        fields: &[(&'static str, &str)],
        secret: &Secret,
        timeout: Duration,
    ) -> Result<TokenResponse, RequestError> {
        let (body, redacted) = (RequestBody::Form(fields), secret.clone());
        let request = LoginRequest { endpoint, body, redacted, timeout };
        TokenResponse::from_json(&request.fetch(self).await?)
            .map_err(|error| request.unanswered(MissingResponse::Undecodable(error)))
    }
}

impl FirstTokens {
    /// Takes the three tokens from the `response` of `issuer`.
    ///
    /// # Errors
    /// [`RequestError::Unanswered`] with [`MissingResponse::Undecodable`]: one of them is missing.
    pub fn from_response(issuer: &Issuer, response: TokenResponse) -> Result<Self, RequestError> {
        let complete = || {
            Ok(Self {
                id_token: required(response.id_token, "id_token")?,
                access_token: required(response.access_token, "access_token")?,
                refresh_token: required(response.refresh_token, "refresh_token")?,
            })
        };
        complete().map_err(|error| RequestError::Unanswered {
            endpoint: issuer.token_endpoint(),
            cause: MissingResponse::Undecodable(error),
        })
    }
}

fn required(token: Option<Secret>, name: &'static str) -> Result<Secret, InvalidTokenResponse> {
    token.ok_or(InvalidTokenResponse::Missing { name })
}
