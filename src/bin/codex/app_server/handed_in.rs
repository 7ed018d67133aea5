//! ChatGPT tokens that the client hands in and renews: the client as a provider.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codex_auth::claims::PlanType;
use codex_auth::external::{
    ChatGptAccount, Error, ExternalAuth, ExternalToken, ProviderContext, TokenFuture,
};
use serde_json::value::RawValue;

use super::client::Client;
use super::protocol::{HandedInTokens, REFRESH_TOKENS, RefreshTokens};

/// How long a client may take to renew a token (`codex-behaviour.md` 6).
const PATIENCE: Duration = Duration::from_secs(10);
const NAME: &str = "the client";

/// The client as a source of tokens: those that it has handed in, and on request another.
pub(super) struct ClientTokens {
    client: Arc<Client>,
    at_hand: Mutex<ExternalToken>,
}

impl ClientTokens {
    pub(super) fn new(client: Arc<Client>, token: ExternalToken) -> Self {
        Self { client, at_hand: Mutex::new(token) }
    }
}

/// The tokens of a request, if they can be used.
pub(super) fn token(handed_in: &HandedInTokens) -> Result<ExternalToken, Error> {
    let plan = handed_in.chatgpt_plan_type.as_deref().map(PlanType::named);
    let account = ChatGptAccount::new(handed_in.chatgpt_account_id.clone(), plan);
    ExternalToken::chatgpt(handed_in.access_token.clone(), account)
}

impl ExternalAuth for ClientTokens {
    fn name(&self) -> &str {
        NAME
    }

    fn resolve(&self) -> TokenFuture<'_, Option<ExternalToken>> {
        let token = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async { Ok(Some(token)) })
    }

    fn refresh(&self, context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async move {
            let previous_account_id = context.previous_account_id.clone();
            let params = RefreshTokens { reason: "unauthorized", previous_account_id };
            let answer = self.client.ask(REFRESH_TOKENS, &params, PATIENCE).await;
            let answer = answer.map_err(|error| Error::transient(NAME, &error.to_string()))?;
            let token = read(&answer)?;
            // Work that was begun for one workspace is not finished for another.
            if token.account().map(|account| &account.id) != context.previous_account_id.as_ref() {
                return Err(Error::transient(NAME, "it gave a token of another workspace"));
            }
            *self.at_hand.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
            Ok(token)
        })
    }
}

fn read(answer: &RawValue) -> Result<ExternalToken, Error> {
    let handed_in: HandedInTokens = serde_json::from_str(answer.get())
        .map_err(|_| Error::transient(NAME, "it answered with something else than tokens"))?;
    token(&handed_in).map_err(|error| Error::transient(NAME, &error.to_string()))
}
