//! The document: the content of `auth.json`, wherever it is stored.
//!
//! Known fields are parsed, unknown ones are kept where they stood, at the top level and inside `tokens`. What Codex
//! 0.169 refuses as a whole file because of one field it does not need (an unknown `auth_mode`, an `id_token` that
//! is no JWT, a missing token) loads here and is reported as an [`DocumentWarning`].

mod external;
mod freshness;
mod identity;
mod json;
mod login;
mod mode;
mod salvage;
mod successor;
mod tokens;

use std::fmt;
use std::str::FromStr as _;

use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

pub use self::external::ExternalLogin;
pub(crate) use self::freshness::Validity;
pub use self::freshness::{Freshness, Staleness};
pub use self::identity::Identity;
use self::json::Fields;
pub use self::login::NewLogin;
pub use self::mode::AuthMode;
pub use self::salvage::{Salvaged, salvage};
pub use self::successor::NewTokens;
pub use self::tokens::{Provenance, TokenOwner, Tokens};
use crate::claims::{self, Claims};
use crate::secret::{Fingerprint, Secret, digest};

const AUTH_MODE: &str = "auth_mode";
const API_KEY: &str = "OPENAI_API_KEY";
const TOKENS: &str = "tokens";
const LAST_REFRESH: &str = "last_refresh";
const AGENT_IDENTITY: &str = "agent_identity";
const PERSONAL_ACCESS_TOKEN: &str = "personal_access_token";
const BEDROCK_API_KEY: &str = "bedrock_api_key";
const BEDROCK_ACCESS_KEYS: &str = "bedrock_access_keys";

/// One login as it is stored.
///
/// Parsing and writing back yields the same keys and values in the same order. `Debug` shows fingerprints. Everything
/// is wiped on drop.
#[derive(Clone)]
pub struct AuthDocument {
    fields: Fields,
    mode: Option<AuthMode>,
    api_key: Option<Secret>,
    personal_access_token: Option<Secret>,
    agent_identity: Option<Secret>,
    tokens: Option<Tokens>,
    claims: Claims,
    access_claims: Claims,
    last_refresh: Option<Timestamp>,
    oddities: Vec<DocumentWarning>,
}

