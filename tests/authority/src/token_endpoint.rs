//! `POST /oauth/token`: dispatches the three kinds of request, and refreshes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::exchange;
use crate::faults::Endpoint;
use crate::grants::TokenState;
use crate::journal::Sighting;
use crate::policy::Rotation;
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::{self, Shared};
use crate::tokens::{Tokens, fingerprint};

pub(crate) async fn token(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    match arrival.media_type() {
        Some("application/x-www-form-urlencoded") => exchange::exchange(shared, arrival).await,
        Some("application/json") => {
            let request = arrival.json::<RefreshRequest>();
            let seen = sighting(&arrival, request.as_ref());
            serve(shared, Endpoint::Refresh, seen, |state| refresh(state, request)).await
        }
        _ => {
            serve(shared, Endpoint::Refresh, arrival.sighting(None), |state| {
                refuse(state, 415, "unsupported_media_type", "neither JSON nor a form")
            })
            .await
        }
    }
}

/// Checks the client id.
pub(crate) fn knows_client(state: &state::State, client_id: &str) -> bool {
    state.policy.client_ids.iter().any(|known| known == client_id)
}

pub(crate) fn refuse(state: &state::State, status: u16, code: &str, message: &str) -> Reply {
    Reply::refusal(state.policy.error_shape, status, code, message)
}

/// Returns the response with tokens.
pub(crate) fn token_answer(state: &state::State, tokens: &Tokens, with_refresh: bool) -> Reply {
    let mut answer = json!({
        "id_token": tokens.id_token,
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": state.policy.access_lifetime,
        "scope": "openid profile email offline_access",
    });
    if with_refresh {
        answer["refresh_token"] = json!(tokens.refresh_token);
    }
    Reply::json(answer)
}

/// The fields that Codex sends; with any other set it is not a refresh.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    client_id: String,
    grant_type: String,
    refresh_token: String,
    refresh_reason: Option<String>,
}

fn sighting(arrival: &Arrival, request: Option<&RefreshRequest>) -> Sighting {
    let Some(request) = request else { return arrival.sighting(None) };
    Sighting {
        fingerprint: Some(fingerprint(&request.refresh_token)),
        refresh_reason: request.refresh_reason.clone(),
        client_id: Some(request.client_id.clone()),
        ..arrival.sighting(None)
    }
}

fn refresh(state: &mut state::State, request: Option<RefreshRequest>) -> Reply {
    let Some(request) = request else {
        return refuse(state, 400, "invalid_request", "not the JSON of a refresh");
    };
    if request.grant_type != "refresh_token" {
        return refuse(state, 400, "unsupported_grant_type", "JSON is for refresh_token alone");
    }
    if !knows_client(state, &request.client_id) {
        return refuse(state, 401, "invalid_client", "unknown client_id");
    }
    let now = state.policy.now();
    match state.grants.spend(&request.refresh_token, &request.client_id, now, &state.policy) {
        Ok(id) => {
            let rotates = state.policy.rotation == Rotation::SingleUse;
            match state.renew(id, &request.client_id) {
                Some(tokens) => token_answer(state, &tokens, rotates),
                None => refuse(state, 400, "invalid_grant", "unknown refresh token"),
            }
        }
        Err(TokenState::Spent) => {
            refuse(state, 401, "refresh_token_reused", "this refresh token has already been used")
        }
        Err(TokenState::Expired) => {
            refuse(state, 401, "refresh_token_expired", "this refresh token has expired")
        }
        Err(TokenState::Revoked) => {
            refuse(state, 401, "refresh_token_invalidated", "this refresh token has been ended")
        }
        Err(TokenState::Live | TokenState::Unknown) => {
            refuse(state, 400, "invalid_grant", "unknown refresh token")
        }
    }
}
