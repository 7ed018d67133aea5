//! One request from arrival to response: read, recorded, held or delayed, carried out, answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use crate::faults::{Answer, Endpoint, Moment, Step, StepId};
use crate::journal::{Ending, Outcome, Sighting};
use crate::reply::{Departure, Reply, depart};
use crate::server::HangUp;
use crate::state::{Shared, State};
use crate::tokens::fingerprint;

/// The maximum body of a request.
const BODY_LIMIT: usize = 65_536;
/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// The maximum hold or delay; then the connection closes.
pub(crate) const HOLD_LIMIT: Duration = Duration::from_secs(300);

/// A complete request. A body that is too long or too slow counts as empty and is refused.
pub(crate) struct Arrival {
    parts: Parts,
    body: Bytes,
}

impl Arrival {
    pub(crate) async fn read(request: Request) -> Self {
        Self::read_within(request, BODY_LIMIT).await
    }

    /// As [`Self::read`], with another maximum body.
    pub(crate) async fn read_within(request: Request, limit: usize) -> Self {
        let (parts, body) = request.into_parts();
        let body = tokio::time::timeout(BODY_TIME, to_bytes(body, limit)).await;
        Self { parts, body: body.ok().and_then(Result::ok).unwrap_or_default() }
    }

    /// Returns the media type without its parameters.
    pub(crate) fn media_type(&self) -> Option<&str> {
        let value = self.header(CONTENT_TYPE.as_str())?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header(AUTHORIZATION.as_str())?.strip_prefix("Bearer ")
    }

    /// Parses the body if its type is JSON and it has exactly the fields of `T`.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        let is_json = self.media_type() == Some("application/json");
        is_json.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }

    /// Parses the body if its type is form and no field is repeated.
    pub(crate) fn form(&self) -> Option<BTreeMap<String, String>> {
        let is_form = self.media_type() == Some("application/x-www-form-urlencoded");
        is_form.then(|| pairs(&self.body)).flatten()
    }

    /// Parses the query if no field is repeated.
    pub(crate) fn query(&self) -> Option<BTreeMap<String, String>> {
        pairs(self.parts.uri.query().unwrap_or("").as_bytes())
    }

    /// Returns the fields for the journal if no body is parsed.
    pub(crate) fn sighting(&self, token: Option<&str>) -> Sighting {
        let header = |name| self.header(name).map(str::to_owned);
        Sighting {
            fingerprint: token.map(fingerprint),
            originator: header("originator"),
            user_agent: header(USER_AGENT.as_str()),
            content_type: header(CONTENT_TYPE.as_str()),
            ..Sighting::default()
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }
}

/// Carries a request out. Once it is recorded, its client cannot stop it.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    endpoint: Endpoint,
    seen: Sighting,
    act: impl FnOnce(&mut State) -> Reply + Send + 'static,
) -> Response {
    let (number, step_id, step) = {
        let state = &mut *shared.lock();
        let mint = &state.mint;
        let number = state.journal.open(endpoint, seen, |text| mint.is_secret(text));
        let (step_id, step) = state.script.take(endpoint);
        if let (Some(id), None) = (step_id, step.hold) {
            state.script.meet(id, number);
        }
        (number, step_id, step)
    };
    shared.announce();
    let mut presence = Presence { shared: Arc::clone(&shared), number, left: true };
    let departure = tokio::spawn(run(shared, endpoint, number, step_id, step, act)).await;
    presence.left = false;
    match departure {
        Ok(Departure::Response(response)) => response,
        // A task that panicked has no response either.
        Ok(Departure::Closed) | Err(_) => HangUp.into_response(),
    }
}

async fn run(
    shared: Arc<Shared>,
    endpoint: Endpoint,
    number: u64,
    step_id: Option<StepId>,
    step: Step,
    act: impl FnOnce(&mut State) -> Reply,
) -> Departure {
    let Step { answer, delay_ms, hold } = step;
    let hold = |moment| step_id.filter(|_| hold == Some(moment));

    if stand_still(&shared, number, hold(Moment::Before)).await == Patience::Over {
        return give_up(&shared, endpoint, number);
    }
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms).min(HOLD_LIMIT)).await;
    }
    let reply = answer.takes_effect().then(|| {
        let state = &mut *shared.lock();
        let reply = act(state);
        if reply.code.is_none() {
            state.journal.took_effect(number);
        }
        reply
    });
    if stand_still(&shared, number, hold(Moment::After)).await == Patience::Over {
        return give_up(&shared, endpoint, number);
    }

    let ending = ending(&answer, reply.as_ref());
    let departure = {
        let state = &mut *shared.lock();
        let State { policy, mint, issuer, .. } = state;
        let client_id = policy.client_ids.first().cloned().unwrap_or_default();
        let departure = depart(answer, reply, policy.error_shape, |account| {
            mint.id_token(account, &client_id, policy, issuer)
        });
        state.journal.close(number, endpoint, ending);
        departure
    };
    shared.announce();
    departure
}

#[derive(PartialEq, Eq)]
enum Patience {
    Left,
    Over,
}

async fn stand_still(shared: &Shared, number: u64, step: Option<StepId>) -> Patience {
    let Some(id) = step else { return Patience::Left };
    let released = shared.lock().script.hold(id, number);
    shared.announce();
    match released {
        Some(released) => match tokio::time::timeout(HOLD_LIMIT, released).await {
            Ok(_) => Patience::Left,
            Err(_) => Patience::Over,
        },
        None => Patience::Left,
    }
}

fn give_up(shared: &Shared, endpoint: Endpoint, number: u64) -> Departure {
    let ending = Ending { outcome: Outcome::Closed, status: None, code: Some("held_too_long".to_owned()) };
    shared.lock().journal.close(number, endpoint, ending);
    shared.announce();
    Departure::Closed
}

fn ending(answer: &Answer, reply: Option<&Reply>) -> Ending {
    let reply_code = || reply.and_then(|reply| reply.code.clone());
    let reply_status = reply.map(|reply| reply.status);
    let (outcome, status, code) = match answer {
        Answer::Body { status, .. } => (Outcome::Scripted, Some(*status), None),
        Answer::Closed { .. } => (Outcome::Closed, None, None),
        Answer::Edited { .. } | Answer::Truncated => (Outcome::Scripted, reply_status, reply_code()),
        Answer::Flood { .. } => (Outcome::Scripted, Some(200), None),
        Answer::Redirect { .. } => (Outcome::Scripted, Some(307), None),
        Answer::Status { status, code, .. } => (Outcome::Scripted, Some(*status), Some(code.clone())),
        Answer::True if reply_code().is_some() => (Outcome::Refused, reply_status, reply_code()),
        Answer::True => (Outcome::Granted, reply_status, None),
    };
    Ending { outcome, status, code }
}

/// Records a client that leaves before its response is ready: hyper then drops its future.
struct Presence {
    shared: Arc<Shared>,
    number: u64,
    left: bool,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.left {
            self.shared.lock().journal.abandoned(self.number);
            self.shared.announce();
        }
    }
}

fn pairs(encoded: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for (key, value) in form_urlencoded::parse(encoded) {
        if fields.insert(key.into_owned(), value.into_owned()).is_some() {
            return None;
        }
    }
    Some(fields)
}
