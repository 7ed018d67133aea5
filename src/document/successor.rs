//! The document that follows when a refresh token was spent.

use jiff::Timestamp;
use serde_json::Value;

use super::json::wipe;
use super::{AuthDocument, Error, LAST_REFRESH, TOKENS};
use crate::claims::Claims;
use crate::secret::Secret;

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
    /// Returns this document with `tokens`, received at `now`, merged into it. Everything else stays, including the
    /// account id.
    ///
    /// An `id_token` that cannot be decoded is left out, because Codex could not read a document with it.
    ///
    /// # Errors
    /// [`Error::Field`]: the document has no `tokens` to merge into.
    pub fn with_new_tokens(&self, tokens: &NewTokens, now: Timestamp) -> Result<Self, Error> {
        let mut fields = self.fields.clone();
        let Some(Value::Object(stored)) = fields.value_mut(TOKENS) else {
            return Err(Error::Field { name: TOKENS, expected: "an object" });
        };
        let id_token = tokens.id_token.as_ref().filter(|token| Claims::read(token).is_ok());
        for (key, token) in [
            ("id_token", id_token),
            ("access_token", tokens.access_token.as_ref()),
            ("refresh_token", tokens.refresh_token.as_ref()),
        ] {
            if let Some(token) = token
                && let Some(mut old) = stored.insert(key.to_owned(), token.expose().into())
            {
                wipe(&mut old);
            }
        }
        // The lifetime of the access token is counted from this time.
        if tokens.access_token.is_some() {
            fields.set(LAST_REFRESH, format!("{now:.9}").into());
        }
        Self::from_fields(fields)
    }
}