impl AuthDocument {
    /// Reads a document from a file or a keychain item.
    ///
    /// # Errors
    /// - [`Error::Empty`]: there is nothing, or only white space.
    /// - [`Error::Encoding`]: not UTF-8, or a byte order mark in front, which Codex refuses too.
    /// - [`Error::Json`]: not one JSON object, a key twice, or nested too deeply.
    /// - [`Error::Field`]: a known field has another type than it must.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(Error::Encoding { what: "starts with a byte order mark" });
        }
        if std::str::from_utf8(bytes).is_err() {
            return Err(Error::Encoding { what: "is not UTF-8" });
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::Empty);
        }
        Fields::parse(bytes).map_err(Error::Json).and_then(Self::from_fields)
    }

    /// A login by API key, as `codex login --with-api-key` writes it (`codex-blackbox.md` 1).
    #[must_use]
    pub fn with_api_key(key: &Secret) -> Self {
        let mut fields = Fields::new();
        fields.set(AUTH_MODE, AuthMode::ApiKey.as_str().into());
        fields.set(API_KEY, key.expose().into());
        let mut document = Self::blank(fields);
        document.mode = Some(AuthMode::ApiKey);
        document.api_key = Some(key.clone());
        document
    }

    /// A login by personal access token. No `auth_mode` is written, because builds that do not know the word would
    /// refuse the whole file (`codex-behaviour.md` 1.2).
    #[must_use]
    pub fn with_personal_access_token(token: &Secret) -> Self {
        let mut fields = Fields::new();
        fields.set(API_KEY, Value::Null);
        fields.set(PERSONAL_ACCESS_TOKEN, token.expose().into());
        let mut document = Self::blank(fields);
        document.personal_access_token = Some(token.clone());
        document
    }

    /// A login by agent identity token, a JWT.
    #[must_use]
    pub fn with_agent_identity(token: &Secret) -> Self {
        let mut fields = Fields::new();
        fields.set(AUTH_MODE, AuthMode::AgentIdentity.as_str().into());
        fields.set(API_KEY, Value::Null);
        fields.set(AGENT_IDENTITY, token.expose().into());
        let mut document = Self::blank(fields);
        document.mode = Some(AuthMode::AgentIdentity);
        document.agent_identity = Some(token.clone());
        document
    }

    fn blank(fields: Fields) -> Self {
        Self {
            fields,
            mode: None,
            api_key: None,
            personal_access_token: None,
            agent_identity: None,
            tokens: None,
            claims: Claims::default(),
            access_claims: Claims::default(),
            last_refresh: None,
            oddities: Vec::new(),
        }
    }

    fn from_fields(fields: Fields) -> Result<Self, Error> {
        let mut document = Self::blank(fields);
        let fields = &document.fields;
        document.mode = string(fields, AUTH_MODE)?.map(AuthMode::named);
        document.api_key = string(fields, API_KEY)?.map(Secret::from);
        document.personal_access_token = string(fields, PERSONAL_ACCESS_TOKEN)?.map(Secret::from);
        document.agent_identity = match fields.value(AGENT_IDENTITY) {
            Some(Value::String(token)) => Some(Secret::from(token.as_str())),
            None | Some(Value::Object(_)) => None,
            Some(_) => return Err(Error::Field { name: AGENT_IDENTITY, expected: "a text or an object" }),
        };
        for key in [BEDROCK_API_KEY, BEDROCK_ACCESS_KEYS] {
            if fields.value(key).is_some_and(|value| !value.is_object()) {
                return Err(Error::Field { name: key, expected: "an object" });
            }
        }
        let mut oddities = Vec::new();
        if let Some(AuthMode::Unknown(word)) = &document.mode {
            oddities.push(DocumentWarning::UnknownMode(word.clone()));
        }
        document.last_refresh = match string(fields, LAST_REFRESH)?.map(Timestamp::from_str) {
            Some(Ok(moment)) => Some(moment),
            Some(Err(_)) => {
                oddities.push(DocumentWarning::LastRefresh);
                None
            }
            None => None,
        };
        if let Some(value) = fields.value(TOKENS) {
            let Value::Object(map) = value else {
                return Err(Error::Field { name: TOKENS, expected: "an object" });
            };
            let tokens = Tokens::read(map, &mut oddities)?;
            document.claims = tokens.read_claims(&mut oddities);
            document.access_claims =
                tokens.access_token.as_ref().and_then(|token| Claims::read(token).ok()).unwrap_or_default();
            document.tokens = Some(tokens);
        }
        document.oddities = oddities;
        Ok(document)
    }

    /// The text for the file: two-space indent, no newline at the end.
    #[must_use]
    pub fn to_pretty(&self) -> Zeroizing<Vec<u8>> {
        self.fields.pretty()
    }

    /// The text for a keychain item: no white space.
    #[must_use]
    pub fn to_compact(&self) -> Zeroizing<Vec<u8>> {
        self.fields.compact()
    }

    /// What kind of credential this is: the mode it declares, else the one that its material tells, in Codex's order
    /// (`codex-behaviour.md` 2.1). `None` when there is neither; Codex 0.169 calls such a file a ChatGPT login.
    #[must_use]
    pub fn mode(&self) -> Option<AuthMode> {
        if self.mode.is_some() {
            return self.mode.clone();
        }
        let told = [
            (self.personal_access_token.is_some(), AuthMode::PersonalAccessToken),
            (self.fields.value(BEDROCK_API_KEY).is_some(), AuthMode::BedrockApiKey),
            (self.fields.value(BEDROCK_ACCESS_KEYS).is_some(), AuthMode::BedrockAccessKeys),
            (self.api_key.is_some(), AuthMode::ApiKey),
            (self.tokens.is_some(), AuthMode::ChatGpt),
            (self.fields.value(AGENT_IDENTITY).is_some(), AuthMode::AgentIdentity),
        ];
        told.into_iter().find_map(|(there, mode)| there.then_some(mode))
    }

    /// The credential that a program presents as its bearer token, by [`Self::mode`]. `None` when the material of
    /// that mode is missing, or is not a bearer token at all.
    #[must_use]
    pub fn bearer(&self) -> Option<&Secret> {
        match self.mode()? {
            AuthMode::AgentIdentity => self.agent_identity.as_ref(),
            AuthMode::ApiKey => self.api_key.as_ref(),
            AuthMode::PersonalAccessToken => self.personal_access_token.as_ref(),
            AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey | AuthMode::Headers => None,
            AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::Unknown(_) => {
                self.tokens.as_ref()?.access_token.as_ref()
            }
        }
        .filter(|secret| !secret.is_empty())
    }

    /// The tokens of a ChatGPT login.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// The API key, which may stand beside ChatGPT tokens.
    #[must_use]
    pub fn api_key(&self) -> Option<&Secret> {
        self.api_key.as_ref()
    }

    /// What the `id_token` says; empty when it is missing or undecodable.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What the access token says; empty when it is opaque.
    #[must_use]
    pub fn access_claims(&self) -> &Claims {
        &self.access_claims
    }

    /// When a refresh last wrote the tokens, by the clock of the machine that did.
    #[must_use]
    pub fn last_refresh(&self) -> Option<Timestamp> {
        self.last_refresh
    }

    /// The name of its refresh token. `None` for a token-only document and for other kinds of credential.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self.mode() {
            Some(AuthMode::ChatGpt | AuthMode::Unknown(_)) => {
                self.tokens.as_ref()?.refresh_token.as_ref().map(Secret::fingerprint)
            }
            _ => None,
        }
    }

    /// Names the login while it is being ended: the fingerprint of the refresh token, or of the access token or API key
    /// where there is none.
    #[must_use]
    pub fn logout_fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint().or_else(|| self.bearer().map(Secret::fingerprint))
    }

    /// What a compare-and-swap compares: the credential itself. White space, `last_refresh` and unknown fields do not
    /// count, as they do not for Codex 0.169 (`codex-blackbox.md` 0).
    #[must_use]
    pub fn revision(&self) -> Revision {
        let keys =
            [AUTH_MODE, API_KEY, AGENT_IDENTITY, PERSONAL_ACCESS_TOKEN, BEDROCK_API_KEY, BEDROCK_ACCESS_KEYS];
        let tokens = ["id_token", "access_token", "refresh_token", "account_id"];
        let values =
            keys.into_iter().map(|key| self.fields.value(key)).chain(tokens.into_iter().map(|key| {
                self.fields.value(TOKENS).and_then(|tokens| tokens.get(key)).filter(|value| !value.is_null())
            }));
        let texts: Vec<_> =
            values.map(|value| Zeroizing::new(value.map(Value::to_string).unwrap_or_default())).collect();
        // Where one ends and the next begins is part of it.
        let lengths: Vec<_> = texts.iter().map(|text| format!("{} ", text.len())).collect();
        let parts =
            lengths.iter().zip(&texts).flat_map(|(length, text)| [length.as_bytes(), text.as_bytes()]);
        Revision(digest(parts))
    }

    /// What is strange about it, for `status` and `doctor`.
    #[must_use]
    pub fn oddities(&self) -> &[DocumentWarning] {
        &self.oddities
    }
}

