//! The document of a login.

use std::fmt;
use std::str::FromStr as _;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::error::{DocumentWarning, Error};
use super::json::{Fields, Json, string};
use super::mode::AuthMode;
use super::tokens::{TokenOwner, Tokens};
use crate::claims::Claims;
use crate::secret::{Fingerprint, Secret, digest};

pub(super) const AUTH_MODE: &str = "auth_mode";
pub(super) const API_KEY: &str = "OPENAI_API_KEY";
pub(super) const TOKENS: &str = "tokens";
pub(super) const LAST_REFRESH: &str = "last_refresh";
pub(super) const AGENT_IDENTITY: &str = "agent_identity";
pub(super) const PERSONAL_ACCESS_TOKEN: &str = "personal_access_token";
pub(super) const BEDROCK_API_KEY: &str = "bedrock_api_key";
pub(super) const BEDROCK_ACCESS_KEYS: &str = "bedrock_access_keys";

/// A login as it is stored.
///
/// Writing a parsed document yields the same keys and values in the same order. `Debug` shows fingerprints. The memory
/// is wiped on drop.
#[derive(Clone)]
pub struct AuthDocument {
    pub(super) fields: Fields,
    mode: Option<AuthMode>,
    api_key: Option<Secret>,
    personal_access_token: Option<Secret>,
    agent_identity: Option<Secret>,
    tokens: Option<Tokens>,
    pub(super) claims: Claims,
    access_claims: Claims,
    last_refresh: Option<Timestamp>,
    warnings: Vec<DocumentWarning>,
}

