//! Creates documents from new tokens: of a login, of a host application, and of a refresh.

use jiff::Timestamp;

use super::auth_document::{API_KEY, AUTH_MODE, AuthDocument, LAST_REFRESH, TOKENS};
use super::error::Error;
use super::json::{Fields, Json};
use super::mode::AuthMode;
use super::tokens::Provenance;
use crate::claims::{self, Claims, PlanType};
use crate::secret::Secret;

/// The result of a ChatGPT login.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers construct it, and a document needs every field")]
pub struct NewLogin {
    /// A JWT that identifies the owner.
    pub id_token: Secret,
    /// The bearer token of requests.
    pub access_token: Secret,
    /// The token that the first refresh spends.
    pub refresh_token: Secret,
    /// The API key that the login obtained, if any.
    pub api_key: Option<Secret>,
    /// The authority that issued the tokens, and the client they were issued to.
    pub provenance: Provenance,
    /// Random text that identifies this login.
    pub login_id: String,
}

/// The tokens that a host application provides.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers construct it")]
pub struct ExternalLogin {
    /// The bearer token of requests; a JWT that identifies the owner.
    pub access_token: Secret,
    /// The workspace.
    pub account_id: String,
    /// The subscription, if the host overrides the claim of the token.
    pub plan: Option<PlanType>,
}

/// The tokens in the answer to a refresh. A token that the authority left out stays as it was.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a token endpoint answers with these three")]
pub struct NewTokens {
    /// A new `id_token`.
    pub id_token: Option<Secret>,
    /// A new access token.
    pub access_token: Option<Secret>,
    /// A new refresh token.
    pub refresh_token: Option<Secret>,
}

impl AuthDocument {
    /// Creates the document of `login`, received at `now`, with the fields of Codex in their order.
    ///
    /// # Errors
    /// [`Error::Field`]: the `id_token` is not a JWT, so Codex could not read the document.
    pub fn with_chatgpt_login(login: &NewLogin, now: Timestamp) -> Result<Self, Error> {
        let unreadable = |_| Error::Field { name: "tokens.id_token", expected: "a JWT" };
        let claims = Claims::read(&login.id_token).map_err(unreadable)?;
        let mut provenance = Fields::default();
        provenance.set("issuer", login.provenance.issuer.as_deref());
        provenance.set("client_id", login.provenance.client_id.as_deref());
        let mut tokens = Fields::default();
        tokens.set("id_token", login.id_token.expose());
        tokens.set("access_token", login.access_token.expose());
        tokens.set("refresh_token", login.refresh_token.expose());
        tokens.set("oauth_provenance", provenance);
        tokens.set("login_owner_id", login.login_id.as_str());
        tokens.set("account_id", claims.account_id.as_deref());
        let mut fields = Fields::default();
        fields.set(AUTH_MODE, AuthMode::ChatGpt.as_str());
        fields.set(API_KEY, login.api_key.as_ref().map(Secret::expose));
        fields.set(TOKENS, tokens);
        fields.set(LAST_REFRESH, format!("{now:.9}").as_str());
        Self::from_fields(fields)
    }

    /// Creates a token-only document, as Codex keeps one in memory: the access token is the `id_token` too, and there is no
    /// refresh token.
    ///
    /// # Errors
    /// [`claims::Error`]: the access token is not a JWT.
    pub fn with_external_login(login: &ExternalLogin, now: Timestamp) -> Result<Self, claims::Error> {
        let claims = Claims::read(&login.access_token)?;
        let mut tokens = Fields::default();
        tokens.set("id_token", login.access_token.expose());
        tokens.set("access_token", login.access_token.expose());
        tokens.set("refresh_token", "");
        tokens.set("account_id", login.account_id.as_str());
        let mut fields = Fields::default();
        fields.set(AUTH_MODE, AuthMode::ChatGptAuthTokens.as_str());
        fields.set(API_KEY, Json::Null);
        fields.set(TOKENS, tokens);
        fields.set(LAST_REFRESH, now.to_string().as_str());
        // Every field has its right type, so this does not fail.
        let mut document = Self::from_fields(fields).map_err(|_| claims::Error::Payload)?;
        document.claims = Claims { plan: login.plan.clone().or_else(|| claims.plan.clone()), ..claims };
        Ok(document)
    }

    /// Returns this document with `tokens`, received at `now`, merged into it. Everything else stays, including the
    /// account id.
    ///
    /// An `id_token` that cannot be decoded is left out, because Codex could not read a document with it.
    ///
    /// # Errors
    /// [`Error::Field`]: the document has no `tokens` to merge into.
    pub fn with_new_tokens(&self, tokens: &NewTokens, now: Timestamp) -> Result<Self, Error> {
        let mut fields = self.fields.clone();
        let stored = fields.object_mut(TOKENS).ok_or(Error::Field { name: TOKENS, expected: "an object" })?;
        let id_token = tokens.id_token.as_ref().filter(|token| Claims::read(token).is_ok());
        for (key, token) in [
            ("id_token", id_token),
            ("access_token", tokens.access_token.as_ref()),
            ("refresh_token", tokens.refresh_token.as_ref()),
        ] {
            if let Some(token) = token {
                stored.set(key, token.expose());
            }
        }
        // The lifetime of the access token is counted from this time.
        if tokens.access_token.is_some() {
            fields.set(LAST_REFRESH, format!("{now:.9}").as_str());
        }
        Self::from_fields(fields)
    }
}
