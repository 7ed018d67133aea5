//! The document of a new login, as Codex 0.169 writes one.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::json::Fields;
use super::{API_KEY, AUTH_MODE, AuthDocument, AuthMode, Error, LAST_REFRESH, Provenance, TOKENS};
use crate::claims::Claims;
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

impl AuthDocument {
    /// Creates the document of `login`, received at `now`, with the fields of Codex in their order.
    ///
    /// # Errors
    /// [`Error::Field`]: the `id_token` is not a JWT, so Codex could not read the document.
    pub fn with_chatgpt_login(login: &NewLogin, now: Timestamp) -> Result<Self, Error> {
        let unreadable = |_| Error::Field { name: "tokens.id_token", expected: "a JWT" };
        let claims = Claims::read(&login.id_token).map_err(unreadable)?;
        let mut tokens = Map::new();
        tokens.insert("id_token".to_owned(), login.id_token.expose().into());
        tokens.insert("access_token".to_owned(), login.access_token.expose().into());
        tokens.insert("refresh_token".to_owned(), login.refresh_token.expose().into());
        let Provenance { issuer, client_id } = &login.provenance;
        tokens.insert("oauth_provenance".to_owned(), json!({"issuer": issuer, "client_id": client_id}));
        tokens.insert("login_owner_id".to_owned(), login.login_id.as_str().into());
        tokens.insert("account_id".to_owned(), claims.account_id.into());
        let mut fields = Fields::new();
        fields.set(AUTH_MODE, AuthMode::ChatGpt.as_str().into());
        fields.set(API_KEY, login.api_key.as_ref().map(Secret::expose).into());
        fields.set(TOKENS, Value::Object(tokens));
        fields.set(LAST_REFRESH, format!("{now:.9}").into());
        Self::from_fields(fields)
    }
}
