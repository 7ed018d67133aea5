//! Agent identities: tokens that are verified, by the keys that their issuer publishes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::{Deserialize, de::DeserializeOwned};

use super::Authority;
use super::endpoint::{Endpoint, EndpointError, parse};
use super::error::MissingResponse;
use super::profile::{Profile, present};
use super::request::{LoginRequest, RequestBody, RequestError};
use super::token::InvalidTokenResponse;
use crate::secret::Secret;

/// As Codex 0.169 waits (`codex-behaviour.md` 2.4).
const WITHIN: Duration = Duration::from_secs(10);
const DEFAULT_BASE: &str = "https://chatgpt.com/backend-api";
const BASE_KEY: &str = "chatgpt_base_url";
const ISSUER: &str = "https://chatgpt.com/codex-backend/agent-identity";
const AUDIENCE: &str = "codex-app-server";
/// How far our clock may be behind the issuer's, in seconds, before a token that has ended passes for good.
const LEEWAY: i64 = 60;

impl Endpoint {
    /// Where the keys of agent identities are published: below `base`, the `chatgpt_base_url` of `config.toml`, else at
    /// OpenAI. The path depends on the base as it does for Codex 0.169.
    ///
    /// # Errors
    /// [`EndpointError`]: what is fetched from there would prove nothing.
    pub fn agent_keys(base: Option<&str>) -> Result<Self, EndpointError> {
        let base = parse(BASE_KEY, base.unwrap_or(DEFAULT_BASE))?;
        let path = match base.path() {
            path if path.contains("/backend-api") => "/wham/agent-identities/jwks",
            path if path.contains("/api/codex") => "/agent-identities/jwks",
            _ => "/api/codex/agent-identities/jwks",
        };
        Ok(Self::below(base, path))
    }
}

impl Authority {
    /// Fetches the keys at `endpoint`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn agent_keys(&self, endpoint: &Endpoint) -> Result<AgentKeys, RequestError> {
        let request = LoginRequest {
            endpoint,
            content: RequestBody::Get(None),
            secret: Secret::from(""),
            within: WITHIN,
        };
        let body = request.body(self).await?;
        serde_json::from_slice(&body)
            .map_err(|_| request.unanswered(MissingResponse::Undecodable(InvalidTokenResponse::NotAnObject)))
    }
}

/// An agent identity token, taken apart and not yet verified.
#[derive(Clone, Debug)]
pub struct AgentToken {
    token: Secret,
    key_id: String,
}

impl AgentToken {
    /// Takes `token` apart: three parts, signed by RS256, with the id of a key. No key is needed for it.
    ///
    /// # Errors
    /// [`AgentTokenError`] says which part is wrong; none of the token is in it.
    pub fn parse(token: &Secret) -> Result<Self, AgentTokenError> {
        let parts: Vec<_> = token.expose().split('.').collect();
        let [header, _, _] = parts[..] else { return Err(AgentTokenError::Form) };
        let header: TokenHeader = decoded(header)?;
        if header.alg != "RS256" {
            return Err(AgentTokenError::Algorithm);
        }
        let key_id = header.kid.filter(|id| !id.is_empty()).ok_or(AgentTokenError::NoKeyId)?;
        Ok(Self { token: token.clone(), key_id })
    }
}

/// The keys that verify agent identities.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct AgentKeys {
    keys: Vec<AgentKey>,
}

impl AgentKeys {
    /// Verifies that `token` was signed by one of these keys, by and for whom it should be, and has not ended at `now`.
    ///
    /// # Errors
    /// [`AgentTokenError`].
    pub fn verify(&self, token: &AgentToken, now: Timestamp) -> Result<Profile, AgentTokenError> {
        let AgentToken { token, key_id } = token;
        let (signed, signature) = token.expose().rsplit_once('.').ok_or(AgentTokenError::Form)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AgentTokenError::Form)?;
        let key = self.keys.iter().find(|key| key.is_for(key_id)).ok_or(AgentTokenError::UnknownKey)?;
        let number = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| AgentTokenError::UnknownKey);
        RsaPublicKeyComponents { n: number(&key.n)?, e: number(&key.e)? }
            .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
            .map_err(|_| AgentTokenError::Signature)?;
        let claims: AgentClaims = decoded(signed.split_once('.').ok_or(AgentTokenError::Form)?.1)?;
        if claims.iss != ISSUER {
            return Err(AgentTokenError::Issuer);
        }
        if !claims.aud.is_for(AUDIENCE) {
            return Err(AgentTokenError::Audience);
        }
        if now.as_second() >= claims.exp.saturating_add(LEEWAY) {
            return Err(AgentTokenError::Expired);
        }
        Ok(Profile {
            email: present(claims.email),
            user_id: present(claims.chatgpt_user_id),
            account_id: present(claims.account_id),
            plan: present(claims.plan_type),
        })
    }
}

#[derive(Clone, Debug, Deserialize)]
struct AgentKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl AgentKey {
    fn is_for(&self, id: &str) -> bool {
        self.kty == "RSA"
            && self.kid.as_deref() == Some(id)
            && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
    }
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct AgentClaims {
    iss: String,
    aud: Audience,
    exp: i64,
    email: Option<String>,
    chatgpt_user_id: Option<String>,
    account_id: Option<String>,
    plan_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    Many(Vec<String>),
    One(String),
}

impl Audience {
    fn is_for(&self, us: &str) -> bool {
        match self {
            Self::Many(all) => all.iter().any(|one| one == us),
            Self::One(one) => one == us,
        }
    }
}

/// Why a token is no agent identity that can be relied on. None of the token is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentTokenError {
    /// Signed in another way, or not at all.
    #[error("it is not signed by RS256")]
    Algorithm,
    /// Made for another program.
    #[error("it was made for another program")]
    Audience,
    /// Its time is up.
    #[error("it has expired")]
    Expired,
    /// Not three parts of base64url, or not JSON with the claims that must be there.
    #[error("it does not have the form of one")]
    Form,
    /// Issued by somebody else.
    #[error("it was issued by somebody else")]
    Issuer,
    /// It does not say which key it was signed by.
    #[error("it does not name the key that it was signed by")]
    NoKeyId,
    /// The signature is of something else, or by somebody else.
    #[error("its signature is wrong")]
    Signature,
    /// Signed by a key that is not published.
    #[error("the key that it names is not published")]
    UnknownKey,
}

