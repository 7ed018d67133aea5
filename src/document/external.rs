//! The document of a login whose tokens a host application hands in and renews.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::Fields;
use super::{API_KEY, AUTH_MODE, AuthDocument, AuthMode, LAST_REFRESH, TOKENS};
use crate::claims::{self, Claims, PlanType};
use crate::secret::Secret;

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

impl AuthDocument {
    /// Creates a token-only document, as Codex keeps one in memory: the access token is the `id_token` too, and there
    /// is no refresh token.
    ///
    /// # Errors
    /// [`claims::Error`]: the access token is not a JWT.
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
        // Every field has its right type, so this does not fail.
        let mut document = Self::from_fields(fields).map_err(|_| claims::Error::Payload)?;
        document.claims = Claims { plan: login.plan.clone().or_else(|| claims.plan.clone()), ..claims };
        Ok(document)
    }
}
