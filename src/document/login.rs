//! The document of a new login, as Codex 0.169 writes one.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::json::Fields;
use super::{API_KEY, AUTH_MODE, AuthDocument, AuthMode, Error, LAST_REFRESH, Provenance, TOKENS};
use crate::claims::Claims;
use crate::secret::Secret;

/// What a ChatGPT login has brought.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what a document of that kind is made of")]
pub struct NewLogin {
    /// Says who the owner is; a JWT.
    pub id_token: Secret,
    /// What requests carry.
    pub access_token: Secret,
    /// What the first refresh spends.
    pub refresh_token: Secret,
    /// The API key that came with it, if one did.
    pub api_key: Option<Secret>,
    /// Who issued the tokens, to whom.
    pub provenance: Provenance,
    /// Names this login among all: a random text.
    pub login: String,
}

impl AuthDocument {
    /// The document of `login`, received at `now`. The fields and their order are Codex's (`codex-blackbox.md` 1).
    ///
    /// # Errors
    /// [`Error::Field`]: the `id_token` is no JWT, so Codex could not read the login.
    pub fn with_chatgpt_login(login: &NewLogin, now: Timestamp) -> Result<Self, Error> {
        let unreadable = |_| Error::Field { name: "tokens.id_token", expected: "a JWT" };
        let claims = Claims::read(&login.id_token).map_err(unreadable)?;
        let mut tokens = Map::new();
        tokens.insert("id_token".to_owned(), login.id_token.expose().into());
        tokens.insert("access_token".to_owned(), login.access_token.expose().into());
        tokens.insert("refresh_token".to_owned(), login.refresh_token.expose().into());
        let Provenance { issuer, client_id } = &login.provenance;
        tokens.insert("oauth_provenance".to_owned(), json!({"issuer": issuer, "client_id": client_id}));
        tokens.insert("login_owner_id".to_owned(), login.login.as_str().into());
        tokens.insert("account_id".to_owned(), claims.account_id.into());
        let mut fields = Fields::new();
        fields.set(AUTH_MODE, AuthMode::ChatGpt.as_str().into());
        fields.set(API_KEY, login.api_key.as_ref().map(Secret::expose).into());
        fields.set(TOKENS, Value::Object(tokens));
        fields.set(LAST_REFRESH, format!("{now:.9}").into());
        Self::from_fields(fields)
    }
}
