//! Parses the redirect URI that a browser opens or a user pastes, and checks its state.

use std::sync::Mutex;

use codex_auth_platform::sync::lock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::redaction::printable;
use crate::secret::Secret;

/// The result of waiting for a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallbackOutcome {
    /// The callback contained an authorization code.
    Code(Secret),
    /// The callback contained neither a code nor an error.
    Empty,
    /// The callback contained an error: the user or their administrator declined.
    Refused { code: String, description: Option<String> },
    /// Another login of this home asks for the port, and this one ends without a callback.
    Yield,
}

/// What happened to a callback that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The same callback was delivered before: the page was reloaded.
    Repeated,
    /// It was accepted.
    First,
    /// Another callback was accepted before.
    Late,
}

/// Why a callback is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadCallback {
    /// A parameter occurs twice.
    RepeatedParameter,
    /// The state is missing or wrong.
    WrongState,
}

/// The callback that a login waits for.
#[derive(Debug)]
pub(super) struct PendingCallback {
    state: Secret,
    first: Mutex<Option<CallbackOutcome>>,
    sender: UnboundedSender<CallbackOutcome>,
}

impl PendingCallback {
    /// Accepts callbacks with `state`. The receiver gets the first one that is delivered.
    pub(super) fn new(state: Secret) -> (Self, UnboundedReceiver<CallbackOutcome>) {
        let (sender, outcomes) = unbounded_channel();
        (Self { state, first: Mutex::new(None), sender }, outcomes)
    }

    /// Parses the query of a callback. The state is compared in constant time.
    pub(super) fn parse(&self, query: &str) -> Result<CallbackOutcome, BadCallback> {
        let [mut code, mut state, mut error, mut description] = [const { None::<String> }; 4];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "code" => &mut code,
                "state" => &mut state,
                "error" => &mut error,
                "error_description" => &mut description,
                _ => continue,
            };
            if field.replace(value.into_owned()).is_some() {
                return Err(BadCallback::RepeatedParameter);
            }
        }
        if state.map(Secret::new).is_none_or(|state| state != self.state) {
            return Err(BadCallback::WrongState);
        }
        let shown = |text: String| printable(&text, 300);
        Ok(match (error, code.filter(|code| !code.is_empty())) {
            (Some(error), _) => {
                CallbackOutcome::Refused { code: shown(error), description: description.map(shown) }
            }
            (None, Some(code)) => CallbackOutcome::Code(Secret::new(code)),
            (None, None) => CallbackOutcome::Empty,
        })
    }

    /// Delivers a callback; only the first is accepted.
    pub(super) fn deliver(&self, outcome: CallbackOutcome) -> Delivery {
        let mut first = lock(&self.first);
        match &*first {
            Some(before) if *before == outcome => Delivery::Repeated,
            Some(_) => Delivery::Late,
            None => {
                *first = Some(outcome.clone());
                // The login may have been dropped.
                let _ = self.sender.send(outcome);
                Delivery::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> (PendingCallback, UnboundedReceiver<CallbackOutcome>) {
        PendingCallback::new(Secret::from("right"))
    }

    #[test]
    fn a_callback_with_another_state_is_rejected() {
        let (expected, _) = expected();
        let code = CallbackOutcome::Code(Secret::from("c"));
        assert_eq!(expected.parse("code=c&state=right&scope=x"), Ok(code));
        assert_eq!(expected.parse("state=right&code="), Ok(CallbackOutcome::Empty));
        let refused =
            CallbackOutcome::Refused { code: "no".to_owned(), description: Some("not & today".to_owned()) };
        assert_eq!(expected.parse("error=no&error_description=not+%26+to%0Aday&state=right"), Ok(refused));
        for query in
            ["", "code=c", "code=c&state=", "code=c&state=wrong", "code=c&state=right%00", "error=no"]
        {
            assert_eq!(expected.parse(query), Err(BadCallback::WrongState), "{query}");
        }
        for query in ["code=c&state=right&state=right", "code=c&code=d&state=right"] {
            assert_eq!(expected.parse(query), Err(BadCallback::RepeatedParameter), "{query}");
        }
    }

    #[test]
    fn only_the_first_callback_is_accepted() {
        let (expected, mut outcomes) = expected();
        let code = |text: &str| CallbackOutcome::Code(Secret::from(text));
        assert_eq!(expected.deliver(code("a")), Delivery::First);
        assert_eq!(expected.deliver(code("a")), Delivery::Repeated);
        assert_eq!(expected.deliver(code("b")), Delivery::Late);
        assert_eq!(expected.deliver(CallbackOutcome::Yield), Delivery::Late);
        assert_eq!(outcomes.try_recv(), Ok(code("a")));
        assert!(outcomes.try_recv().is_err());
    }
}
