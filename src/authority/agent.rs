//! Agent identity tokens, verified with the keys that their issuer publishes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use super::endpoint::{Endpoint, EndpointError, chatgpt_base};
use super::error::MissingResponse;
use super::profile::{Profile, single_line};
use super::request::{LoginRequest, RequestBody, RequestError};
use super::token::InvalidTokenResponse;
use super::{Authority, client};
use crate::secret::Secret;

/// The timeout of Codex 0.169.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ISSUER: &str = "https://chatgpt.com/codex-backend/agent-identity";
const AUDIENCE: &str = "codex-app-server";
/// How many seconds after its expiry a token is still accepted, for clocks that differ.
const LEEWAY_SECONDS: i64 = 60;

impl Endpoint {
    /// Returns the address of the agent identity keys: below `base`, the `chatgpt_base_url` of `config.toml`, else at
    /// OpenAI. The path depends on the base as in Codex 0.169.
    ///
    /// # Errors
    /// [`EndpointError`]: the address is neither `https` nor on this machine, so its keys would prove nothing.
    pub fn agent_keys(base: Option<&str>) -> Result<Self, EndpointError> {
        let base = chatgpt_base(base)?;
        let path = match base.path() {
            path if path.contains("/backend-api") => "/wham/agent-identities/jwks",
            path if path.contains("/api/codex") => "/agent-identities/jwks",
            _ => "/api/codex/agent-identities/jwks",
        };
        Ok(Self::below(&base, path))
    }
}

impl Authority {
    /// Fetches the keys from `endpoint`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn agent_keys(&self, endpoint: &Endpoint) -> Result<AgentKeys, RequestError> {
        let request = LoginRequest {
            endpoint,
            body: RequestBody::Get(None),
            redacted: Secret::from(""),
            timeout: REQUEST_TIMEOUT,
        };
        let body = request.fetch(self).await?;
        serde_json::from_slice(&body)
            .map_err(|_| request.unanswered(MissingResponse::Undecodable(InvalidTokenResponse::NotAnObject)))
    }
}

/// An agent identity token that is parsed but not verified.
#[derive(Clone, Debug)]
pub struct AgentToken {
    token: Secret,
    key_id: String,
}

impl AgentToken {
    /// Parses `token`: a JWT signed with RS256 that names its key.
    ///
    /// # Errors
    /// [`AgentTokenError`]; it quotes nothing of the token.
    pub fn parse(token: &Secret) -> Result<Self, AgentTokenError> {
        let parts: Vec<_> = token.expose().split('.').collect();
        let [header, _, _] = parts[..] else { return Err(AgentTokenError::Malformed) };
        let header: TokenHeader = decoded(header)?;
        if header.alg != "RS256" {
            return Err(AgentTokenError::Algorithm);
        }
        let key_id = header.kid.filter(|id| !id.is_empty()).ok_or(AgentTokenError::NoKeyId)?;
        Ok(Self { token: token.clone(), key_id })
    }
}

/// The public keys of agent identities.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct AgentKeys {
    keys: Vec<AgentKey>,
}

impl AgentKeys {
    /// Verifies the signature, issuer and audience of `token`, and that it has not expired at `now`.
    ///
    /// # Errors
    /// [`AgentTokenError`].
    pub fn verify(&self, token: &AgentToken, now: Timestamp) -> Result<Profile, AgentTokenError> {
        let AgentToken { token, key_id } = token;
        let (signed, signature) = token.expose().rsplit_once('.').ok_or(AgentTokenError::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AgentTokenError::Malformed)?;
        let key = self.keys.iter().find(|key| key.is_for(key_id)).ok_or(AgentTokenError::UnknownKey)?;
        let number = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| AgentTokenError::UnknownKey);
        if !client::is_signed_by(number(&key.n)?, number(&key.e)?, signed.as_bytes(), &signature) {
            return Err(AgentTokenError::Signature);
        }
        let claims: AgentClaims = decoded(signed.split_once('.').ok_or(AgentTokenError::Malformed)?.1)?;
        if claims.iss != ISSUER {
            return Err(AgentTokenError::Issuer);
        }
        if !claims.aud.is_for(AUDIENCE) {
            return Err(AgentTokenError::Audience);
        }
        if now.as_second() >= claims.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(AgentTokenError::Expired);
        }
        Ok(Profile {
            email: single_line(claims.email),
            user_id: single_line(claims.chatgpt_user_id),
            account_id: single_line(claims.account_id),
            plan: single_line(claims.plan_type),
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

/// Why a token is not a valid agent identity. The message quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentTokenError {
    /// It is not signed with RS256.
    #[error("it is not signed with RS256")]
    Algorithm,
    /// Its audience is another program.
    #[error("it was issued for another program")]
    Audience,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is not a JWT with the required claims.
    #[error("it is not a JWT with the required claims")]
    Malformed,
    /// It has another issuer.
    #[error("it has another issuer")]
    Issuer,
    /// It does not name its key.
    #[error("it does not name the key that signed it")]
    NoKeyId,
    /// The signature is wrong.
    #[error("its signature is invalid")]
    Signature,
    /// Its key is not published.
    #[error("its key is not published")]
    UnknownKey,
}

/// Decodes base64url JSON. The parser's message quotes the input, so it is dropped.
fn decoded<T: DeserializeOwned>(part: &str) -> Result<T, AgentTokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| AgentTokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| AgentTokenError::Malformed)
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
    fn a_valid_token_has_the_profile_of_its_owner() {
        let token = signed(&json!({"alg": "RS256", "kid": "one"}), &claims());
        let profile = verified(&token).unwrap();
        assert_eq!(profile.account_id.as_deref(), Some("acct-1"));
        assert_eq!(profile.email.as_deref(), Some("ada@example.com"));
        let mut several = claims();
        several["aud"] = json!(["other", AUDIENCE]);
        assert!(verified(&signed(&json!({"alg": "RS256", "kid": "one"}), &several)).is_ok());
    }

    #[test]
    fn a_refused_token_is_described_and_not_shown() {
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
            (with("exp", json!(NOW - LEEWAY_SECONDS)), AgentTokenError::Expired),
            (with("exp", json!("never")), AgentTokenError::Malformed),
            (signed(&json!({"alg": "none", "kid": "one"}), &claims()), AgentTokenError::Algorithm),
            (signed(&json!({"alg": "HS256", "kid": "one"}), &claims()), AgentTokenError::Algorithm),
            (signed(&json!({"alg": "RS256"}), &claims()), AgentTokenError::NoKeyId),
            (signed(&json!({"alg": "RS256", "kid": "two"}), &claims()), AgentTokenError::UnknownKey),
            (signed(&json!({"alg": "RS256", "kid": "enc"}), &claims()), AgentTokenError::UnknownKey),
            (Secret::new(format!("{front}.{foreign}")), AgentTokenError::Signature),
            (Secret::new(format!("{front}.")), AgentTokenError::Signature),
            (Secret::from("marked"), AgentTokenError::Malformed),
            (Secret::from("marked.marked.marked"), AgentTokenError::Malformed),
        ] {
            let error = verified(&token).unwrap_err();
            assert_eq!(error, why);
            assert!(!format!("{error} {error:?}").contains("marked"));
        }
    }

    #[test]
    fn a_token_is_accepted_for_a_minute_after_its_expiry() {
        let mut late = claims();
        late["exp"] = json!(NOW - LEEWAY_SECONDS + 1);
        assert!(verified(&signed(&json!({"alg": "RS256", "kid": "one"}), &late)).is_ok());
    }

    #[test]
    fn the_keys_are_fetched_from_codexs_address() {
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
