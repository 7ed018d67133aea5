//! The bodies of refresh and revocation requests, and the token response.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::endpoint::{Endpoint, EndpointError, client_id};
use crate::claims::Claims;
use crate::config::Environment;
use crate::document::{AuthDocument, AuthMode, Identity, NewTokens, Provenance, TokenOwner, Tokens};
use crate::secret::{Secret, write_exact};

/// A refresh request.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers construct it, and the request has no other fields")]
pub struct Refresh {
    /// The token endpoint.
    pub endpoint: Endpoint,
    /// The client that the token was issued to.
    pub client_id: String,
    /// The token to spend. An empty one is never sent.
    pub refresh_token: Secret,
    /// The reason that is sent along.
    pub reason: StaleTokenReason,
}

impl Refresh {
    pub(super) fn body(&self) -> Zeroizing<Vec<u8>> {
        to_json(&RefreshBody {
            client_id: &self.client_id,
            grant_type: "refresh_token",
            refresh_reason: self.reason.as_str(),
            refresh_token: self.refresh_token.expose(),
        })
    }
}

/// Why a token is refreshed; sent as `refresh_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleTokenReason {
    /// The user or a client asked for it.
    Forced,
    /// The access token is about to expire.
    ProactiveExpiry,
    /// The access token has no expiry and is old.
    Scheduled,
    /// A server answered 401 to the access token.
    UnauthorizedRecovery,
}

impl StaleTokenReason {
    /// Returns the value on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forced => "forced",
            Self::ProactiveExpiry => "proactive_expiry",
            Self::Scheduled => "scheduled",
            Self::UnauthorizedRecovery => "unauthorized_recovery",
        }
    }
}

impl fmt::Display for StaleTokenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A revocation request.
#[derive(Clone, Debug)]
pub struct Revocation {
    pub(super) endpoint: Endpoint,
    pub(super) token: Secret,
    kind: TokenKind,
}

#[derive(Clone, Debug)]
enum TokenKind {
    Access,
    Refresh { client_id: String },
}

impl Revocation {
    /// Revokes an access token.
    #[must_use]
    pub fn of_access_token(endpoint: Endpoint, token: Secret) -> Self {
        Self { endpoint, token, kind: TokenKind::Access }
    }

    /// Revokes a refresh token that was issued to `client_id`.
    #[must_use]
    pub fn of_refresh_token(endpoint: Endpoint, client_id: String, token: Secret) -> Self {
        Self { endpoint, token, kind: TokenKind::Refresh { client_id } }
    }

    /// Revokes the refresh token, else the access token; `None` if there is neither.
    fn of_tokens(
        environment: &Environment,
        provenance: &Provenance,
        [refresh_token, access_token]: [&Option<Secret>; 2],
    ) -> Result<Option<Self>, EndpointError> {
        let usable = |token: &Option<Secret>| token.clone().filter(|token| !token.is_empty());
        let endpoint = Endpoint::revoke(environment, provenance)?;
        Ok(match (usable(refresh_token), usable(access_token)) {
            (Some(token), _) => {
                Some(Self::of_refresh_token(endpoint, client_id(provenance).to_owned(), token))
            }
            (None, Some(token)) => Some(Self::of_access_token(endpoint, token)),
            (None, None) => None,
        })
    }

    /// Revokes the tokens of a response that is in no document: the refresh token, else the access token; `None` if it
    /// has neither.
    ///
    /// # Errors
    /// As [`Self::of_document`].
    pub fn of_response(
        environment: &Environment,
        provenance: &Provenance,
        tokens: &NewTokens,
    ) -> Result<Option<Self>, EndpointError> {
        Self::of_tokens(environment, provenance, [&tokens.refresh_token, &tokens.access_token])
    }

    /// Revokes a login that the authority issued to Codex: by its refresh token, or by the access token if that is
    /// empty. `None` for what must not be revoked: API keys, and tokens that belong to a login elsewhere.
    ///
    /// # Errors
    /// [`EndpointError`]: the document or the environment names an address that must not receive a token.
    pub fn of_document(
        environment: &Environment,
        document: &AuthDocument,
    ) -> Result<Option<Self>, EndpointError> {
        let issued = matches!(document.mode(), Some(AuthMode::ChatGpt | AuthMode::Unknown(_)));
        let own = |tokens: &&Tokens| issued && tokens.owner == TokenOwner::ThisDocument;
        let Some(tokens) = document.tokens().filter(own) else { return Ok(None) };
        Self::of_tokens(environment, &tokens.provenance, [&tokens.refresh_token, &tokens.access_token])
    }

