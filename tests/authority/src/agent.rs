//! Agent identity tokens: JWTs with valid signatures, and the published key that verifies them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::error::{KeyRejected, Unspecified};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::grants::Account;
use crate::tokens::segment;

/// A 2048-bit RSA key for these tests only.
const KEY: &[u8] = include_bytes!("agent_key.der");
const KEY_ID: &str = "scripted-agent-key";
const ISSUER: &str = "https://chatgpt.com/codex-backend/agent-identity";
const AUDIENCE: &str = "codex-app-server";

/// How an agent identity is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// RS256 with the published key.
    #[default]
    Valid,
    /// RS256, with the signature of another token.
    Forged,
    /// RS256 with a key id that is not published.
    UnknownKey,
    /// `alg` is `none` and there is no signature.
    Unsigned,
}

pub(crate) struct AgentKey(KeyPair);

impl AgentKey {
    pub(crate) fn embedded() -> Result<Self, KeyRejected> {
        KeyPair::from_der(KEY).map(Self)
    }

    /// Returns a JWT for an account, valid for `lifetime` seconds from `now`, with the private key in it.
    pub(crate) fn identity(
        &self,
        account: &Account,
        signing: Signing,
        now: i64,
        lifetime: i64,
    ) -> Result<(String, String), Unspecified> {
        let random = SystemRandom::new();
        let private_key = STANDARD.encode(Ed25519KeyPair::generate_pkcs8(&random)?);
        let header = match signing {
            Signing::Valid | Signing::Forged => json!({"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}),
            Signing::UnknownKey => json!({"alg": "RS256", "kid": "never-published", "typ": "JWT"}),
            Signing::Unsigned => json!({"alg": "none", "kid": KEY_ID, "typ": "JWT"}),
        };
        let claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now.saturating_add(lifetime),
            "agent_runtime_id": format!("runtime-{}", account.user_id),
            "agent_private_key": private_key,
            "account_id": account.account_id,
            "chatgpt_user_id": account.user_id,
            "email": account.email,
            "plan_type": account.plan,
            "chatgpt_account_is_fedramp": false,
        });
        let text = format!("{}.{}", segment(&header), segment(&claims));
        let signed = if signing == Signing::Forged { format!("{text}.") } else { text.clone() };
        let signature = match signing {
            Signing::Unsigned => String::new(),
            _ => self.sign(&random, &signed)?,
        };
        Ok((format!("{text}.{signature}"), private_key))
    }

    /// Returns the key set that clients fetch.
    pub(crate) fn key_set(&self) -> Value {
        let parts = PublicKeyComponents::<Vec<u8>>::from(self.0.public());
        json!({"keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": URL_SAFE_NO_PAD.encode(parts.n),
            "e": URL_SAFE_NO_PAD.encode(parts.e),
        }]})
    }

    fn sign(&self, random: &SystemRandom, text: &str) -> Result<String, Unspecified> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, random, text.as_bytes(), &mut signature)?;
        Ok(URL_SAFE_NO_PAD.encode(signature))
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKey")
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::RSA_PKCS1_2048_8192_SHA256;

    use super::*;

    /// Verifies as a client does, with the JWT and the published key set only.
    fn verifies(token: &str, key_set: &Value) -> bool {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let header: Value = serde_json::from_slice(&decode(text.split_once('.').unwrap().0)).unwrap();
        let keys = key_set["keys"].as_array().unwrap();
        keys.iter().filter(|key| key["kid"] == header["kid"] && key["alg"] == header["alg"]).any(|key| {
            let number = |name: &str| decode(key[name].as_str().unwrap());
            PublicKeyComponents { n: number("n"), e: number("e") }
                .verify(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &decode(signature))
                .is_ok()
        })
    }

    #[test]
    fn only_a_valid_identity_verifies_with_the_published_key() {
        let key = AgentKey::embedded().unwrap();
        let set = key.key_set();
        let token = |signing| key.identity(&Account::default(), signing, 1_000, 60).unwrap().0;
        assert!(verifies(&token(Signing::Valid), &set));
        for signing in [Signing::Forged, Signing::UnknownKey, Signing::Unsigned] {
            assert!(!verifies(&token(signing), &set), "{signing:?}");
        }
    }
}
