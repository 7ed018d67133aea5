//! The parts of the ChatGPT service that Codex needs: workspaces, the switch between them, and a model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::Endpoint;
use crate::grants::{Account, TokenState};
use crate::policy::CODEX_CLIENT_ID;
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::{self, Shared};
use crate::token_endpoint::refuse;

/// The maximum body of a turn, which has the instructions and the tools of Codex.
const PROMPT_LIMIT: usize = 16 * 1_048_576;
/// The workspace to which every user can switch.
const SHARED_WORKSPACE: &str = "shared";

/// Returns the workspaces of a live access token or a personal access token.
pub(crate) async fn workspaces(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let token = arrival.bearer().map(str::to_owned);
    serve(shared, Endpoint::Workspaces, arrival.sighting(token.as_deref()), move |state| {
        match owner(state, token.as_deref()) {
            Some(account) => {
                let own = Some(account.account_id.as_str()).filter(|id| *id != SHARED_WORKSPACE);
                let ids = own.into_iter().chain([SHARED_WORKSPACE]);
                Reply::json(json!({"accounts": ids.map(workspace).collect::<Vec<_>>()}))
            }
            None => refuse(state, 401, "invalid_token", "unknown access token"),
        }
    })
    .await
}

/// Issues an access token of the same user for another workspace; the refresh token stays.
pub(crate) async fn switch(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    #[derive(Deserialize)]
    struct Switch {
        workspace_id: String,
    }
    let arrival = Arrival::read(request).await;
    let token = arrival.bearer().map(str::to_owned);
    let wanted = arrival.json::<Switch>();
    serve(shared, Endpoint::Switch, arrival.sighting(token.as_deref()), move |state| {
        let (Some(account), Some(Switch { workspace_id })) = (owner(state, token.as_deref()), wanted) else {
            return refuse(state, 401, "invalid_token", "unknown access token");
        };
        let account = Account { account_id: workspace_id, plan: "team".to_owned(), ..account };
        let grant = state.grant(account, CODEX_CLIENT_ID);
        Reply::json(json!({"access_token": grant.tokens.access_token}))
    })
    .await
}

/// Answers a turn with a short text if the access token is live.
pub(crate) async fn model(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read_within(request, PROMPT_LIMIT).await;
    let token = arrival.bearer().map(str::to_owned);
    serve(shared, Endpoint::Model, arrival.sighting(token.as_deref()), move |state| {
        match owner(state, token.as_deref()) {
            Some(_) => Reply::events(&turn()),
            None => refuse(state, 401, "invalid_token", "unknown access token"),
        }
    })
    .await
}

fn owner(state: &state::State, token: Option<&str>) -> Option<Account> {
    let token = token?;
    let (worth, account) = state.grants.access(token, state.policy.now());
    let granted = account.filter(|_| worth == TokenState::Live);
    granted.or_else(|| state.personal.get(token)).cloned()
}

fn workspace(id: &str) -> Value {
    json!({
        "id": id,
        "name": format!("Workspace {id}"),
        "structure": "workspace",
        "plan_type": "plus",
        "workspace_backend_origin": format!("https://{id}.example.com"),
        "account_routing_override": "NO_CONSTRAINT",
    })
}

fn turn() -> [Value; 3] {
    let usage = json!({
        "input_tokens": 1, "input_tokens_details": null, "output_tokens": 1, "output_tokens_details": null,
        "total_tokens": 2,
    });
    let text = json!({"type": "output_text", "text": "done"});
    let message = json!({"type": "message", "role": "assistant", "id": "m", "content": [text]});
    [
        json!({"type": "response.created", "response": {"id": "r"}}),
        json!({"type": "response.output_item.done", "item": message}),
        json!({"type": "response.completed", "response": {"id": "r", "usage": usage}}),
    ]
}
