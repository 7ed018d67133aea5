//! Reads the owner and the lifetime from the payload of a JWT, without verifying the signature.
//!
//! As in Codex, a token must have three dot-separated parts, the payload is base64url without padding, and every claim
//! is optional. Nothing read here is proof: only the authority decides whether a token is valid.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The claim that holds the claims of ChatGPT.
pub(crate) const AUTH: &str = "https://api.openai.com/auth";
const PROFILE: &str = "https://api.openai.com/profile";

/// The claims of a token about its owner and lifetime. A claim that is absent or has another type is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// The owner's e-mail address, from the top level or else the profile claim.
    pub email: Option<String>,
    /// The owner's subscription.
    pub plan: Option<PlanType>,
    /// The user, as opposed to the workspace.
    pub user_id: Option<String>,
    /// The workspace that the token acts for.
    pub account_id: Option<String>,
    /// When the token expires. Only an integer is read, as Codex 0.169 does.
    pub expires_at: Option<Timestamp>,
    /// When the authority issued the token, by the authority's clock.
    pub issued_at: Option<Timestamp>,
}

impl Claims {
    /// Reads the payload of `token`.
    ///
    /// # Errors
    /// [`Error`] names the unreadable part; it contains nothing of the token.
    pub fn read(token: &Secret) -> Result<Self, Error> {
        let mut parts = token.expose().split('.');
        let (Some(header), Some(payload), Some(signature)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Parts);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Error::Parts);
        }
        let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).map_err(|_| Error::Encoding)?);
        let Ok(Value::Object(payload)) = serde_json::from_slice(&payload) else {
            return Err(Error::Payload);
        };
        Ok(Self::from_payload(&payload))
    }

    fn from_payload(payload: &Map<String, Value>) -> Self {
        let within = |claim: &str, key: &str| non_empty_text(payload.get(claim)?.get(key)?);
        Self {
            email: payload.get("email").and_then(non_empty_text).or_else(|| within(PROFILE, "email")),
            plan: within(AUTH, "chatgpt_plan_type").map(|name| PlanType::from_name(&name)),
            user_id: within(AUTH, "chatgpt_user_id").or_else(|| within(AUTH, "user_id")),
            account_id: within(AUTH, "chatgpt_account_id"),
            expires_at: payload.get("exp").and_then(timestamp),
            issued_at: payload.get("iat").and_then(timestamp),
        }
    }
}

/// A subscription, by the name that Codex shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanType(String);

impl PlanType {
    /// Returns the plan called `name`. Two old spellings are translated; an unknown name is kept.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(
            match name {
                "hc" => "enterprise",
                "education" => "edu",
                other => other,
            }
            .to_owned(),
        )
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a readable JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer than three parts, or an empty one.
    #[error("it does not have three parts separated by dots")]
    Parts,
    /// The payload is not base64url without padding.
    #[error("its payload is not base64url")]
    Encoding,
    /// The payload is not a JSON object.
    #[error("its payload is not a JSON object")]
    Payload,
}

fn non_empty_text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Reads whole seconds since 1970; returns `None` outside the range of [`Timestamp`].
fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(payload: &Value) -> Secret {
        Secret::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string())))
    }

    #[test]
    fn every_claim_is_read() {
        let claims = Claims::read(&token(&json!({
            "email": "ada@example.com", "exp": 1_800_000_000, "iat": 1_799_000_000,
            AUTH: {"chatgpt_plan_type": "hc", "chatgpt_user_id": "user-1", "chatgpt_account_id": "acct-1"},
        })))
        .unwrap();
        assert_eq!(claims.email.as_deref(), Some("ada@example.com"));
        assert_eq!(claims.plan.as_ref().map(PlanType::as_str), Some("enterprise"));
        assert_eq!(claims.user_id.as_deref(), Some("user-1"));
        assert_eq!(claims.account_id.as_deref(), Some("acct-1"));
        assert_eq!(claims.expires_at.map(Timestamp::as_second), Some(1_800_000_000));
        assert_eq!(claims.issued_at.map(Timestamp::as_second), Some(1_799_000_000));
    }

    #[test]
    fn alternative_claims_are_read_when_the_first_are_absent() {
        let claims = Claims::read(&token(&json!({
            PROFILE: {"email": "ada@example.com"}, AUTH: {"user_id": "user-2", "chatgpt_plan_type": "future"},
        })))
        .unwrap();
        assert_eq!(claims.email.as_deref(), Some("ada@example.com"));
        assert_eq!(claims.user_id.as_deref(), Some("user-2"));
        assert_eq!(claims.plan.as_ref().map(PlanType::as_str), Some("future"));
    }

    #[test]
    fn an_expiry_that_is_not_an_integer_in_range_is_none() {
        for exp in
            [json!(1.8e9), json!("1800000000"), json!(null), json!(i64::MAX), json!(u64::MAX), json!([1])]
        {
            let claims = Claims::read(&token(&json!({ "exp": exp.clone() }))).unwrap();
            assert_eq!(claims.expires_at, None, "{exp}");
        }
    }

    #[test]
    fn an_error_names_the_unreadable_part_and_shows_nothing_of_the_token() {
        for (text, error) in [
            ("", Error::Parts),
            ("marked", Error::Parts),
            ("marked.marked", Error::Parts),
            ("a..c", Error::Parts),
            ("a.b.", Error::Parts),
            ("a.@@@.c", Error::Encoding),
            ("a.e30=.c", Error::Encoding),
            ("a.bWFya2Vk.c", Error::Payload),
            ("a.W10.c", Error::Payload),
        ] {
            assert_eq!(Claims::read(&Secret::from(text)), Err(error), "{text}");
            assert!(!error.to_string().contains("marked"));
        }
    }

    #[test]
    fn parts_beyond_the_third_are_ignored() {
        assert!(Claims::read(&Secret::from("a.e30.c.d.e")).is_ok());
    }
}
