//! The document of a login whose tokens a host application hands in and renews.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::Fields;
use super::{API_KEY, AUTH_MODE, AuthDocument, AuthMode, LAST_REFRESH, TOKENS};
use crate::claims::{self, Claims, PlanType};
use crate::secret::Secret;

/// What a host application hands in.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the makings of a login, complete as they are")]
pub struct ExternalLogin {
    /// What requests carry, and what says whose it is; a JWT.
    pub access_token: Secret,
    /// The workspace.
    pub account_id: String,
    /// What was paid for, where the host knows better than the token.
    pub plan: Option<PlanType>,
}

impl AuthDocument {
    /// A token-only login, as Codex keeps one in memory (`codex-behaviour.md` 6): the access token stands for the
    /// `id_token` too, and there is no refresh token.
    ///
    /// # Errors
    /// [`claims::Error`]: the access token is no JWT.
    pub fn with_external_login(login: &ExternalLogin, now: Timestamp) -> Result<Self, claims::Error> {
        let claims = Claims::read(&login.access_token)?;
        let token = login.access_token.expose();
        let mut fields = Fields::new();
        fields.set(AUTH_MODE, AuthMode::ChatGptAuthTokens.as_str().into());
        fields.set(API_KEY, Value::Null);
        fields.set(
            TOKENS,
            json!({
                "id_token": token,
                "access_token": token,
                "refresh_token": "",
                "account_id": login.account_id,
            }),
        );
        fields.set(LAST_REFRESH, now.to_string().into());
        // Every field has its type, so that nothing is left to be wrong.
        let mut document = Self::from_fields(fields).map_err(|_| claims::Error::Payload)?;
        document.claims = Claims { plan: login.plan.clone().or_else(|| claims.plan.clone()), ..claims };
        Ok(document)
    }
}
