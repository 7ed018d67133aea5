//! The form requests of `/oauth/token`: tokens for a code with PKCE, and an API key for an id token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use serde_json::json;

use crate::authorize::Proof;
use crate::faults::Endpoint;
use crate::grants::Ending;
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::{Shared, State};
use crate::token_endpoint::{knows_client, refuse, token_answer};
use crate::tokens::fingerprint;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

pub(crate) async fn exchange(shared: Arc<Shared>, arrival: Arrival) -> Response {
    let form = arrival.form();
    let field = |name: &str| form.as_ref().and_then(|form| form.get(name));
    let (endpoint, token) = if field("grant_type").is_some_and(|kind| kind == TOKEN_EXCHANGE) {
        (Endpoint::ApiKey, field("subject_token"))
    } else {
        (Endpoint::Exchange, field("code"))
    };
    let mut seen = arrival.sighting(None);
    seen.fingerprint = token.map(|token| fingerprint(token));
    seen.client_id = field("client_id").cloned();
    serve(shared, endpoint, seen, move |state| match form {
        Some(form) if endpoint == Endpoint::ApiKey => api_key(state, &form),
        Some(form) => code(state, &form),
        None => refuse(state, 400, "invalid_request", "a field is repeated, or the body is too large"),
    })
    .await
}

/// Returns the values of exactly these fields, none of them empty.
fn fields<const N: usize>(form: &BTreeMap<String, String>, names: [&str; N]) -> Option<[String; N]> {
    let complete = names.iter().all(|name| form.get(*name).is_some_and(|value| !value.is_empty()));
    (complete && form.len() == N).then(|| names.map(|name| form.get(name).cloned().unwrap_or_default()))
}

fn code(state: &mut State, form: &BTreeMap<String, String>) -> Reply {
    let names = ["grant_type", "client_id", "code", "redirect_uri", "code_verifier"];
    let Some([grant_type, client_id, code, redirect_uri, verifier]) = fields(form, names) else {
        return refuse(state, 400, "invalid_request", "not exactly the fields of a code exchange");
    };
    if grant_type != "authorization_code" {
        return refuse(state, 400, "unsupported_grant_type", "no such grant type as a form");
    }
    if !knows_client(state, &client_id) {
        return refuse(state, 401, "invalid_client", "unknown client_id");
    }
    let proof = Proof { client_id: &client_id, redirect_uri: &redirect_uri, verifier: &verifier };
    match state.codes.redeem(&code, &proof, state.policy.now()) {
        Ok(account) => {
            let grant = state.grant(account, &client_id);
            state.codes.redeemed(&code, grant.id);
            token_answer(state, &grant.tokens, true)
        }
        Err(refused) => {
            // A code that is redeemed twice may have been stolen: revoke the grant.
            if let Some(id) = refused.bought {
                state.grants.end(id, Ending::WholeGrant);
            }
            refuse(state, 400, "invalid_grant", refused.why)
        }
    }
}

fn api_key(state: &mut State, form: &BTreeMap<String, String>) -> Reply {
    let mut form = form.clone();
    // It is unknown whether Codex names its client here; a named client must be known.
    if form.remove("client_id").is_some_and(|client_id| !knows_client(state, &client_id)) {
        return refuse(state, 401, "invalid_client", "unknown client_id");
    }
    let names = ["grant_type", "requested_token", "subject_token", "subject_token_type"];
    let Some([_, requested, subject, subject_type]) = fields(&form, names) else {
        return refuse(state, 400, "invalid_request", "not exactly the fields of a token exchange");
    };
    if requested != "openai-api-key" || subject_type != ID_TOKEN {
        return refuse(state, 400, "invalid_request", "only an API key for an id token");
    }
    if !state.latest.values().any(|grant| grant.tokens.id_token == subject) {
        return refuse(state, 401, "invalid_subject_token", "not the newest id token of any login");
    }
    let key = state.mint.opaque("sk-");
    Reply::json(json!({"access_token": key}))
}
