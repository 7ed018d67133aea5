//! The tokens of a ChatGPT login, and whose login it is.

use serde_json::{Map, Value};

use super::{DocumentWarning, Error};
use crate::claims::{self, Claims};
use crate::secret::Secret;

/// What stands where a refresh token would, in copies that are handed to programs which must not refresh.
pub(super) const PLACEHOLDER: &str = "placeholder";

/// The tokens of a ChatGPT login.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// Says who the owner is; a JWT.
    pub id_token: Option<Secret>,
    /// What requests carry.
    pub access_token: Option<Secret>,
    /// The single-use token that buys the next set. `None` when it is missing, empty or a placeholder.
    pub refresh_token: Option<Secret>,
    /// Whether they belong to this document or to one elsewhere.
    pub ownership: TokenOwner,
    /// The workspace.
    pub account_id: Option<String>,
    /// Which login they came from: a random text that every login of Codex 0.169 makes anew.
    pub login: Option<String>,
    /// Who issued them, to whom.
    pub provenance: Provenance,
}

/// Which document tokens belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "they are its own or they are not")]
pub enum TokenOwner {
    /// This one: they end with its login.
    Own,
    /// One elsewhere, which handed out the access token with a placeholder for the refresh token.
    Elsewhere,
}

impl Tokens {
    pub(super) fn read(map: &Map<String, Value>, oddities: &mut Vec<DocumentWarning>) -> Result<Self, Error> {
        let text = |key: &str, name: &'static str| match map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Error::Field { name, expected: "a text" }),
        };
        // Builds of August 2025 could write the claims themselves as an object (`codex-behaviour.md` 1.2).
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
            ownership: if is_placeholder { TokenOwner::Elsewhere } else { TokenOwner::Own },
            id_token: id_token.map(Secret::from),
            access_token: text("access_token", "tokens.access_token")?.map(Secret::from),
            refresh_token: refresh_token
                .filter(|token| !token.is_empty() && !is_placeholder)
                .map(Secret::from),
            account_id: text("account_id", "tokens.account_id")?
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            login: map.get("login_owner_id").and_then(Value::as_str).map(str::to_owned),
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

/// `oauth_provenance`: who issued the tokens, and to which client. Logins before Codex 0.169 have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The authority, by the address that its endpoints begin with.
    pub issuer: Option<String>,
    /// The client that may refresh them.
    pub client_id: Option<String>,
}

impl Provenance {
    /// Issued by `issuer` to `client_id`, as far as they are known.
    #[must_use]
    pub fn new(issuer: Option<String>, client_id: Option<String>) -> Self {
        Self { issuer, client_id }
    }

    /// Whether Codex 0.169 reads it (measured): nothing, or an object, or an array, of both texts; either may be empty.
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

    /// Fields that are missing, empty or no text are `None`, as in a document without provenance.
    fn read(value: Option<&Value>) -> Self {
        let text = |key: &str| value?.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self { issuer: text("issuer"), client_id: text("client_id") }
    }
}
