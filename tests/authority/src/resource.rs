//! The protected resource, whoami for personal access tokens, and the keys of agent identities.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::json;

use crate::faults::Endpoint;
use crate::grants::{Account, TokenState};
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::{self, Shared};
use crate::token_endpoint::refuse;

/// Returns 200 and the account of a live access token, else 401.
pub(crate) async fn resource(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let token = arrival.bearer().map(str::to_owned);
    serve(shared, Endpoint::Resource, arrival.sighting(token.as_deref()), move |state| {
        let now = state.policy.now();
        let (worth, account) = state.grants.access(token.as_deref().unwrap_or_default(), now);
        match (worth, account) {
            (TokenState::Live, Some(account)) => Reply::json(profile(account)),
            (TokenState::Expired, _) => refuse(state, 401, "token_expired", "this access token has expired"),
            (TokenState::Unknown, _) => refuse(state, 401, "invalid_token", "unknown access token"),
            _ => refuse(state, 401, "token_invalidated", "this access token has been ended"),
        }
    })
    .await
}

/// Returns the account of a personal access token.
pub(crate) async fn whoami(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let token = arrival.bearer().map(str::to_owned);
    serve(shared, Endpoint::Whoami, arrival.sighting(token.as_deref()), move |state: &mut state::State| {
        match token.and_then(|token| state.personal.get(&token)) {
            Some(account) => Reply::json(profile(account)),
            None => refuse(state, 401, "invalid_token", "unknown personal access token"),
        }
    })
    .await
}

pub(crate) async fn jwks(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    serve(shared, Endpoint::Jwks, arrival.sighting(None), |state| Reply::json(state.agent_key.key_set()))
        .await
}

fn profile(account: &Account) -> serde_json::Value {
    json!({
        "email": account.email,
        "chatgpt_user_id": account.user_id,
        "chatgpt_account_id": account.account_id,
        "chatgpt_plan_type": account.plan,
        "chatgpt_account_is_fedramp": false,
    })
}
