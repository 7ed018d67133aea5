//! A provider of ChatGPT tokens that the client hands in and renews.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use codex_auth::claims::PlanType;
use codex_auth::external::{
    ChatGptAccount, Error, ExternalAuth, ExternalToken, ProviderContext, TokenFuture,
};
use codex_auth_platform::sync::lock;
use serde_json::value::RawValue;

use super::client::Client;
use super::protocol::{HandedInTokens, REFRESH_TOKENS, RefreshTokens};

/// How long a client may take to renew a token, as in Codex.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(10);
const NAME: &str = "the client";

/// The tokens that the client handed in last, with the client to renew them.
pub(super) struct ClientTokens {
    client: Arc<Client>,
    current: Mutex<ExternalToken>,
}

impl ClientTokens {
    pub(super) fn new(client: Arc<Client>, token: ExternalToken) -> Self {
        Self { client, current: Mutex::new(token) }
    }
}

/// Reads the tokens of a request.
pub(super) fn token(handed_in: &HandedInTokens) -> Result<ExternalToken, Error> {
    let plan = handed_in.chatgpt_plan_type.as_deref().map(PlanType::from_name);
    let account = ChatGptAccount::new(handed_in.chatgpt_account_id.clone(), plan);
    ExternalToken::chatgpt(handed_in.access_token.clone(), account)
}

impl ExternalAuth for ClientTokens {
    fn name(&self) -> &str {
        NAME
    }

    fn resolve(&self) -> TokenFuture<'_, Option<ExternalToken>> {
        let token = lock(&self.current).clone();
        Box::pin(async { Ok(Some(token)) })
    }

    fn refresh(&self, context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async move {
            let previous_account_id = context.previous_account_id.clone();
            let params = RefreshTokens { reason: "unauthorized", previous_account_id };
            let response = self.client.call(REFRESH_TOKENS, &params, RENEWAL_TIMEOUT).await;
            let response = response.map_err(|error| Error::transient(NAME, &error.to_string()))?;
            let token = read(&response)?;
            // A request that began in one workspace must not continue in another.
            if token.account().map(|account| &account.id) != context.previous_account_id.as_ref() {
                return Err(Error::transient(NAME, "it returned a token of another workspace"));
            }
            *lock(&self.current) = token.clone();
            Ok(token)
        })
    }
}

fn read(response: &RawValue) -> Result<ExternalToken, Error> {
    let handed_in: HandedInTokens = serde_json::from_str(response.get())
        .map_err(|_| Error::transient(NAME, "its response contains no tokens"))?;
    token(&handed_in).map_err(|error| Error::transient(NAME, &error.to_string()))
}
