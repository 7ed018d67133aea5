//! The script: the fault of the next request of an endpoint, and requests that are held until a test releases them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::grants::Account;

/// The endpoint of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /oauth/token`, an API key in exchange for an id token.
    ApiKey,
    /// `GET` and `POST /oauth/authorize`.
    Authorize,
    /// `POST /api/accounts/deviceauth/usercode`.
    DeviceCode,
    /// `POST /api/accounts/deviceauth/token`.
    DevicePoll,
    /// `GET` and `POST /codex/device`.
    DeviceVerification,
    /// `POST /oauth/token`, tokens in exchange for a code.
    Exchange,
    /// The keys of agent identities.
    Jwks,
    /// `POST /v1/responses`.
    Model,
    /// Any unknown path.
    Other,
    /// `POST /oauth/token` as JSON, and anything sent there that is neither JSON nor a form.
    Refresh,
    /// `GET /resource`.
    Resource,
    /// `POST /oauth/revoke`.
    Revoke,
    /// `POST /backend-api/accounts/switch-workspace-token`.
    Switch,
    /// `GET /v1/user-auth-credential/whoami`.
    Whoami,
    /// `GET /wham/accounts/check`, below `/backend-api` and `/api/codex` too.
    Workspaces,
}

/// The id of a scripted step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u64);

/// What happens to one request. The default is nothing out of the ordinary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// The response that the client gets.
    pub answer: Answer,
    /// The delay in milliseconds before the request may take effect.
    pub delay_ms: u64,
    /// Whether and where the request is held until it is released.
    pub hold: Option<Moment>,
}

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before it takes effect: the tokens are unchanged.
    Before,
    /// After it took effect: the token is spent, and the client has no response.
    After,
}

/// Whether a request with a scripted response takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It does: a refresh spends its token.
    Taken,
    /// It does not: nothing changes.
    #[default]
    Withheld,
}

/// The response that the client gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A response with this body.
    Body {
        /// The HTTP status.
        status: u16,
        /// The `Content-Type`.
        content_type: String,
        /// The bytes.
        text: String,
        /// Whether the request takes effect.
        #[serde(default)]
        effect: Effect,
    },
    /// No response: the connection is closed.
    Closed {
        /// Whether the request takes effect.
        #[serde(default)]
        effect: Effect,
    },
    /// The ordinary response with changed JSON fields; an error response is unchanged.
    Edited {
        /// The edits by field name.
        edits: BTreeMap<String, Edit>,
    },
    /// 200 and a JSON string of this many bytes without an end.
    Flood {
        /// The number of bytes, sent in pieces that are not kept.
        bytes: u64,
        /// Whether the request takes effect.
        #[serde(default)]
        effect: Effect,
    },
    /// A redirect, 307.
    Redirect {
        /// The target.
        location: String,
        /// Whether the request takes effect.
        #[serde(default)]
        effect: Effect,
    },
    /// An error response in the policy's format.
    Status {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: String,
        /// Further headers, such as `Retry-After`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Whether the request takes effect.
        #[serde(default)]
        effect: Effect,
    },
    /// The ordinary response.
    #[default]
    True,
    /// The ordinary response, cut off in the middle of its body.
    Truncated,
}

/// A change of one field of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// The empty string.
    Empty,
    /// A string of this many bytes, at most 64 MiB.
    Gigantic(usize),
    /// An id token for another account than the grant's.
    IssuedTo(Account),
    /// The field is left out.
    Missing,
    /// `null`.
    Null,
    /// Any value, for example one of the wrong type.
    Value(Value),
}

impl Step {
    /// An error response with a code, without effect.
    pub fn status(status: u16, code: &str) -> Self {
        let (headers, effect) = (BTreeMap::new(), Effect::Withheld);
        Answer::Status { status, code: code.to_owned(), headers, effect }.into()
    }

    /// A response with any body, without effect.
    pub fn body(status: u16, content_type: &str, text: &str) -> Self {
        let (content_type, text) = (content_type.to_owned(), text.to_owned());
        Answer::Body { status, content_type, text, effect: Effect::Withheld }.into()
    }

