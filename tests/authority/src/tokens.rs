//! The tokens that an authority issues: JWTs with OpenAI's claims, opaque tokens, and the auth.json of a login.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::grants::{Account, GrantId, Pair};
use crate::policy::{Expiry, Policy};

/// Returns the first 16 hex digits of the token's SHA-256.
pub fn fingerprint(token: &str) -> String {
    Sha256::digest(token).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The tokens of one response. `Debug` shows fingerprints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// The id token, a JWT.
    pub id_token: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("id_token", &fingerprint(&self.id_token))
            .field("access_token", &fingerprint(&self.access_token))
            .field("refresh_token", &fingerprint(&self.refresh_token))
            .finish()
    }
}

/// One login with its tokens, as a client has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The id of the grant.
    pub id: GrantId,
    /// The account.
    pub account: Account,
    /// The tokens.
    pub tokens: Tokens,
    /// When the tokens were issued, by the authority's clock.
    pub issued_at: Timestamp,
}

impl Grant {
    /// Returns the text of Codex's `auth.json` for this login: its key order, two-space indent, no newline at the end.
    pub fn auth_json(&self) -> String {
        self.auth_json_refreshed_at(self.issued_at)
    }

    /// As [`Grant::auth_json`], with another `last_refresh`.
    pub fn auth_json_refreshed_at(&self, last_refresh: Timestamp) -> String {
        let file = AuthFile {
            auth_mode: "chatgpt",
            api_key: None,
            tokens: AuthTokens { tokens: &self.tokens, account_id: present(&self.account.account_id) },
            last_refresh: format!("{last_refresh:.9}"),
        };
        // Serialising strings cannot fail.
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct AuthFile<'a> {
    auth_mode: &'static str,
    #[serde(rename = "OPENAI_API_KEY")]
    api_key: Option<&'static str>,
    tokens: AuthTokens<'a>,
    last_refresh: String,
}

#[derive(Serialize)]
struct AuthTokens<'a> {
    #[serde(flatten)]
    tokens: &'a Tokens,
    /// Serialised as null if it is `None`.
    account_id: Option<&'a str>,
}

/// Creates every secret once, and remembers all of them.
#[derive(Debug, Default)]
pub(crate) struct Mint {
    issued: HashSet<String>,
}

impl Mint {
    /// Returns a new opaque secret.
    pub(crate) fn opaque(&mut self, prefix: &str) -> String {
        // Unique, which is enough for a test, without a source of randomness that can fail.
        let random = || RandomState::new().build_hasher().finish();
        loop {
            let secret = format!("{prefix}{:016x}{:016x}", random(), random());
            if self.issued.insert(secret.clone()) {
                return secret;
            }
        }
    }

    /// Returns the tokens of one response and their lifetimes.
    pub(crate) fn tokens(
        &mut self,
        account: &Account,
        client_id: &str,
        policy: &Policy,
        issuer: &str,
    ) -> (Tokens, Pair) {
        let now = policy.now();
        let until = now.saturating_add(policy.access_lifetime);
        let id_token = self.id_token(account, client_id, policy, issuer);
        let access_token = if policy.expiry == Expiry::Opaque {
            self.opaque("oa-")
        } else {
            let mut claims = claims(account, issuer, now);
            claims.insert("aud".to_owned(), json!(["https://api.openai.com/v1"]));
            claims.insert("client_id".to_owned(), json!(client_id));
            insert_expiry(&mut claims, policy.expiry, until);
            self.jwt(claims)
        };
        let refresh_token = self.opaque("rt-");
        let pair = Pair {
            access: access_token.clone(),
            access_until: until,
            refresh: Some(refresh_token.clone()),
            refresh_until: now.saturating_add(policy.refresh_lifetime),
        };
        (Tokens { id_token, access_token, refresh_token }, pair)
    }

    /// Returns an id token for any account.
    pub(crate) fn id_token(
        &mut self,
        account: &Account,
        client_id: &str,
        policy: &Policy,
        issuer: &str,
    ) -> String {
        let now = policy.now();
        let mut claims = claims(account, issuer, now);
        claims.insert("aud".to_owned(), json!([client_id]));
        if let Some(email) = present(&account.email) {
            claims.insert("email".to_owned(), json!(email));
        }
        claims.insert("exp".to_owned(), json!(now.saturating_add(3_600)));
        self.jwt(claims)
    }

    /// Remembers a secret that was made elsewhere.
    pub(crate) fn remember(&mut self, secret: &str) {
        self.issued.insert(secret.to_owned());
    }

    pub(crate) fn is_secret(&self, text: &str) -> bool {
        self.issued.contains(text)
    }

    pub(crate) fn issued(&self) -> Vec<String> {
        let mut all: Vec<_> = self.issued.iter().cloned().collect();
        all.sort_unstable();
        all
    }

    fn jwt(&mut self, mut claims: Map<String, Value>) -> String {
        claims.insert("jti".to_owned(), json!(self.opaque("jti-")));
        let token = format!(
            "{}.{}.{}",
            segment(&json!({"alg": "RS256", "kid": "scripted", "typ": "JWT"})),
            segment(&Value::Object(claims)),
            // Clients do not verify these; an invalid signature shows it if one begins to.
            URL_SAFE_NO_PAD.encode("invalid signature"),
        );
        self.issued.insert(token.clone());
        token
    }
}

