//! Choosing between two copies of a login, by the authority's clock and never by a local one.

use std::fmt;

use crate::config::StoreKind;
use crate::document::AuthDocument;

/// Why a copy was preferred over another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyPreference {
    /// Nothing distinguishes them; it is the first by a stable id.
    First,
    /// It is in the keychain, which Codex's `auto` prefers.
    Keychain,
    /// Its access token was issued later, by the authority's clock.
    LaterToken,
    /// The other copy cannot be parsed.
    Readable,
    /// `state.json` names its store.
    Recorded,
}

impl fmt::Display for CopyPreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "the first of equal copies",
            Self::Keychain => "the keychain takes precedence over the file",
            Self::LaterToken => "the one with the newer token",
            Self::Readable => "the only one that can be parsed",
            Self::Recorded => "the store that was used last",
        })
    }
}

/// The document with the later token, of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaterCopy {
    First,
    Second,
}

/// Returns which document of one login has the later token. `None` if they are different logins or the tokens have no
/// or equal issue times.
pub(super) fn later(first: &AuthDocument, second: &AuthDocument) -> Option<LaterCopy> {
    if first.mode() != second.mode() || !first.is_same_login_as(second) {
        return None;
    }
    let (first, second) = (first.access_claims().issued_at?, second.access_claims().issued_at?);
    match first.cmp(&second) {
        std::cmp::Ordering::Greater => Some(LaterCopy::First),
        std::cmp::Ordering::Less => Some(LaterCopy::Second),
        std::cmp::Ordering::Equal => None,
    }
}

/// Returns which of two copies is preferred, the one in the keychain or the one in the file, and why.
pub(super) fn preferred_store(
    keychain: &AuthDocument,
    file: &AuthDocument,
    recorded: Option<StoreKind>,
) -> (StoreKind, CopyPreference) {
    match (later(keychain, file), recorded) {
        (Some(LaterCopy::First), _) => (StoreKind::Keychain, CopyPreference::LaterToken),
        (Some(LaterCopy::Second), _) => (StoreKind::File, CopyPreference::LaterToken),
        (None, Some(kind)) => (kind, CopyPreference::Recorded),
        (None, None) => (StoreKind::Keychain, CopyPreference::Keychain),
    }
}

/// Returns whether `copy` is the same login, or an older state of it.
pub(super) fn is_copy(copy: &AuthDocument, login: &AuthDocument) -> bool {
    let same_login = copy.is_same_login_as(login);
    let login_of = |document: &AuthDocument| document.tokens().and_then(|tokens| tokens.login_id.clone());
    let other_login = matches!((login_of(copy), login_of(login)), (Some(one), Some(other)) if one != other);
    copy.revision() == login.revision() || (same_login && copy.mode() == login.mode() && !other_login)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn copy(token: &str, account: &str, issued: Option<i64>) -> AuthDocument {
        let user = (account != "legacy").then_some("u");
        let access = URL_SAFE_NO_PAD.encode(json!({ "iat": issued }).to_string());
        let claims = json!({"https://api.openai.com/auth": {"chatgpt_user_id": user}});
        let id = URL_SAFE_NO_PAD.encode(claims.to_string());
        let document = json!({"auth_mode": "chatgpt", "tokens": {
            "id_token": format!("e30.{id}.c2ln"), "access_token": format!("e30.{access}.c2ln"),
            "refresh_token": token, "account_id": account
        }});
        AuthDocument::parse(document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_later_token_wins_between_copies_of_one_login_and_the_recorded_store_otherwise() {
        use CopyPreference::{Keychain, LaterToken, Recorded};
        let file = Some(StoreKind::File);
        for (ours, theirs, recorded, kind, reason) in [
            (("a", Some(2)), ("a", Some(1)), file, StoreKind::Keychain, LaterToken),
            (("a", Some(1)), ("a", Some(2)), None, StoreKind::File, LaterToken),
            (("a", Some(1)), ("a", Some(1)), file, StoreKind::File, Recorded),
            (("a", Some(1)), ("a", None), None, StoreKind::Keychain, Keychain),
            (("a", Some(2)), ("b", Some(1)), file, StoreKind::File, Recorded),
            (("a", Some(1)), ("b", Some(2)), None, StoreKind::Keychain, Keychain),
            (("legacy", Some(1)), ("legacy", Some(2)), None, StoreKind::Keychain, Keychain),
        ] {
            let (keychain, file) = (copy("rt-1", ours.0, ours.1), copy("rt-2", theirs.0, theirs.1));
            let preferred = preferred_store(&keychain, &file, recorded);
            assert_eq!(preferred, (kind, reason), "{ours:?} {theirs:?} {recorded:?}");
        }
    }
}
