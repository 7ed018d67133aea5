//! The document that a keeper exports: an access token without the tokens that outlive it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::auth_document::{API_KEY, AUTH_MODE, AuthDocument, LAST_REFRESH, TOKENS};
use super::json::{Fields, Json};
use super::mode::AuthMode;
use super::tokens::DUMMY;
use crate::claims;

/// The signature of a rebuilt `id_token`. Codex requires one that is not empty, and verifies none.
const UNSIGNED: &str = "unsigned";

impl AuthDocument {
    /// Returns the document to hand in to a container: the access token, a dummy instead of the refresh token, and an
    /// unsigned `id_token` with the e-mail address, plan, user and workspace. The real `id_token` can be exchanged for
    /// an API key. `None` for a login other than a ChatGPT account with an access token.
    ///
    /// Codex 0.169 and 0.171 adopt a later access token from such a file by themselves.
    #[must_use]
    pub fn exported(&self, now: Timestamp) -> Option<Self> {
        if !matches!(self.mode()?, AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens) {
            return None;
        }
        let access_token = self.bearer()?;
        let mut tokens = Fields::default();
        tokens.set("id_token", self.unsigned_id_token().as_str());
        tokens.set("access_token", access_token.expose());
        tokens.set("refresh_token", DUMMY);
        tokens.set("account_id", self.workspace().as_deref());
        let mut fields = Fields::default();
        fields.set(AUTH_MODE, AuthMode::ChatGpt.as_str());
        fields.set(API_KEY, Json::Null);
        fields.set(TOKENS, tokens);
        // Without it Codex takes the document for no login.
        fields.set(LAST_REFRESH, format!("{:.9}", self.last_refresh().unwrap_or(now)).as_str());
        // Every field has its right type, so this does not fail.
        Self::from_fields(fields).ok()
    }

    fn unsigned_id_token(&self) -> Zeroizing<String> {
        let (id, access) = (self.claims(), self.access_claims());
        let payload = json!({
            "email": id.email.as_ref().or(access.email.as_ref()),
            claims::AUTH: {
                "chatgpt_plan_type": id.plan.as_ref().or(access.plan.as_ref()).map(claims::PlanType::as_str),
                "chatgpt_user_id": self.identity().user_id,
                "chatgpt_account_id": self.workspace(),
            },
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(&json!({"alg": "none", "typ": "JWT"}));
        Zeroizing::new(format!("{header}.{}.{UNSIGNED}", part(&payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::TokenOwner;
    use super::*;

    fn login(mode: &str) -> AuthDocument {
        let token = |payload: &serde_json::Value, signature: &str| {
            format!("e30.{}.{signature}", URL_SAFE_NO_PAD.encode(payload.to_string()))
        };
        let auth = json!({"chatgpt_plan_type": "plus", "chatgpt_user_id": "u", "chatgpt_account_id": "old"});
        let id_token = json!({"email": "ada@example.com", "jti": "of-the-id", claims::AUTH: auth});
        let access_token = json!({"exp": 1_800_000_000, claims::AUTH: {"chatgpt_account_id": "new"}});
        let text = json!({
            "auth_mode": mode, "OPENAI_API_KEY": "sk-marked", "marked": "marked",
            "tokens": {
                "id_token": token(&id_token, "marked"), "access_token": token(&access_token, "sig"),
                "refresh_token": "rt-marked", "account_id": "old", "login_owner_id": "marked",
                "oauth_provenance": {"issuer": "https://marked.example", "client_id": "marked"},
            },
            "last_refresh": "2027-01-15T08:00:00Z",
        });
        AuthDocument::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_exported_document_has_the_access_token_and_nothing_else_that_works() {
        let login = login("chatgpt");
        let exported = login.exported(Timestamp::now()).unwrap();
        let text = String::from_utf8(exported.to_pretty().to_vec()).unwrap();
        assert!(!text.contains("marked"), "{text}");
        let kept = AuthDocument::parse(text.as_bytes()).unwrap();
        assert_eq!((kept.bearer(), kept.fingerprint()), (login.bearer(), None));
        assert_eq!(kept.tokens().map(|tokens| tokens.owner), Some(TokenOwner::Keeper));
        assert!(kept.is_handed_in() && !login.is_handed_in());
        let claims = kept.claims();
        assert_eq!(claims.email.as_deref(), Some("ada@example.com"));
        assert_eq!(claims.plan.as_ref().map(claims::PlanType::as_str), Some("plus"));
        assert_eq!(kept.identity(), super::super::Identity::new(Some("new".into()), Some("u".into())));
        assert_eq!((kept.last_refresh(), kept.warnings()), (login.last_refresh(), &[][..]));
        // An export of an export is the same document.
        assert_eq!(kept.exported(Timestamp::now()).unwrap().revision(), kept.revision());
    }

    #[test]
    fn only_a_chatgpt_account_is_exported() {
        assert!(login("chatgptAuthTokens").exported(Timestamp::now()).is_some());
        for mode in ["apikey", "agentIdentity", "personalAccessToken", "bedrockApiKey", "fromTheFuture"] {
            assert!(login(mode).exported(Timestamp::now()).is_none(), "{mode}");
        }
    }
}
