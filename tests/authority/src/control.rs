//! `/control/*`: the methods of the library for programs in other processes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::agent::Signing;
use crate::device::Decision;
use crate::faults::{Endpoint, Step, StepId};
use crate::grants::{Account, Ending, GrantId};
use crate::policy::CODEX_CLIENT_ID;
use crate::request::HOLD_LIMIT;
use crate::state::{Shared, TimedOut};

/// The maximum body: fits many steps and a very long field.
const BODY_LIMIT: usize = 16 * 1_048_576;
const MOST_AT_ONCE: usize = 10_000;

/// Serves `/control/NAME`, with arguments as a JSON object that may be omitted if empty.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    Router::new().route("/{call}", any(answer)).with_state(shared)
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Arguments(#[from] serde_json::Error),
    #[error("no such call")]
    Call,
    #[error("no such grant")]
    Grant,
    #[error("the system has no randomness left")]
    Randomness,
    #[error("{0}")]
    TimedOut(#[from] TimedOut),
    #[error("at most {MOST_AT_ONCE} at once")]
    TooMany,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Arguments(_) | Self::TooMany => StatusCode::BAD_REQUEST,
            Self::Call | Self::Grant => StatusCode::NOT_FOUND,
            Self::Randomness => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TimedOut(_) => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Path(call): Path<String>, request: Request) -> Response {
    let Ok(body) = to_bytes(request.into_body(), BODY_LIMIT).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the arguments are too long").into_response();
    };
    // Some calls block until an event.
    let done = tokio::task::spawn_blocking(move || {
        let arguments: &[u8] = if body.is_empty() { b"{}" } else { &body };
        perform(&shared, &call, arguments)
    });
    let json = [(CONTENT_TYPE, "application/json")];
    match done.await {
        Ok(Ok(Value::String(text))) => text.into_response(),
        Ok(Ok(value)) => (json, value.to_string()).into_response(),
        Ok(Err(refusal)) => {
            let body = json!({"error": refusal.to_string()}).to_string();
            (refusal.status(), json, body).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    #[serde(default)]
    account: Account,
    client_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfGrant {
    grant: GrantId,
    last_refresh: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    grant: GrantId,
    ending: Ending,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfToken {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewIdentity {
    #[serde(default)]
    account: Account,
    #[serde(default)]
    signing: Signing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decide {
    user_code: String,
    decision: Decision,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scripted {
    endpoint: Endpoint,
    #[serde(default)]
    step: Step,
    #[serde(default = "once")]
    times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitForStep {
    step: StepId,
    #[serde(default = "ten_seconds")]
    within_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitForRequests {
    endpoint: Endpoint,
    count: u64,
    #[serde(default = "ten_seconds")]
    within_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    after: u64,
}

fn once() -> usize {
    1
}

fn ten_seconds() -> u64 {
    10_000
}

/// Sends a string as plain text, anything else as JSON.
fn perform(shared: &Shared, call: &str, arguments: &[u8]) -> Result<Value, Refusal> {
    Ok(match call {
        "grant" => {
            let NewGrant { account, client_id } = read(arguments)?;
            let client_id = client_id.as_deref().unwrap_or(CODEX_CLIENT_ID);
            json!(shared.lock().grant(account, client_id))
        }
        "latest" => {
            let OfGrant { grant, .. } = read(arguments)?;
            json!(shared.lock().latest.get(&grant).ok_or(Refusal::Grant)?)
        }
        "auth-json" => {
            let OfGrant { grant, last_refresh } = read(arguments)?;
            let state = shared.lock();
            let grant = state.latest.get(&grant).ok_or(Refusal::Grant)?;
            json!(grant.auth_json_refreshed_at(last_refresh.unwrap_or(grant.issued_at)))
        }
        "end" => {
            let End { grant, ending } = read(arguments)?;
            let state = &mut *shared.lock();
            state.grants.account(grant).ok_or(Refusal::Grant)?;
            state.grants.end(grant, ending);
            json!({})
        }
        "state-of" => {
            let OfToken { token } = read(arguments)?;
            let state = shared.lock();
            json!({"state": state.grants.state(&token, state.policy.now())})
        }
        "live-refresh-token" => {
            let OfGrant { grant, .. } = read(arguments)?;
            let state = shared.lock();
            json!({"refresh_token": state.grants.live_refresh(grant, state.policy.now())})
        }
        "visit-as" => {
            shared.lock().visitor = read(arguments)?;
            json!({})
        }
        "personal-access-token" => {
            let account = read(arguments)?;
            json!({"token": shared.lock().personal_access_token(account)})
        }
        "agent-identity" => {
            let NewIdentity { account, signing } = read(arguments)?;
            let token = shared.lock().agent_identity(&account, signing);
            json!({"token": token.ok_or(Refusal::Randomness)?})
        }
        "decide-device" => {
            let Decide { user_code, decision } = read(arguments)?;
            json!({"decided": shared.lock().decide_device(&user_code, decision)})
        }
        "policy" => {
            let Value::Object(changes) = read(arguments)? else { return Err(Refusal::Call) };
            let state = &mut *shared.lock();
            let mut policy = serde_json::to_value(&state.policy)?;
            for (rule, value) in changes {
                policy[rule] = value;
            }
            state.policy = serde_json::from_value(policy)?;
            json!(state.policy)
        }
        "script" => {
            let Scripted { endpoint, step, times } = read(arguments)?;
            if times > MOST_AT_ONCE {
                return Err(Refusal::TooMany);
            }
            let state = &mut *shared.lock();
            let steps: Vec<_> = (0..times).map(|_| state.script.push(endpoint, step.clone())).collect();
            json!({"steps": steps})
        }
        "script-always" => {
            let Scripted { endpoint, step, .. } = read(arguments)?;
            shared.lock().script.stand(endpoint, step);
            json!({})
        }
        "clear-script" => {
            let Nothing {} = read(arguments)?;
            shared.lock().script.clear();
            json!({})
        }
        "release" => {
            let WaitForStep { step, .. } = read(arguments)?;
            shared.lock().script.release(step);
            json!({})
        }
        "release-all" => {
            let Nothing {} = read(arguments)?;
            json!({"released": shared.lock().script.release_all()})
        }
        "wait-for-step" => {
            let WaitForStep { step, within_ms } = read(arguments)?;
            json!(shared.wait_for_step(step, bounded(within_ms))?)
        }
        "wait-for-requests" => {
            let WaitForRequests { endpoint, count, within_ms } = read(arguments)?;
            shared.wait_for_requests(endpoint, count, bounded(within_ms))?;
            json!({})
        }
        "journal" => {
            let Since { after } = read(arguments)?;
            let mut entries = shared.lock().journal.entries();
            entries.retain(|entry| entry.number > after);
            json!(entries)
        }
        "counters" => {
            let Nothing {} = read(arguments)?;
            json!(shared.lock().journal.counters())
        }
        "issued-secrets" => {
            let Nothing {} = read(arguments)?;
            json!(shared.lock().mint.issued())
        }
        _ => return Err(Refusal::Call),
    })
}

fn read<T: DeserializeOwned>(arguments: &[u8]) -> Result<T, Refusal> {
    Ok(serde_json::from_slice(arguments)?)
}

fn bounded(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(HOLD_LIMIT)
}
