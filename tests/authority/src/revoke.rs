//! `POST /oauth/revoke`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::faults::Endpoint;
use crate::grants::TokenState;
use crate::policy::StaleRevocation;
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::{self, Shared};
use crate::token_endpoint::{knows_client, refuse};
use crate::tokens::fingerprint;

pub(crate) async fn revoke(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let request = arrival.json::<RevokeRequest>();
    let mut seen = arrival.sighting(None);
    if let Some(request) = &request {
        seen.fingerprint = Some(fingerprint(&request.token));
        seen.client_id.clone_from(&request.client_id);
    }
    serve(shared, Endpoint::Revoke, seen, |state| end(state, request)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    token: String,
    token_type_hint: Hint,
    client_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hint {
    AccessToken,
    RefreshToken,
}

fn end(state: &mut state::State, request: Option<RevokeRequest>) -> Reply {
    let Some(request) = request else {
        return refuse(state, 400, "invalid_request", "not the JSON of a revocation");
    };
    match (request.token_type_hint, &request.client_id) {
        (Hint::RefreshToken, None) => {
            return refuse(state, 400, "invalid_request", "a refresh token is revoked by its client");
        }
        (_, Some(client_id)) if !knows_client(state, client_id) => {
            return refuse(state, 401, "invalid_client", "unknown client_id");
        }
        _ => {}
    }
    let was = state.grants.revoke(&request.token, state.policy.now(), state.policy.revocation);
    if was != TokenState::Live && state.policy.stale_revocation == StaleRevocation::Refused {
        return refuse(state, 400, "invalid_token", "there is nothing to revoke");
    }
    Reply::json(json!({}))
}
