//! The one type of token that every provider gives.

use jiff::Timestamp;

use super::Error;
use crate::claims::{Claims, PlanType};
use crate::document::{AuthDocument, ExternalLogin, Identity};
use crate::secret::{Fingerprint, Secret};

/// A bearer token of a provider, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalToken {
    access_token: Secret,
    expires_at: Option<Timestamp>,
    account: Option<ChatGptAccount>,
}

/// The ChatGPT account that a token acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatGptAccount {
    /// The account, which is a workspace.
    pub id: String,
    /// What was paid for, where the provider knows better than the token.
    pub plan: Option<PlanType>,
}

impl ChatGptAccount {
    /// The account of this id.
    #[must_use]
    pub fn new(id: impl Into<String>, plan: Option<PlanType>) -> Self {
        Self { id: id.into(), plan }
    }
}

impl ExternalToken {
    /// A bare bearer token. Where it is a JWT, it ends when it says so.
    #[must_use]
    pub fn bearer(access_token: Secret) -> Self {
        let expires_at = Claims::read(&access_token).ok().and_then(|claims| claims.expires_at);
        Self { access_token, expires_at, account: None }
    }

    /// A token of a ChatGPT account.
    ///
    /// # Errors
    /// [`Error::NotAJwt`]: it does not say whose it is.
    pub fn chatgpt(access_token: Secret, account: ChatGptAccount) -> Result<Self, Error> {
        let claims = Claims::read(&access_token).map_err(Error::NotAJwt)?;
        Ok(Self { access_token, expires_at: claims.expires_at, account: Some(account) })
    }

    /// The same token, which ends at `moment`, whatever it says itself.
    #[must_use]
    pub fn until(self, moment: Timestamp) -> Self {
        Self { expires_at: Some(moment), ..self }
    }

    /// What requests carry.
    #[must_use]
    pub fn access_token(&self) -> &Secret {
        &self.access_token
    }

    /// When it ends, if that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The account that it acts for, if the provider has said.
    #[must_use]
    pub fn account(&self) -> Option<&ChatGptAccount> {
        self.account.as_ref()
    }

    /// Whose it is; of nobody, which matches anybody, where the provider has not said.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::new(self.account.as_ref().map(|account| account.id.clone()), None)
    }

    /// The name of the token.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.access_token.fingerprint()
    }

    /// Whether it can still be used at `now`.
    #[must_use]
    pub fn lives(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// The document of a login by this token, as Codex keeps one in memory: token-only, and received at `now`.
    ///
    /// # Errors
    /// [`Error::NoAccount`]: the provider gave a bare bearer token, and a ChatGPT document cannot do without the account.
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
    fn a_bearer_token_ends_when_it_says_so_or_its_provider_does() {
        let opaque = ExternalToken::bearer(Secret::from("opaque"));
        assert!(opaque.expires_at().is_none() && opaque.lives(Timestamp::MAX));
        let told = ExternalToken::bearer(jwt());
        assert!(told.lives(at(1_999)) && !told.lives(at(2_000)));
        assert!(!told.until(at(1_500)).lives(at(1_500)));
    }

    #[test]
    fn external_auth_tokens_without_chatgpt_metadata_cannot_seed_chatgpt_auth() {
        let bare = ExternalToken::bearer(jwt());
        let error = bare.to_document(at(1_000)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a ChatGPT login needs the account id of its token, and the provider gave a bare bearer token"
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
    fn a_plan_of_the_provider_counts_more_than_that_of_the_token() {
        let account = ChatGptAccount::new("acct-1", Some(PlanType::named("pro")));
        let document = ExternalToken::chatgpt(jwt(), account).unwrap().to_document(at(1_000)).unwrap();
        assert_eq!(document.claims().plan.as_ref().map(PlanType::as_str), Some("pro"));
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = ExternalToken::bearer(Secret::from("marked-token"));
        assert!(!format!("{token:?}").contains("marked"), "{token:?}");
    }
}