    /// A response of this many bytes, without effect.
    pub fn flood(bytes: u64) -> Self {
        Answer::Flood { bytes, effect: Effect::Withheld }.into()
    }

    /// A redirect, without effect.
    pub fn redirect(location: &str) -> Self {
        Answer::Redirect { location: location.to_owned(), effect: Effect::Withheld }.into()
    }

    /// Closes the connection without effect.
    pub fn closed_before() -> Self {
        Answer::Closed { effect: Effect::Withheld }.into()
    }

    /// Closes the connection after the request took effect: the response is lost.
    pub fn closed_after() -> Self {
        Answer::Closed { effect: Effect::Taken }.into()
    }

    /// The ordinary response, cut off in the middle.
    pub fn truncated() -> Self {
        Answer::Truncated.into()
    }

    /// The ordinary response with one field changed; [`Step::and_edited`] changes more.
    pub fn edited(field: &str, edit: Edit) -> Self {
        Answer::Edited { edits: BTreeMap::from([(field.to_owned(), edit)]) }.into()
    }

    /// An ordinary request that is held until it is released.
    pub fn held(moment: Moment) -> Self {
        Self { hold: Some(moment), ..Self::default() }
    }

    /// Changes one more field; a step of another kind becomes an edited one.
    #[must_use]
    pub fn and_edited(mut self, field: &str, edit: Edit) -> Self {
        if let Answer::Edited { edits } = &mut self.answer {
            edits.insert(field.to_owned(), edit);
            self
        } else {
            Self { answer: Self::edited(field, edit).answer, ..self }
        }
    }

    /// Adds a header to an error response; other responses are unchanged.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Answer::Status { headers, .. } = &mut self.answer {
            headers.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// Makes the request take effect.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        if let Some(effect) = self.answer.effect_mut() {
            *effect = Effect::Taken;
        }
        self
    }

    /// Delays the request.
    #[must_use]
    pub fn delayed(mut self, by: Duration) -> Self {
        self.delay_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Also holds the request.
    #[must_use]
    pub fn and_held(mut self, moment: Moment) -> Self {
        self.hold = Some(moment);
        self
    }
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Self {
        Self { answer, ..Self::default() }
    }
}

impl Answer {
    pub(crate) fn takes_effect(&self) -> bool {
        match self {
            Self::Body { effect, .. }
            | Self::Closed { effect }
            | Self::Flood { effect, .. }
            | Self::Redirect { effect, .. }
            | Self::Status { effect, .. } => *effect == Effect::Taken,
            Self::Edited { .. } | Self::True | Self::Truncated => true,
        }
    }

    fn effect_mut(&mut self) -> Option<&mut Effect> {
        match self {
            Self::Body { effect, .. }
            | Self::Closed { effect }
            | Self::Flood { effect, .. }
            | Self::Redirect { effect, .. }
            | Self::Status { effect, .. } => Some(effect),
            Self::Edited { .. } | Self::True | Self::Truncated => None,
        }
    }
}

/// The steps of each endpoint, the default steps, and the held requests.
#[derive(Debug, Default)]
pub(crate) struct Script {
    queues: BTreeMap<Endpoint, VecDeque<(StepId, Step)>>,
    standing: BTreeMap<Endpoint, Step>,
    progress: HashMap<StepId, Progress>,
    last: u64,
}

#[derive(Debug, Default)]
struct Progress {
    /// The number of the request that met the step, once it is held.
    met_by: Option<u64>,
    released: bool,
    held: Option<oneshot::Sender<()>>,
}

impl Script {
    pub(crate) fn push(&mut self, endpoint: Endpoint, step: Step) -> StepId {
        let id = self.name();
        self.queues.entry(endpoint).or_default().push_back((id, step));
        id
    }

    /// Sets the step of every request for which none is queued.
    pub(crate) fn stand(&mut self, endpoint: Endpoint, step: Step) {
        self.standing.insert(endpoint, step);
    }

