//! The payload of a JWT, read to know whose it is and until when, and never verified.
//!
//! Nothing here proves anything: the authority is the only judge of a token. What is read follows the builds that
//! write these tokens (`codex-behaviour.md` 1.2): the first three dot-separated parts must be there, the payload is
//! base64url without padding, and every claim is optional.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::secret::Secret;

const AUTH: &str = "https://api.openai.com/auth";
const PROFILE: &str = "https://api.openai.com/profile";

/// What a token says about its owner and its life. Fields that are absent or of another type are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// The owner's e-mail address, from the top level or else from the profile claim.
    pub email: Option<String>,
    /// The subscription.
    pub plan: Option<PlanType>,
    /// The person, as opposed to the workspace.
    pub user_id: Option<String>,
    /// The workspace that the token acts for.
    pub account_id: Option<String>,
    /// When the token ends. Only an integer is read, as Codex 0.169 does.
    pub expires_at: Option<Timestamp>,
    /// When the authority made the token, by the authority's clock.
    pub issued_at: Option<Timestamp>,
}

impl Claims {
    /// Reads the payload of `token`.
    ///
    /// # Errors
    /// [`Error`] names the part that cannot be read; it never contains any of the token.
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
        let within = |claim: &str, key: &str| text(payload.get(claim)?.get(key)?);
        Self {
            email: payload.get("email").and_then(text).or_else(|| within(PROFILE, "email")),
            plan: within(AUTH, "chatgpt_plan_type").map(|name| PlanType::named(&name)),
            user_id: within(AUTH, "chatgpt_user_id").or_else(|| within(AUTH, "user_id")),
            account_id: within(AUTH, "chatgpt_account_id"),
            expires_at: payload.get("exp").and_then(moment),
            issued_at: payload.get("iat").and_then(moment),
        }
    }
}

/// A subscription by the name that Codex shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanType(String);

impl PlanType {
    /// The plan called `name`; two old spellings are read as the plans they name, and a strange name is kept.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(
            match name {
                "hc" => "enterprise",
                "education" => "edu",
                other => other,
            }
            .to_owned(),
        )
    }

    /// The name.
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

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Whole seconds since 1970; a number outside the calendar is no time at all.
fn moment(value: &Value) -> Option<Timestamp> {
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
    fn every_claim_is_read_from_where_the_authority_puts_it() {
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
    fn second_places_are_read_when_the_first_are_empty() {
        let claims = Claims::read(&token(&json!({
            PROFILE: {"email": "ada@example.com"}, AUTH: {"user_id": "user-2", "chatgpt_plan_type": "future"},
        })))
        .unwrap();
        assert_eq!(claims.email.as_deref(), Some("ada@example.com"));
        assert_eq!(claims.user_id.as_deref(), Some("user-2"));
        assert_eq!(claims.plan.as_ref().map(PlanType::as_str), Some("future"));
    }

    #[test]
    fn an_expiry_that_is_not_a_whole_number_in_the_calendar_is_unreadable() {
        for exp in
            [json!(1.8e9), json!("1800000000"), json!(null), json!(i64::MAX), json!(u64::MAX), json!([1])]
        {
            let claims = Claims::read(&token(&json!({ "exp": exp.clone() }))).unwrap();
            assert_eq!(claims.expires_at, None, "{exp}");
        }
    }

    #[test]
    fn a_text_that_is_no_jwt_says_which_part_is_wrong_and_shows_none_of_it() {
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