impl fmt::Debug for AuthDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthDocument")
            .field("mode", &self.mode())
            .field("identity", &self.identity())
            .field("fingerprint", &self.fingerprint())
            .field("last_refresh", &self.last_refresh)
            .field("oddities", &self.oddities)
            .finish_non_exhaustive()
    }
}

/// Names the credential in a document; equal revisions hold the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision([u8; 32]);

/// Something strange that does not keep a document from loading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentWarning {
    /// A mode of a newer build.
    #[error("auth_mode \"{}\" is not known to this version; Codex 0.169 cannot read the login", shown(.0))]
    UnknownMode(String),
    /// An `id_token` that cannot be decoded.
    #[error("the id_token cannot be decoded ({0}); Codex 0.169 cannot read the login")]
    IdToken(#[source] claims::Error),
    /// A field that Codex demands.
    #[error("{0} is missing; Codex 0.169 cannot read the login")]
    Missing(&'static str),
    /// A `tokens.oauth_provenance` that lacks a part, or is something else.
    #[error(
        "tokens.oauth_provenance does not have the texts issuer and client_id; Codex 0.169 cannot read the login"
    )]
    Provenance,
    /// A `last_refresh` that is no RFC 3339 time.
    #[error("last_refresh is not an RFC 3339 time; Codex 0.169 cannot read the login")]
    LastRefresh,
}

/// Why bytes are not a document. None of the bytes is in the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Not plain UTF-8.
    #[error("it {what}")]
    Encoding {
        /// What is wrong with the bytes.
        what: &'static str,
    },
    /// Not JSON as a document must be.
    #[error("it is not valid JSON")]
    Json(#[source] serde_json::Error),
    /// A known field of a wrong type.
    #[error("{name} must be {expected}")]
    Field {
        /// The field, with its parent.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

fn string<'a>(fields: &'a Fields, name: &'static str) -> Result<Option<&'a str>, Error> {
    match fields.value(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::Field { name, expected: "a text" }),
    }
}

/// A word of a stranger's file, fit for one line of a terminal.
fn shown(word: &str) -> String {
    word.chars().filter(|letter| !letter.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests;
