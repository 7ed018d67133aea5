//! The tokens of a ChatGPT login.

use serde_json::{Map, Value};

use super::{DocumentWarning, Error};
use crate::claims::{self, Claims};
use crate::secret::Secret;

/// Replaces the refresh token in copies for programs that must not refresh.
pub(super) const PLACEHOLDER: &str = "placeholder";

/// The tokens of a ChatGPT login.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// A JWT that identifies the owner.
    pub id_token: Option<Secret>,
    /// The bearer token of requests.
    pub access_token: Option<Secret>,
    /// The single-use token that is exchanged for new tokens. `None` if it is missing, empty or a placeholder.
    pub refresh_token: Option<Secret>,
    /// The document that the tokens belong to.
    pub owner: TokenOwner,
    /// The workspace.
    pub account_id: Option<String>,
    /// `login_owner_id`: random text that Codex 0.169 creates for each login.
    pub login_id: Option<String>,
    /// The authority that issued the tokens, and the client they were issued to.
    pub provenance: Provenance,
}

/// The document that tokens belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are only two cases")]
pub enum TokenOwner {
    /// This one: they are revoked when it is logged out.
    ThisDocument,
    /// Another one; this document has its access token, and a placeholder instead of the refresh token.
    AnotherDocument,
}

impl Tokens {
    pub(super) fn read(map: &Map<String, Value>, oddities: &mut Vec<DocumentWarning>) -> Result<Self, Error> {
        let text = |key: &str, name: &'static str| match map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Error::Field { name, expected: "a string" }),
        };
        // Builds of August 2025 could write the decoded claims as an object.
        let id_token = match map.get("id_token") {
            Some(Value::Object(_)) => {
                oddities.push(DocumentWarning::IdToken(claims::Error::Parts));
                None
            }
            _ => text("id_token", "tokens.id_token")?,
        };
        let refresh_token = text("refresh_token", "tokens.refresh_token")?;
        for (name, missing) in [
            ("tokens.id_token", map.get("id_token").is_none_or(Value::is_null)),
            ("tokens.refresh_token", refresh_token.is_none()),
        ] {
            if missing {
                oddities.push(DocumentWarning::Missing(name));
            }
        }
        if !Provenance::is_known_form(map.get("oauth_provenance")) {
            oddities.push(DocumentWarning::Provenance);
        }
        let is_placeholder = refresh_token.is_some_and(|token| token.eq_ignore_ascii_case(PLACEHOLDER));
        Ok(Self {
            owner: if is_placeholder { TokenOwner::AnotherDocument } else { TokenOwner::ThisDocument },
            id_token: id_token.map(Secret::from),
            access_token: text("access_token", "tokens.access_token")?.map(Secret::from),
            refresh_token: refresh_token
                .filter(|token| !token.is_empty() && !is_placeholder)
                .map(Secret::from),
            account_id: text("account_id", "tokens.account_id")?
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            login_id: map.get("login_owner_id").and_then(Value::as_str).map(str::to_owned),
            provenance: Provenance::read(map.get("oauth_provenance")),
        })
    }

    pub(super) fn read_claims(&self, oddities: &mut Vec<DocumentWarning>) -> Claims {
        match self.id_token.as_ref().map(Claims::read) {
            None => Claims::default(),
            Some(Ok(claims)) => claims,
            Some(Err(error)) => {
                oddities.push(DocumentWarning::IdToken(error));
                Claims::default()
            }
        }
    }
}

/// `oauth_provenance`: who issued the tokens to which client. Logins by Codex before 0.169 have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The base URL of the authority.
    pub issuer: Option<String>,
    /// The client that may refresh the tokens.
    pub client_id: Option<String>,
}

impl Provenance {
    /// Creates a provenance from what is known of it.
    #[must_use]
    pub fn new(issuer: Option<String>, client_id: Option<String>) -> Self {
        Self { issuer, client_id }
    }

    /// Returns whether Codex 0.169 can read `value` (measured): absent, or an object or array of both strings, which
    /// may be empty.
    fn is_known_form(value: Option<&Value>) -> bool {
        match value {
            None | Some(Value::Null) => true,
            Some(Value::Object(map)) => {
                ["issuer", "client_id"].iter().all(|key| map.get(*key).is_some_and(Value::is_string))
            }
            Some(Value::Array(texts)) => texts.len() == 2 && texts.iter().all(Value::is_string),
            Some(_) => false,
        }
    }

    /// Reads an issuer and a client id; values that are missing, empty or not strings are `None`.
    fn read(value: Option<&Value>) -> Self {
        let text = |key: &str| value?.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self { issuer: text("issuer"), client_id: text("client_id") }
    }
}