/// The parser's own message quotes what it found, so nothing of it is kept.
fn decoded<T: DeserializeOwned>(part: &str) -> Result<T, AgentTokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| AgentTokenError::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| AgentTokenError::Form)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::rsa::{KeyPair, PublicKeyComponents};
    use ring::signature::RSA_PKCS1_SHA256;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn pair() -> KeyPair {
        KeyPair::from_der(include_bytes!("../../tests/authority/src/agent_key.der")).unwrap()
    }

    fn keys() -> AgentKeys {
        let parts = PublicKeyComponents::<Vec<u8>>::from(pair().public());
        let (n, e) = (URL_SAFE_NO_PAD.encode(parts.n), URL_SAFE_NO_PAD.encode(parts.e));
        let set = json!({"keys": [
            {"kty": "EC", "kid": "one", "crv": "P-256"},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": n, "e": e},
            {"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "n": n, "e": e},
        ]});
        serde_json::from_value(set).unwrap()
    }

    fn signed(header: &Value, claims: &Value) -> Secret {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let (pair, mut signature) = (pair(), vec![0; 256]);
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        Secret::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60, "account_id": "acct-1",
            "chatgpt_user_id": "user-1", "email": "ada@example.com", "plan_type": "plus",
        })
    }

    fn verified(token: &Secret) -> Result<Profile, AgentTokenError> {
        keys().verify(&AgentToken::parse(token)?, Timestamp::from_second(NOW).unwrap())
    }

    #[test]
    fn a_token_that_its_issuer_signed_for_us_says_whose_it_is() {
        let token = signed(&json!({"alg": "RS256", "kid": "one"}), &claims());
        let profile = verified(&token).unwrap();
        assert_eq!(profile.account_id.as_deref(), Some("acct-1"));
        assert_eq!(profile.email.as_deref(), Some("ada@example.com"));
        let mut several = claims();
        several["aud"] = json!(["other", AUDIENCE]);
        assert!(verified(&signed(&json!({"alg": "RS256", "kid": "one"}), &several)).is_ok());
    }

    #[test]
    fn whatever_is_not_as_it_must_be_is_named_and_not_shown() {
        let header = json!({"alg": "RS256", "kid": "one"});
        let with = |name: &str, value: Value| {
            let mut changed = claims();
            changed[name] = value;
            signed(&header, &changed)
        };
        let whole = signed(&header, &claims());
        let (front, _) = whole.expose().rsplit_once('.').unwrap();
        let other = with("account_id", json!("acct-2"));
        let (_, foreign) = other.expose().rsplit_once('.').unwrap();
        for (token, why) in [
            (with("iss", json!("https://evil.example")), AgentTokenError::Issuer),
            (with("aud", json!("marked")), AgentTokenError::Audience),
            (with("aud", json!([])), AgentTokenError::Audience),
            (with("exp", json!(NOW - LEEWAY)), AgentTokenError::Expired),
            (with("exp", json!("never")), AgentTokenError::Form),
            (signed(&json!({"alg": "none", "kid": "one"}), &claims()), AgentTokenError::Algorithm),
            (signed(&json!({"alg": "HS256", "kid": "one"}), &claims()), AgentTokenError::Algorithm),
            (signed(&json!({"alg": "RS256"}), &claims()), AgentTokenError::NoKeyId),
            (signed(&json!({"alg": "RS256", "kid": "two"}), &claims()), AgentTokenError::UnknownKey),
            (signed(&json!({"alg": "RS256", "kid": "enc"}), &claims()), AgentTokenError::UnknownKey),
            (Secret::new(format!("{front}.{foreign}")), AgentTokenError::Signature),
            (Secret::new(format!("{front}.")), AgentTokenError::Signature),
            (Secret::from("marked"), AgentTokenError::Form),
            (Secret::from("marked.marked.marked"), AgentTokenError::Form),
        ] {
            let error = verified(&token).unwrap_err();
            assert_eq!(error, why);
            assert!(!format!("{error} {error:?}").contains("marked"));
        }
    }

    #[test]
    fn a_token_passes_for_a_minute_more_because_clocks_differ() {
        let mut late = claims();
        late["exp"] = json!(NOW - LEEWAY + 1);
        assert!(verified(&signed(&json!({"alg": "RS256", "kid": "one"}), &late)).is_ok());
    }

    #[test]
    fn the_keys_are_where_codex_finds_them() {
        for (base, at) in [
            (None, "chatgpt.com/backend-api/wham/agent-identities/jwks"),
            (Some("https://a.example/backend-api/"), "a.example/backend-api/wham/agent-identities/jwks"),
            (Some("https://a.example/api/codex"), "a.example/api/codex/agent-identities/jwks"),
            (Some("http://127.0.0.1:9"), "127.0.0.1:9/api/codex/agent-identities/jwks"),
        ] {
            assert_eq!(Endpoint::agent_keys(base).unwrap().to_string(), at);
        }
        assert!(Endpoint::agent_keys(Some("http://a.example")).is_err());
    }
}
