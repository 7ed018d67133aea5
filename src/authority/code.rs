//! The exchange of a code for tokens, and of an id token for an API key.

use std::time::Duration;

use super::Authority;
use super::endpoint::client_id;
use super::error::MissingResponse;
use super::issuer::Issuer;
use super::request::{LoginRequest, RequestBody, RequestError};
use super::token::{InvalidTokenResponse, TokenResponse};
use crate::secret::Secret;

/// How long either exchange may take.
const WITHIN: Duration = Duration::from_secs(30);
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// What a person's consent has brought, and the proof that it was brought to us.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the fields of one request; another would be another request")]
pub struct Authorization {
    /// The code, good for one use.
    pub code: Secret,
    /// What the challenge was made of.
    pub verifier: Secret,
    /// Where the code was brought.
    pub redirect_uri: String,
}

/// All the tokens of a new login. `Debug` shows fingerprints.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FirstTokens {
    /// Says who the owner is; a JWT, or what should be one.
    pub id_token: Secret,
    /// What requests carry.
    pub access_token: Secret,
    /// What the first refresh spends.
    pub refresh_token: Secret,
}

impl Authority {
    /// Exchanges a code for tokens at `issuer`, once: a code is good for one use. [`FirstTokens::of`] says whether the
    /// response has every token that a login needs; those that it has were issued, and are kept or revoked.
    ///
    /// A future that is dropped before its end drops the response: the tokens then stay live at the authority.
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
        let endpoint = &issuer.token();
        let secret = authorization.code.clone();
        let request = LoginRequest { endpoint, content: RequestBody::Form(&fields), secret, within: WITHIN };
        let body = request.body(self).await?;
        TokenResponse::from_json(&body)
            .map_err(|error| request.unanswered(MissingResponse::Undecodable(error)))
    }

    /// Gets the API key that belongs to an account, as Codex does behind a login by browser.
    ///
    /// # Errors
    /// [`RequestError`]: not every account has one.
    pub async fn api_key(&self, issuer: &Issuer, id_token: &Secret) -> Result<Secret, RequestError> {
        let provenance = issuer.provenance();
        let fields = [
            ("grant_type", TOKEN_EXCHANGE),
            ("client_id", client_id(&provenance)),
            ("requested_token", "openai-api-key"),
            ("subject_token", id_token.expose()),
            ("subject_token_type", ID_TOKEN),
        ];
        let (endpoint, secret) = (&issuer.token(), id_token.clone());
        let request = LoginRequest { endpoint, content: RequestBody::Form(&fields), secret, within: WITHIN };
        let body = request.body(self).await?;
        TokenResponse::from_json(&body)
            .and_then(|response| present(response.access_token, "access_token"))
            .map_err(|error| request.unanswered(MissingResponse::Undecodable(error)))
    }
}

impl FirstTokens {
    /// Takes all three tokens from the `response` of `issuer`.
    ///
    /// # Errors
    /// [`RequestError::Unanswered`] with [`MissingResponse::Undecodable`]: one of them is missing.
    pub fn of(issuer: &Issuer, response: TokenResponse) -> Result<Self, RequestError> {
        let complete = || {
            Ok(Self {
                id_token: present(response.id_token, "id_token")?,
                access_token: present(response.access_token, "access_token")?,
                refresh_token: present(response.refresh_token, "refresh_token")?,
            })
        };
        complete().map_err(|error| RequestError::Unanswered {
            endpoint: issuer.token(),
            cause: MissingResponse::Undecodable(error),
        })
    }
}

fn present(token: Option<Secret>, name: &'static str) -> Result<Secret, InvalidTokenResponse> {
    token.ok_or(InvalidTokenResponse::Missing { name })
}
