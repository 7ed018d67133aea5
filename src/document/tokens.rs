//! The tokens of a ChatGPT login.

use super::error::{DocumentWarning, Error};
use super::json::{Fields, Json, string};
use crate::claims::{self, Claims};
use crate::secret::Secret;

/// Replaces the refresh token in copies that other tools make for programs that must not refresh.
const PLACEHOLDER: &str = "placeholder";
/// Begins every dummy of this library; no authority issues such a token.
const DUMMY_PREFIX: &str = "codex-auth.dummy.";
/// Replaces the refresh token in an exported document. It is not empty: with an empty one, the logout of Codex 0.171
/// revokes the access token.
pub(super) const DUMMY: &str = "codex-auth.dummy.the-keeper-that-hands-in-this-login-has-the-refresh-token";

/// The tokens of a ChatGPT login.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// A JWT that identifies the owner.
    pub id_token: Option<Secret>,
    /// The bearer token of requests.
    pub access_token: Option<Secret>,
    /// The single-use token that is exchanged for new tokens. `None` if it is missing, empty, a placeholder or a dummy.
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
#[non_exhaustive]
pub enum TokenOwner {
    /// This one: they are revoked when it is logged out.
    ThisDocument,
    /// Another one; this document has its access token, and a placeholder instead of the refresh token.
    AnotherDocument,
    /// The document of a keeper elsewhere, which replaces this one at each refresh; this one has a dummy instead of the
    /// refresh token.
    Keeper,
}

impl TokenOwner {
    /// Returns the owner of tokens whose document has this as its refresh token: the one rule for which texts are no
    /// tokens.
    pub(super) fn of(refresh_token: Option<&str>) -> Self {
        match refresh_token {
            Some(token) if token.starts_with(DUMMY_PREFIX) => Self::Keeper,
            Some(token) if token.eq_ignore_ascii_case(PLACEHOLDER) => Self::AnotherDocument,
            _ => Self::ThisDocument,
        }
    }
}

impl Tokens {
    pub(super) fn read(fields: &Fields, warnings: &mut Vec<DocumentWarning>) -> Result<Self, Error> {
        let text = |key: &str, name: &'static str| string(fields.value(key), name);
        // Builds of August 2025 could write the decoded claims as an object.
        let id_token = match fields.value("id_token") {
            Some(Json::Object(_)) => {
                warnings.push(DocumentWarning::IdToken(claims::Error::Parts));
                None
            }
            _ => text("id_token", "tokens.id_token")?,
        };
        let refresh_token = text("refresh_token", "tokens.refresh_token")?;
        for (name, missing) in [
            ("tokens.id_token", fields.value("id_token").is_none()),
            ("tokens.refresh_token", refresh_token.is_none()),
        ] {
            if missing {
                warnings.push(DocumentWarning::Missing(name));
            }
        }
        let provenance = fields.value("oauth_provenance");
        if !Provenance::is_known_form(provenance) {
            warnings.push(DocumentWarning::Provenance);
        }
        let owner = TokenOwner::of(refresh_token);
        Ok(Self {
            owner,
            id_token: id_token.map(Secret::from),
            access_token: text("access_token", "tokens.access_token")?.map(Secret::from),
            refresh_token: refresh_token
                .filter(|token| !token.is_empty() && owner == TokenOwner::ThisDocument)
                .map(Secret::from),
            account_id: text("account_id", "tokens.account_id")?
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            login_id: fields.value("login_owner_id").and_then(Json::as_str).map(str::to_owned),
            provenance: Provenance::read(provenance),
        })
    }

    pub(super) fn read_claims(&self, warnings: &mut Vec<DocumentWarning>) -> Claims {
        match self.id_token.as_ref().map(Claims::read) {
            None => Claims::default(),
            Some(Ok(claims)) => claims,
            Some(Err(error)) => {
                warnings.push(DocumentWarning::IdToken(error));
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
    fn is_known_form(value: Option<&Json>) -> bool {
        match value {
            None => true,
            Some(Json::Object(fields)) => {
                ["issuer", "client_id"].iter().all(|key| fields.value(key).and_then(Json::as_str).is_some())
            }
            Some(Json::Array(items)) => items.len() == 2 && items.iter().all(|item| item.as_str().is_some()),
            Some(_) => false,
        }
    }

    /// Reads an issuer and a client id; values that are missing, empty or not strings are `None`.
    fn read(value: Option<&Json>) -> Self {
        let fields = value.and_then(Json::as_object);
        let text =
            |key: &str| fields?.value(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self { issuer: text("issuer"), client_id: text("client_id") }
    }
}