/// Returns one base64url segment of a JWT.
pub(crate) fn segment(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn claims(account: &Account, issuer: &str, now: i64) -> Map<String, Value> {
    let profile = [("email", &account.email)];
    let auth = [
        ("chatgpt_account_id", &account.account_id),
        ("chatgpt_user_id", &account.user_id),
        ("user_id", &account.user_id),
        ("chatgpt_plan_type", &account.plan),
    ];
    Map::from_iter([
        ("iss".to_owned(), json!(issuer)),
        ("sub".to_owned(), json!(format!("auth0|{}", account.user_id))),
        ("iat".to_owned(), json!(now)),
        ("https://api.openai.com/profile".to_owned(), known(&profile)),
        ("https://api.openai.com/auth".to_owned(), known(&auth)),
    ])
}

fn known(claims: &[(&str, &String)]) -> Value {
    claims.iter().filter_map(|(name, value)| Some((*name, present(value)?))).collect()
}

/// Returns `None` for an empty field of an account.
fn present(field: &str) -> Option<&str> {
    (!field.is_empty()).then_some(field)
}

fn insert_expiry(claims: &mut Map<String, Value>, expiry: Expiry, until: i64) {
    let value = match expiry {
        Expiry::Absurd => json!(i64::MAX),
        Expiry::Enormous => json!(1e30),
        Expiry::Float => json!(until as f64 + 0.5),
        Expiry::Integer => json!(until),
        Expiry::Negative => json!(-1),
        Expiry::Text => json!(until.to_string()),
        Expiry::Missing | Expiry::Opaque => return,
    };
    claims.insert("exp".to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(token: &str) -> Value {
        let middle = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
    }

    fn tokens(policy: &Policy) -> (Mint, Tokens) {
        let mut mint = Mint::default();
        let (tokens, _) = mint.tokens(&Account::default(), "client", policy, "http://issuer");
        (mint, tokens)
    }

    #[test]
    fn a_token_carries_the_claims_of_its_account() {
        let (_, tokens) = tokens(&Policy::default());
        for token in [&tokens.id_token, &tokens.access_token] {
            let claims = payload(token);
            assert_eq!(claims["https://api.openai.com/auth"]["chatgpt_account_id"], "acct-1");
            assert_eq!(claims["https://api.openai.com/auth"]["chatgpt_user_id"], "user-1");
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3_600);
        }
        assert_eq!(payload(&tokens.id_token)["email"], "person1@example.com");
    }

    #[test]
    fn empty_fields_of_an_account_are_omitted() {
        let account = Account { account_id: String::new(), email: String::new(), ..Account::default() };
        let (tokens, _) = Mint::default().tokens(&account, "client", &Policy::default(), "http://issuer");
        let claims = payload(&tokens.id_token);
        assert_eq!(claims["https://api.openai.com/auth"].get("chatgpt_account_id"), None);
        assert_eq!(claims["https://api.openai.com/auth"]["chatgpt_user_id"], "user-1");
        assert_eq!(claims.get("email"), None);
        let grant = Grant { id: GrantId(1), account, tokens, issued_at: Timestamp::UNIX_EPOCH };
        assert!(grant.auth_json().contains("\"account_id\": null"));
    }

    #[test]
    fn the_expiry_has_the_format_of_the_policy() {
        let exp =
            |expiry| payload(&tokens(&Policy { expiry, ..Policy::default() }).1.access_token)["exp"].clone();
        assert!(exp(Expiry::Integer).is_i64());
        assert!(exp(Expiry::Float).as_f64().unwrap().fract() > 0.0);
        assert_eq!(exp(Expiry::Missing), Value::Null);
        assert!(exp(Expiry::Text).is_string());
        assert_eq!(exp(Expiry::Absurd), json!(i64::MAX));
        assert_eq!(exp(Expiry::Enormous), json!(1e30));
        assert_eq!(exp(Expiry::Negative), json!(-1));
        let (_, opaque) = tokens(&Policy { expiry: Expiry::Opaque, ..Policy::default() });
        assert!(!opaque.access_token.contains('.'));
    }

    #[test]
    fn the_clock_of_the_authority_may_be_off() {
        let ahead = Policy { clock_offset: 3_600, ..Policy::default() };
        let iat = payload(&tokens(&ahead).1.access_token)["iat"].as_i64().unwrap();
        let off = iat - Policy::default().now();
        assert!((3_598..=3_602).contains(&off), "{off}");
    }

    #[test]
    fn every_token_is_remembered_and_none_is_shown() {
        let (mint, tokens) = tokens(&Policy::default());
        let shown = format!("{tokens:?}");
        for secret in [&tokens.id_token, &tokens.access_token, &tokens.refresh_token] {
            assert!(mint.is_secret(secret));
            assert!(!shown.contains(secret.as_str()));
            assert!(shown.contains(&fingerprint(secret)));
        }
    }

    #[test]
    fn auth_json_has_the_order_and_the_shape_that_codex_writes() {
        let (_, tokens) = tokens(&Policy::default());
        let grant = Grant {
            id: GrantId(1),
            account: Account::default(),
            tokens: tokens.clone(),
            issued_at: "2026-11-21T10:00:00.5Z".parse().unwrap(),
        };
        let expected = format!(
            "{{\n  \"auth_mode\": \"chatgpt\",\n  \"OPENAI_API_KEY\": null,\n  \"tokens\": {{\n    \"id_token\": \"{}\",\n    \
             \"access_token\": \"{}\",\n    \"refresh_token\": \"{}\",\n    \"account_id\": \"acct-1\"\n  }},\n  \
             \"last_refresh\": \"2026-11-21T10:00:00.500000000Z\"\n}}",
            tokens.id_token, tokens.access_token, tokens.refresh_token
        );
        assert_eq!(grant.auth_json(), expected);
    }
}
