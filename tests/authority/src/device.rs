//! The device flow: codes, polls, and the page on which a code is approved.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::authorize::{self, challenge};
use crate::faults::Endpoint;
use crate::policy::{DeviceFlow, Pacing};
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::{self, Shared};
use crate::token_endpoint::{knows_client, refuse};

/// How many seconds a device code can be approved.
const LIFETIME: i64 = 900;

/// The user's decision on a device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Approved for the current visitor.
    Approved,
    /// Denied.
    Denied,
}

/// The device codes that were issued.
#[derive(Debug, Default)]
pub(crate) struct Devices(HashMap<String, Device>);

#[derive(Debug)]
struct Device {
    user_code: String,
    client_id: String,
    decision: Option<Decision>,
    waited: u32,
    polled: Option<Instant>,
    until: i64,
}

impl Devices {
    /// Decides on a code. Returns whether it was waiting.
    pub(crate) fn decide(&mut self, user_code: &str, decision: Decision, now: i64) -> bool {
        let waiting = |device: &&mut Device| {
            device.user_code == user_code && device.until > now && device.decision.is_none()
        };
        let device = self.0.values_mut().find(waiting);
        device.map(|device| device.decision = Some(decision)).is_some()
    }
}

pub(crate) async fn user_code(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let request = arrival.json::<CodeRequest>();
    let mut seen = arrival.sighting(None);
    seen.client_id = request.as_ref().map(|request| request.client_id.clone());
    serve(shared, Endpoint::DeviceCode, seen, |state| begin(state, request)).await
}

pub(crate) async fn poll(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let request = arrival.json::<PollRequest>();
    let seen = arrival.sighting(request.as_ref().map(|request| request.device_auth_id.as_str()));
    serve(shared, Endpoint::DevicePoll, seen, |state| answer(state, request)).await
}

pub(crate) async fn page(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    serve(shared, Endpoint::DeviceVerification, arrival.sighting(None), |_| {
        authorize::page(
            "Connect a device",
            "<form method=\"post\" action=\"/codex/device\"><label>Code \
             <input name=\"user_code\" autocomplete=\"off\"></label> \
             <button id=\"continue\" name=\"decision\" value=\"approved\">Continue</button> \
             <button id=\"cancel\" name=\"decision\" value=\"denied\">Cancel</button></form>",
        )
    })
    .await
}

pub(crate) async fn decide(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrival = Arrival::read(request).await;
    let form = arrival.form().unwrap_or_default();
    serve(shared, Endpoint::DeviceVerification, arrival.sighting(None), move |state| {
        let decision = match form.get("decision").map(String::as_str) {
            Some("approved") => Some(Decision::Approved),
            Some("denied") => Some(Decision::Denied),
            _ => None,
        };
        let code = form.get("user_code").map_or("", |code| code.trim());
        let now = state.policy.now();
        if decision.is_some_and(|decision| state.devices.decide(code, decision, now)) {
            authorize::page("Done", "<p>You can go back to your device.</p>")
        } else {
            authorize::page("That code is not waiting", "<p>Ask your device for a new one.</p>")
                .counted_as(400, "unknown_user_code")
        }
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeRequest {
    client_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PollRequest {
    device_auth_id: String,
    user_code: String,
}

fn begin(state: &mut state::State, request: Option<CodeRequest>) -> Reply {
    let Some(CodeRequest { client_id }) = request else {
        return refuse(state, 400, "invalid_request", "not the JSON of a device");
    };
    if state.policy.device == DeviceFlow::NotEnabled {
        return refuse(state, 404, "device_code_disabled", "the device flow is not enabled");
    }
    if !knows_client(state, &client_id) {
        return refuse(state, 401, "invalid_client", "unknown client_id");
    }
    let now = state.policy.now();
    let device_auth_id = state.mint.opaque("da-");
    let user_code = user_code_of(&device_auth_id);
    state.devices.0.retain(|_, device| device.until > now);
    let device = Device {
        user_code: user_code.clone(),
        client_id,
        decision: None,
        waited: 0,
        polled: None,
        until: now.saturating_add(LIFETIME),
    };
    state.devices.0.insert(device_auth_id.clone(), device);
    Reply::json(json!({
        "device_auth_id": device_auth_id,
        "user_code": user_code,
        "interval": state.policy.device_interval.to_string(),
    }))
}

fn answer(state: &mut state::State, request: Option<PollRequest>) -> Reply {
    let Some(request) = request else {
        return refuse(state, 400, "invalid_request", "not the JSON of a poll");
    };
    let policy = &state.policy;
    let now = policy.now();
    let Some(device) = state
        .devices
        .0
        .get_mut(&request.device_auth_id)
        .filter(|device| device.user_code == request.user_code && device.until > now)
    else {
        return refuse(state, 400, "expired_token", "no such device code");
    };
    // Allow clients' timers to be a tenth early.
    let interval = Duration::from_millis(policy.device_interval.saturating_mul(900));
    let early = device.polled.is_some_and(|polled| polled.elapsed() < interval);
    if early && policy.pacing == Pacing::Enforced {
        return refuse(state, 429, "slow_down", "polled faster than the interval");
    }
    device.polled = Some(Instant::now());
    if device.decision.is_none() {
        device.decision = match policy.device {
            DeviceFlow::Approves => Some(Decision::Approved),
            DeviceFlow::ApprovesAfter(polls) if device.waited >= polls => Some(Decision::Approved),
            DeviceFlow::Denies => Some(Decision::Denied),
            DeviceFlow::ApprovesAfter(_) | DeviceFlow::NotEnabled | DeviceFlow::Waits => None,
        };
    }
    match device.decision {
        Some(Decision::Approved) => approve(state, &request.device_auth_id),
        Some(Decision::Denied) => refuse(state, 401, "authorization_declined", "the user declined"),
        None => {
            device.waited += 1;
            refuse(state, 403, "authorization_pending", "not decided yet")
        }
    }
}

/// The authority makes both halves of the PKCE pair, as OpenAI's does.
fn approve(state: &mut state::State, device_auth_id: &str) -> Reply {
    let Some(device) = state.devices.0.remove(device_auth_id) else {
        return refuse(state, 400, "expired_token", "no such device code");
    };
    let code = state.mint.opaque("ac-");
    let verifier = state.mint.opaque("device-verifier-");
    let challenge = challenge(&verifier);
    let redirect_uri = format!("{}/deviceauth/callback", state.issuer);
    let now = state.policy.now();
    let visitor = state.visitor.clone();
    state.codes.add(code.clone(), visitor, &device.client_id, &redirect_uri, &challenge, now);
    Reply::json(json!({
        "authorization_code": code,
        "code_challenge": challenge,
        "code_verifier": verifier,
    }))
}

/// Returns four letters and five digits, derived from the device's id.
fn user_code_of(device_auth_id: &str) -> String {
    const LETTERS: &[char; 16] =
        &['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'J', 'K', 'L', 'M', 'N', 'P', 'Q', 'R'];
    let values = device_auth_id.chars().rev().filter_map(|digit| digit.to_digit(16)).take(9);
    let mut code = String::new();
    for (place, value) in values.enumerate() {
        if place == 4 {
            code.push('-');
        }
        let letter = LETTERS.get(value as usize).filter(|_| place < 4).copied();
        code.push(letter.unwrap_or_else(|| char::from_digit(value % 10, 10).unwrap_or('0')));
    }
    code
}