impl AuthDocument {
    /// Parses the content of a file or a keychain item.
    ///
    /// # Errors
    /// - [`Error::Empty`]: it is empty or only white space.
    /// - [`Error::Encoding`]: it is not UTF-8, or starts with a byte order mark, which Codex refuses too.
    /// - [`Error::NotAnObject`]: it is another value of JSON.
    /// - [`Error::Json`]: it is not JSON, has a duplicate key, or is nested too deeply.
    /// - [`Error::Field`]: a known field has the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(Error::Encoding { what: "starts with a byte order mark" });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Error::Encoding { what: "is not UTF-8" })?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::Empty);
        }
        Fields::parse(text).and_then(Self::from_fields)
    }

    /// Creates the document of a login by API key, as `codex login --with-api-key` writes it.
    #[must_use]
    pub fn with_api_key(key: &Secret) -> Self {
        let mut fields = Fields::default();
        fields.set(AUTH_MODE, AuthMode::ApiKey.as_str());
        fields.set(API_KEY, key.expose());
        let mut document = Self::blank(fields);
        document.mode = Some(AuthMode::ApiKey);
        document.api_key = Some(key.clone());
        document
    }

    /// Creates the document of a login by personal access token. It has no `auth_mode`, because versions of Codex that
    /// do not know the mode would refuse the file.
    #[must_use]
    pub fn with_personal_access_token(token: &Secret) -> Self {
        let mut fields = Fields::default();
        fields.set(API_KEY, Json::Null);
        fields.set(PERSONAL_ACCESS_TOKEN, token.expose());
        let mut document = Self::blank(fields);
        document.personal_access_token = Some(token.clone());
        document
    }

    /// Creates the document of a login by agent identity token, a JWT.
    #[must_use]
    pub fn with_agent_identity(token: &Secret) -> Self {
        let mut fields = Fields::default();
        fields.set(AUTH_MODE, AuthMode::AgentIdentity.as_str());
        fields.set(API_KEY, Json::Null);
        fields.set(AGENT_IDENTITY, token.expose());
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
            warnings: Vec::new(),
        }
    }

    pub(super) fn from_fields(fields: Fields) -> Result<Self, Error> {
        let mut document = Self::blank(fields);
        let fields = &document.fields;
        let text = |name: &'static str| string(fields.value(name), name);
        document.mode = text(AUTH_MODE)?.map(AuthMode::from_name);
        document.api_key = text(API_KEY)?.map(Secret::from);
        document.personal_access_token = text(PERSONAL_ACCESS_TOKEN)?.map(Secret::from);
        document.agent_identity = match fields.value(AGENT_IDENTITY) {
            Some(Json::String(token)) => Some(Secret::from(token.as_str())),
            None | Some(Json::Object(_)) => None,
            Some(_) => return Err(Error::Field { name: AGENT_IDENTITY, expected: "a string or an object" }),
        };
        for key in [BEDROCK_API_KEY, BEDROCK_ACCESS_KEYS] {
            if fields.value(key).is_some_and(|value| value.as_object().is_none()) {
                return Err(Error::Field { name: key, expected: "an object" });
            }
        }
        let mut warnings = Vec::new();
        if let Some(AuthMode::Unknown(word)) = &document.mode {
            warnings.push(DocumentWarning::UnknownMode(word.clone()));
        }
        document.last_refresh = match text(LAST_REFRESH)?.map(Timestamp::from_str) {
            Some(Ok(moment)) => Some(moment),
            Some(Err(_)) => {
                warnings.push(DocumentWarning::LastRefresh);
                None
            }
            None => None,
        };
        if let Some(value) = fields.value(TOKENS) {
            let Json::Object(fields) = value else {
                return Err(Error::Field { name: TOKENS, expected: "an object" });
            };
            let tokens = Tokens::read(fields, &mut warnings)?;
            document.claims = tokens.read_claims(&mut warnings);
            document.access_claims =
                tokens.access_token.as_ref().and_then(|token| Claims::read(token).ok()).unwrap_or_default();
            document.tokens = Some(tokens);
        }
        document.warnings = warnings;
        Ok(document)
    }

    /// Returns the text for the file: indented by two spaces, without a newline at the end.
    #[must_use]
    pub fn to_pretty(&self) -> Zeroizing<Vec<u8>> {
        self.fields.pretty()
    }

    /// Returns the text for a keychain item: without white space.
    #[must_use]
    pub fn to_compact(&self) -> Zeroizing<Vec<u8>> {
        self.fields.compact()
    }

    /// Returns the kind of the credential: the declared mode or, if there is none, the one that follows from the
    /// fields, in Codex's order of precedence. `None` if there is no credential; Codex 0.169 takes that for a ChatGPT
    /// login.
    #[must_use]
    pub fn mode(&self) -> Option<AuthMode> {
        if self.mode.is_some() {
            return self.mode.clone();
        }
        let modes = [
            (self.personal_access_token.is_some(), AuthMode::PersonalAccessToken),
            (self.fields.value(BEDROCK_API_KEY).is_some(), AuthMode::BedrockApiKey),
            (self.fields.value(BEDROCK_ACCESS_KEYS).is_some(), AuthMode::BedrockAccessKeys),
            (self.api_key.is_some(), AuthMode::ApiKey),
            (self.tokens.is_some(), AuthMode::ChatGpt),
            (self.fields.value(AGENT_IDENTITY).is_some(), AuthMode::AgentIdentity),
        ];
        modes.into_iter().find_map(|(present, mode)| present.then_some(mode))
    }

    /// Returns the bearer token of requests, according to [`Self::mode`]; `None` if it is missing or the mode has none.
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

    /// Returns the tokens of a ChatGPT login.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// Returns whether a keeper elsewhere hands in this login: it replaces the document at each refresh, and a dummy
    /// stands for the refresh token here.
    #[must_use]
    pub fn is_handed_in(&self) -> bool {
        self.tokens.as_ref().is_some_and(|tokens| tokens.owner == TokenOwner::Keeper)
    }

    /// Returns the claims of the `id_token`; empty if it is missing or cannot be decoded.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Returns the claims of the access token; empty if it is not a JWT.
    #[must_use]
    pub fn access_claims(&self) -> &Claims {
        &self.access_claims
    }

    /// Returns when the tokens were received, by the clock of the machine that wrote them.
    #[must_use]
    pub fn last_refresh(&self) -> Option<Timestamp> {
        self.last_refresh
    }

    /// Returns the fingerprint of the refresh token; `None` for token-only documents and other kinds of credential.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self.mode() {
            Some(AuthMode::ChatGpt | AuthMode::Unknown(_)) => {
                self.tokens.as_ref()?.refresh_token.as_ref().map(Secret::fingerprint)
            }
            _ => None,
        }
    }

    /// Returns the fingerprint that identifies the login during a logout: that of the refresh token, or of the bearer
    /// token if there is none.
    #[must_use]
    pub fn logout_fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint().or_else(|| self.bearer().map(Secret::fingerprint))
    }

    /// Returns what a compare-and-swap compares: the credential, without white space, `last_refresh` and unknown
    /// fields, as in Codex 0.169.
    #[must_use]
    pub fn revision(&self) -> Revision {
        let keys =
            [AUTH_MODE, API_KEY, AGENT_IDENTITY, PERSONAL_ACCESS_TOKEN, BEDROCK_API_KEY, BEDROCK_ACCESS_KEYS];
        let token_keys = ["id_token", "access_token", "refresh_token", "account_id"];
        let tokens = self.fields.value(TOKENS).and_then(Json::as_object);
        let values = keys.into_iter().map(|key| self.fields.value(key));
        let values = values.chain(token_keys.into_iter().map(|key| tokens?.value(key)));
        let texts: Vec<_> = values.map(|value| value.map(Json::compact).unwrap_or_default()).collect();
        // The lengths make the boundaries of the texts part of the digest.
        let lengths: Vec<_> = texts.iter().map(|text| format!("{} ", text.len())).collect();
        Revision(digest(lengths.iter().zip(&texts).flat_map(|(length, text)| [length.as_bytes(), text])))
    }

    /// Returns the faults that did not keep the document from loading.
    #[must_use]
    pub fn warnings(&self) -> &[DocumentWarning] {
        &self.warnings
    }
}

impl fmt::Debug for AuthDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthDocument")
            .field("mode", &self.mode())
            .field("identity", &self.identity())
            .field("fingerprint", &self.fingerprint())
            .field("last_refresh", &self.last_refresh)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// A digest of the credential in a document: equal revisions have the same credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision([u8; 32]);
