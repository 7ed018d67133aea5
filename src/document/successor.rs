//! The document that follows when a refresh token was spent.

use jiff::Timestamp;
use serde_json::Value;

use super::json::wipe;
use super::{AuthDocument, Error, LAST_REFRESH, TOKENS};
use crate::claims::Claims;
use crate::secret::Secret;

/// What an authority gave for a refresh token. What it left out stays as it was.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "these three are what a token endpoint can answer with")]
pub struct NewTokens {
    /// A new `id_token`.
    pub id_token: Option<Secret>,
    /// A new access token.
    pub access_token: Option<Secret>,
    /// The successor of the refresh token.
    pub refresh_token: Option<Secret>,
}

impl AuthDocument {
    /// This document with `tokens` merged into it, received at `now`. Everything else stays, the account id too.
    ///
    /// An `id_token` that cannot be decoded is left out: it would make the whole login unreadable to Codex
    /// (`codex-behaviour.md` 3.4), and the other tokens are worth more.
    ///
    /// # Errors
    /// [`Error::Field`]: the document has no `tokens` to merge into.
    pub fn with_successor(&self, tokens: &NewTokens, now: Timestamp) -> Result<Self, Error> {
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
        // It is the time of the access token, from which its life is counted.
        if tokens.access_token.is_some() {
            fields.set(LAST_REFRESH, format!("{now:.9}").into());
        }
        Self::from_fields(fields)
    }
}