    /// Removes all steps that were not used. Held requests stay held.
    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.standing.clear();
    }

    /// Takes the step for a request that has arrived. A step that a test may wait for has an id.
    pub(crate) fn take(&mut self, endpoint: Endpoint) -> (Option<StepId>, Step) {
        if let Some((id, step)) = self.queues.get_mut(&endpoint).and_then(VecDeque::pop_front) {
            return (Some(id), step);
        }
        let step = self.standing.get(&endpoint).cloned().unwrap_or_default();
        (step.hold.map(|_| self.name()), step)
    }

    pub(crate) fn meet(&mut self, id: StepId, number: u64) {
        self.progress.entry(id).or_default().met_by = Some(number);
    }

    /// Returns what the held request waits for; `None` if it was released before it arrived.
    pub(crate) fn hold(&mut self, id: StepId, number: u64) -> Option<oneshot::Receiver<()>> {
        let progress = self.progress.entry(id).or_default();
        progress.met_by = Some(number);
        if progress.released {
            return None;
        }
        let (release, released) = oneshot::channel();
        progress.held = Some(release);
        Some(released)
    }

    pub(crate) fn met_by(&self, id: StepId) -> Option<u64> {
        self.progress.get(&id)?.met_by
    }

    pub(crate) fn release(&mut self, id: StepId) {
        let progress = self.progress.entry(id).or_default();
        progress.released = true;
        if let Some(held) = progress.held.take() {
            // The client may have left.
            let _ = held.send(());
        }
    }

    /// Releases all requests that are held now, and returns how many.
    pub(crate) fn release_all(&mut self) -> usize {
        let held = self.progress.values_mut().filter_map(|progress| {
            let held = progress.held.take()?;
            progress.released = true;
            Some(held)
        });
        held.filter_map(|held| held.send(()).ok()).count()
    }

    fn name(&mut self) -> StepId {
        self.last += 1;
        StepId(self.last)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_happen_in_order_and_then_the_standing_one() {
        let mut script = Script::default();
        script.push(Endpoint::Refresh, Step::status(500, "first"));
        script.push(Endpoint::Refresh, Step::closed_after());
        script.stand(Endpoint::Refresh, Step::status(503, "always"));
        assert_eq!(script.take(Endpoint::Revoke).1, Step::default());
        assert_eq!(script.take(Endpoint::Refresh).1, Step::status(500, "first"));
        assert_eq!(script.take(Endpoint::Refresh).1, Step::closed_after());
        assert_eq!(script.take(Endpoint::Refresh).1, Step::status(503, "always"));
        assert_eq!(script.take(Endpoint::Refresh).1, Step::status(503, "always"));
    }

    #[test]
    fn a_release_before_the_arrival_is_not_lost() {
        let mut script = Script::default();
        let id = script.push(Endpoint::Refresh, Step::held(Moment::Before));
        script.release(id);
        assert!(script.hold(id, 1).is_none());
        assert_eq!(script.met_by(id), Some(1));
    }

    #[test]
    fn everyone_who_is_held_can_be_let_go() {
        let mut script = Script::default();
        let (one, two) = (StepId(1), StepId(2));
        let mut held = [script.hold(one, 1).unwrap(), script.hold(two, 2).unwrap()];
        assert_eq!(script.release_all(), 2);
        assert!(held.iter_mut().all(|held| held.try_recv().is_ok()));
    }

    #[test]
    fn a_step_parses_from_json_and_withholds_its_effect_by_default() {
        let step: Step = serde_json::from_value(json!({
            "answer": {"kind": "status", "status": 429, "code": "slow_down", "headers": {"retry-after": "7"}},
            "delay_ms": 5,
        }))
        .unwrap();
        assert_eq!(
            step,
            Step::status(429, "slow_down").with_header("retry-after", "7").delayed(Duration::from_millis(5))
        );
        assert!(!step.answer.takes_effect());
        assert!(step.after_effect().answer.takes_effect());
        assert!(serde_json::from_value::<Step>(json!({"anwser": {"kind": "true"}})).is_err());
    }
}