    pub(super) fn body(&self) -> Zeroizing<Vec<u8>> {
        let (token_type_hint, client_id) = match &self.kind {
            TokenKind::Access => ("access_token", None),
            TokenKind::Refresh { client_id } => ("refresh_token", Some(client_id.as_str())),
        };
        to_json(&RevocationBody { token: self.token.expose(), token_type_hint, client_id })
    }
}

/// The result of a revocation that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "either way the token is invalid; there is no third case")]
pub enum RevocationOutcome {
    /// The token was invalid already.
    AlreadyInvalid,
    /// The authority revoked the token.
    Revoked,
}

/// The response to a refresh. A field that is missing or null keeps its old value.
///
/// No field is empty. All are wiped on drop, and `Debug` shows fingerprints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenResponse {
    /// The owner's claims: a JWT, unless the authority sent something else.
    pub id_token: Option<Secret>,
    /// The new access token.
    pub access_token: Option<Secret>,
    /// The successor of the token that was spent.
    pub refresh_token: Option<Secret>,
}

impl TokenResponse {
    /// Parses the authority's response.
    ///
    /// If the response has a new refresh token, other fields that are empty or not a string count as missing: the old
    /// token is spent, so its successor must not be lost.
    ///
    /// # Errors
    /// [`InvalidTokenResponse`]; it quotes nothing of the response.
    pub fn from_json(bytes: &[u8]) -> Result<Self, InvalidTokenResponse> {
        // serde would accept an array whose elements are the fields in order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(InvalidTokenResponse::NotAnObject);
        }
        // The parser's message quotes the input, so only its category is kept.
        let answered: RawTokenResponse = serde_json::from_slice(bytes).map_err(|error| {
            if error.is_data() { InvalidTokenResponse::Field } else { InvalidTokenResponse::NotAnObject }
        })?;
        let has_successor = matches!(&answered.refresh_token, TokenField::Text(token) if !token.is_empty());
        let token = |name, given| match given {
            TokenField::Text(token) if !token.is_empty() => Ok(Some(token)),
            TokenField::Missing => Ok(None),
            _ if has_successor => Ok(None),
            TokenField::Text(_) => Err(InvalidTokenResponse::Empty { name }),
            TokenField::NotText => Err(InvalidTokenResponse::Field),
        };
        Ok(Self {
            id_token: token("id_token", answered.id_token)?,
            access_token: token("access_token", answered.access_token)?,
            refresh_token: token("refresh_token", answered.refresh_token)?,
        })
    }

    /// Returns the identity in the `id_token`; it is empty without one or if it cannot be decoded.
    #[must_use]
    pub fn identity(&self) -> Identity {
        identity(self.id_token.as_ref())
    }

    /// Whether one of the tokens is known to belong to another user than `spent`.
    #[must_use]
    pub fn is_another_users_than(&self, spent: &Identity) -> bool {
        [self.identity(), identity(self.access_token.as_ref())]
            .iter()
            .any(|given| given.is_different_user(spent))
    }
}

fn identity(token: Option<&Secret>) -> Identity {
    let claims = token.and_then(|token| Claims::read(token).ok()).unwrap_or_default();
    Identity::new(claims.account_id, claims.user_id)
}

impl From<TokenResponse> for NewTokens {
    fn from(response: TokenResponse) -> Self {
        let TokenResponse { id_token, access_token, refresh_token } = response;
        Self { id_token, access_token, refresh_token }
    }
}

/// Why bytes are not a token response. The message quotes none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTokenResponse {
    /// A token is the empty string.
    #[error("its {name} is empty")]
    Empty {
        /// The field.
        name: &'static str,
    },
    /// A token is not a string, or is there twice.
    #[error("one of its tokens is not a string, or is there twice")]
    Field,
    /// A required field is missing.
    #[error("it has no {name}")]
    Missing {
        /// The field.
        name: &'static str,
    },
    /// The body is not a single JSON object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// The body is larger than any token response.
    #[error("it is too large")]
    TooLarge,
}

