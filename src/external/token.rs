//! The token type that all providers return.

use jiff::Timestamp;

use super::error::Error;
use crate::claims::{Claims, PlanType};
use crate::document::{AuthDocument, ExternalLogin, Identity};
use crate::secret::{Fingerprint, Secret};

/// A bearer token of a provider, with its expiry and account if known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalToken {
    access_token: Secret,
    expires_at: Option<Timestamp>,
    account: Option<ChatGptAccount>,
}

/// The ChatGPT account of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatGptAccount {
    /// The account id, which identifies a workspace.
    pub id: String,
    /// The subscription, if the provider overrides the claim of the token.
    pub plan: Option<PlanType>,
}

impl ChatGptAccount {
    /// Creates the account of this id.
    #[must_use]
    pub fn new(id: impl Into<String>, plan: Option<PlanType>) -> Self {
        Self { id: id.into(), plan }
    }
}

impl ExternalToken {
    /// Creates a bare bearer token. If it is a JWT, its expiry is read from the claims.
    #[must_use]
    pub fn bearer(access_token: Secret) -> Self {
        let expires_at = Claims::read(&access_token).ok().and_then(|claims| claims.expires_at);
        Self { access_token, expires_at, account: None }
    }

    /// Creates the token of a ChatGPT account.
    ///
    /// # Errors
    /// [`Error::NotAJwt`]: the token is not a JWT.
    pub fn chatgpt(access_token: Secret, account: ChatGptAccount) -> Result<Self, Error> {
        let claims = Claims::read(&access_token).map_err(Error::NotAJwt)?;
        Ok(Self { access_token, expires_at: claims.expires_at, account: Some(account) })
    }

    /// Returns the same token with the expiry `moment`, which overrides its claim.
    #[must_use]
    pub fn with_expiry(self, moment: Timestamp) -> Self {
        Self { expires_at: Some(moment), ..self }
    }

    /// Returns the bearer token of requests.
    #[must_use]
    pub fn access_token(&self) -> &Secret {
        &self.access_token
    }

    /// Returns when the token expires, if that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Returns the ChatGPT account of the token, if it has one.
    #[must_use]
    pub fn account(&self) -> Option<&ChatGptAccount> {
        self.account.as_ref()
    }

    /// Returns the owner of the token. Without an account the ids are unknown, which contradicts no other identity.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::new(self.account.as_ref().map(|account| account.id.clone()), None)
    }

    /// Returns the fingerprint of the token.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.access_token.fingerprint()
    }

    /// Returns whether the token has not expired at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Creates the token-only document of a login by this token, received at `now`.
    ///
    /// # Errors
    /// [`Error::NoAccount`]: the token has no account.
    pub fn to_document(&self, now: Timestamp) -> Result<AuthDocument, Error> {
        let account = self.account.as_ref().ok_or(Error::NoAccount)?;
        let login = ExternalLogin {
            access_token: self.access_token.clone(),
            account_id: account.id.clone(),
            plan: account.plan.clone(),
        };
        AuthDocument::with_external_login(&login, now).map_err(Error::NotAJwt)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::document::AuthMode;

    fn jwt() -> Secret {
        let claims = json!({"exp": 2_000, "iat": 1_000, "email": "ada@example.com",
            "https://api.openai.com/auth": {"chatgpt_plan_type": "plus", "chatgpt_user_id": "user-1"}});
        Secret::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_bearer_token_expires_as_it_claims_or_as_its_provider_sets() {
        let opaque = ExternalToken::bearer(Secret::from("opaque"));
        assert!(opaque.expires_at().is_none() && opaque.is_valid_at(Timestamp::MAX));
        let token = ExternalToken::bearer(jwt());
        assert!(token.is_valid_at(at(1_999)) && !token.is_valid_at(at(2_000)));
        assert!(!token.with_expiry(at(1_500)).is_valid_at(at(1_500)));
    }

    #[test]
    fn external_auth_tokens_without_chatgpt_metadata_cannot_seed_chatgpt_auth() {
        let bare = ExternalToken::bearer(jwt());
        let error = bare.to_document(at(1_000)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a ChatGPT login needs an account id, but the provider issued only a bearer token"
        );
        let account = || ChatGptAccount::new("acct-1", None);
        assert!(matches!(ExternalToken::chatgpt(Secret::from("opaque"), account()), Err(Error::NotAJwt(_))));
        let document = ExternalToken::chatgpt(jwt(), account()).unwrap().to_document(at(1_000)).unwrap();
        assert_eq!(document.mode(), Some(AuthMode::ChatGptAuthTokens));
        assert_eq!(document.identity().account_id.as_deref(), Some("acct-1"));
        assert_eq!(document.claims().plan.as_ref().map(PlanType::as_str), Some("plus"));
        assert_eq!((document.fingerprint(), document.last_refresh()), (None, Some(at(1_000))));
    }

    #[test]
    fn the_plan_of_the_provider_overrides_that_of_the_token() {
        let account = ChatGptAccount::new("acct-1", Some(PlanType::from_name("pro")));
        let document = ExternalToken::chatgpt(jwt(), account).unwrap().to_document(at(1_000)).unwrap();
        assert_eq!(document.claims().plan.as_ref().map(PlanType::as_str), Some("pro"));
    }

    #[test]
    fn debug_shows_no_token() {
        let token = ExternalToken::bearer(Secret::from("marked-token"));
        assert!(!format!("{token:?}").contains("marked"), "{token:?}");
    }
}