/// The fields are in Codex's order.
#[derive(Serialize)]
struct RefreshBody<'a> {
    client_id: &'a str,
    grant_type: &'static str,
    refresh_reason: &'static str,
    refresh_token: &'a str,
}

/// The fields are in Codex's order.
#[derive(Serialize)]
struct RevocationBody<'a> {
    token: &'a str,
    token_type_hint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
}

/// Serialises `body` as JSON, without unwiped copies.
pub(super) fn to_json(body: &impl Serialize) -> Zeroizing<Vec<u8>> {
    write_exact(|sink| serde_json::to_writer(sink, body))
}

/// A token response before validation.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTokenResponse {
    id_token: TokenField,
    access_token: TokenField,
    refresh_token: TokenField,
}

/// The value of a token field.
#[derive(Default)]
enum TokenField {
    #[default]
    Missing,
    NotText,
    Text(Secret),
}

impl<'de> Deserialize<'de> for TokenField {
    /// Deserialises directly: an intermediate [`serde_json::Value`] would hold copies that are not wiped.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = TokenField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E>(self, text: &str) -> Result<TokenField, E> {
                Ok(TokenField::Text(Secret::from(text)))
            }

            fn visit_string<E>(self, text: String) -> Result<TokenField, E> {
                Ok(TokenField::Text(Secret::new(text)))
            }

            fn visit_unit<E>(self) -> Result<TokenField, E> {
                Ok(TokenField::Missing)
            }

            fn visit_bool<E>(self, _: bool) -> Result<TokenField, E> {
                Ok(TokenField::NotText)
            }

            fn visit_i64<E>(self, _: i64) -> Result<TokenField, E> {
                Ok(TokenField::NotText)
            }

            fn visit_u64<E>(self, _: u64) -> Result<TokenField, E> {
                Ok(TokenField::NotText)
            }

            fn visit_f64<E>(self, _: f64) -> Result<TokenField, E> {
                Ok(TokenField::NotText)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<TokenField, A::Error> {
                IgnoredAny.visit_seq(list).map(|_| TokenField::NotText)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<TokenField, A::Error> {
                IgnoredAny.visit_map(object).map(|_| TokenField::NotText)
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::document::{AuthDocument, Provenance};

    fn endpoint() -> Endpoint {
        let environment = Environment::read(|name| (name == "CODEX_HOME").then(|| "/place".into())).unwrap();
        Endpoint::refresh(&environment, &Provenance::default()).unwrap()
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_refresh_is_written_as_codex_writes_it() {
        for (reason, word) in [
            (StaleTokenReason::Forced, "forced"),
            (StaleTokenReason::ProactiveExpiry, "proactive_expiry"),
            (StaleTokenReason::Scheduled, "scheduled"),
            (StaleTokenReason::UnauthorizedRecovery, "unauthorized_recovery"),
        ] {
            let (client_id, refresh_token) = ("app_1".to_owned(), Secret::from("rt-\"1"));
            let refresh = Refresh { endpoint: endpoint(), client_id, refresh_token, reason };
            assert_eq!(
                text(&refresh.body()),
                format!(
                    r#"{{"client_id":"app_1","grant_type":"refresh_token","refresh_reason":"{word}","refresh_token":"rt-\"1"}}"#
                )
            );
        }
    }

    #[test]
    fn a_revocation_takes_the_refresh_token_and_else_the_access_token() {
        for (tokens, body) in [
            (
                r#"{"refresh_token":"rt-1","access_token":"at-1"}"#,
                Some(r#"{"token":"rt-1","token_type_hint":"refresh_token","client_id":"app_1"}"#),
            ),
            (
                r#"{"refresh_token":"","access_token":"at-1"}"#,
                Some(r#"{"token":"at-1","token_type_hint":"access_token"}"#),
            ),
            (r#"{"access_token":""}"#, None),
        ] {
            let document = AuthDocument::parse(format!(r#"{{"tokens":{tokens}}}"#).as_bytes()).unwrap();
            let tokens_of = document.tokens().unwrap();
            let pair = [&tokens_of.refresh_token, &tokens_of.access_token];
            let provenance = Provenance::new(None, Some("app_1".to_owned()));
            let environment = Environment::for_home("/");
            let revocation = Revocation::of_tokens(&environment, &provenance, pair).unwrap();
            let written = revocation.map(|revocation| revocation.body());
            assert_eq!(written.as_ref().map(|body| text(body)), body, "{tokens}");
        }
    }

    fn exposed(response: &TokenResponse) -> [Option<&str>; 3] {
        let TokenResponse { id_token, access_token, refresh_token } = response;
        [id_token, access_token, refresh_token].map(|token| token.as_ref().map(Secret::expose))
    }

    #[test]
    fn a_missing_field_is_none_and_unknown_fields_are_ignored() {
        for (json, tokens) in [
            ("{}", [None, None, None]),
            (r#"{"id_token":null,"access_token":"a","expires_in":1,"scope":["s"]}"#, [None, Some("a"), None]),
            (" \n{\"refresh_token\":\"r\",\"id_token\":\"i\"} ", [Some("i"), None, Some("r")]),
        ] {
            let response = TokenResponse::from_json(json.as_bytes()).unwrap();
            assert_eq!(exposed(&response), tokens, "{json}");
        }
    }

    #[test]
    fn a_new_refresh_token_is_kept_although_other_fields_are_invalid() {
        for odd in ["5", "-5", "0.5", "true", "null", "\"\"", r#"["marked",{}]"#, r#"{"marked":["marked"]}"#]
        {
            let json =
                format!(r#"{{"id_token":{odd},"refresh_token":"r","access_token":{odd},"scope":{odd}}}"#);
            let response = TokenResponse::from_json(json.as_bytes()).unwrap();
            assert_eq!(exposed(&response), [None, None, Some("r")]);
        }
    }

    #[test]
    fn an_invalid_response_is_described_and_not_shown() {
        for (json, error) in [
            ("", InvalidTokenResponse::NotAnObject),
            ("marked", InvalidTokenResponse::NotAnObject),
            (r#"["marked","marked","marked"]"#, InvalidTokenResponse::NotAnObject),
            (r#"{"refresh_token":"marked"#, InvalidTokenResponse::NotAnObject),
            (r#"{"refresh_token":"marked"} marked"#, InvalidTokenResponse::NotAnObject),
            (r#"{"access_token":"marked","refresh_token":5}"#, InvalidTokenResponse::Field),
            (r#"{"id_token":{"marked":"marked"}}"#, InvalidTokenResponse::Field),
            (r#"{"access_token":"marked","access_token":"marked"}"#, InvalidTokenResponse::Field),
            (r#"{"access_token":""}"#, InvalidTokenResponse::Empty { name: "access_token" }),
            (
                r#"{"access_token":"marked","refresh_token":""}"#,
                InvalidTokenResponse::Empty { name: "refresh_token" },
            ),
        ] {
            assert_eq!(TokenResponse::from_json(json.as_bytes()), Err(error), "{json}");
            assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
        }
        assert_eq!(
            TokenResponse::from_json(b"{\"id_token\":\"\xff\"}"),
            Err(InvalidTokenResponse::NotAnObject)
        );
    }

    #[test]
    fn tokens_that_cannot_be_decoded_have_an_empty_identity() {
        for json in ["{}", r#"{"id_token":"opaque"}"#, r#"{"access_token":"a.b.c"}"#] {
            let response = TokenResponse::from_json(json.as_bytes()).unwrap();
            assert_eq!(response.identity(), Identity::default(), "{json}");
        }
    }

    #[test]
    fn debug_output_shows_no_token() {
        let response = TokenResponse::from_json(br#"{"access_token":"marked"}"#).unwrap();
        let revocation = Revocation::of_access_token(endpoint(), Secret::from("marked"));
        let refresh = Refresh {
            endpoint: endpoint(),
            client_id: String::new(),
            refresh_token: Secret::from("marked"),
            reason: StaleTokenReason::Forced,
        };
        let shown = format!("{response:?} {revocation:?} {refresh:?}");
        assert!(!shown.contains("marked"), "{shown}");
    }
}
