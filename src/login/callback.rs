//! What a browser, or a person who pastes, brings back: judged by the state that only they can know.

use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::secret::Secret;

/// What ends the waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallbackOutcome {
    /// The person consented.
    Code(Secret),
    /// They came back with neither a code nor an error.
    Nothing,
    /// They, or whoever administers their account, said no.
    Refused { code: String, description: Option<String> },
    /// Another login of this home asks for the port.
    Yield,
}

/// What became of something that was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The very same came before: a page that was loaded again.
    Again,
    /// It ends the waiting.
    First,
    /// Something else came before, and one is enough.
    Late,
}

/// Why what was brought is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadCallback {
    /// A parameter that is there twice.
    Repeated,
    /// Another state than ours, or none.
    State,
}

/// The one thing that a login waits for.
#[derive(Debug)]
pub(super) struct PendingCallback {
    state: Secret,
    first: Mutex<Option<CallbackOutcome>>,
    tell: UnboundedSender<CallbackOutcome>,
}

impl PendingCallback {
    /// What is brought with `state`, and where it comes out, once.
    pub(super) fn with(state: Secret) -> (Self, UnboundedReceiver<CallbackOutcome>) {
        let (tell, arrivals) = unbounded_channel();
        (Self { state, first: Mutex::new(None), tell }, arrivals)
    }

    /// Reads the query of a callback. The state is compared in a time that tells nothing about it.
    pub(super) fn read(&self, query: &str) -> Result<CallbackOutcome, BadCallback> {
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
                return Err(BadCallback::Repeated);
            }
        }
        if state.map(Secret::new).is_none_or(|state| state != self.state) {
            return Err(BadCallback::State);
        }
        let shown = |text: String| -> String {
            text.chars().filter(|letter| !letter.is_control()).take(300).collect()
        };
        Ok(match (error, code.filter(|code| !code.is_empty())) {
            (Some(error), _) => {
                CallbackOutcome::Refused { code: shown(error), description: description.map(shown) }
            }
            (None, Some(code)) => CallbackOutcome::Code(Secret::new(code)),
            (None, None) => CallbackOutcome::Nothing,
        })
    }

    /// Takes the first of all that is brought.
    pub(super) fn bring(&self, arrival: CallbackOutcome) -> Delivery {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match &*first {
            Some(before) if *before == arrival => Delivery::Again,
            Some(_) => Delivery::Late,
            None => {
                *first = Some(arrival.clone());
                // Whoever waits may have given up.
                let _ = self.tell.send(arrival);
                Delivery::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> (PendingCallback, UnboundedReceiver<CallbackOutcome>) {
        PendingCallback::with(Secret::from("right"))
    }

    #[test]
    fn only_the_right_state_is_read_further() {
        let (expected, _) = expected();
        let code = CallbackOutcome::Code(Secret::from("c"));
        assert_eq!(expected.read("code=c&state=right&scope=x"), Ok(code));
        assert_eq!(expected.read("state=right&code="), Ok(CallbackOutcome::Nothing));
        let refused =
            CallbackOutcome::Refused { code: "no".to_owned(), description: Some("not & today".to_owned()) };
        assert_eq!(expected.read("error=no&error_description=not+%26+to%0Aday&state=right"), Ok(refused));
        for query in
            ["", "code=c", "code=c&state=", "code=c&state=wrong", "code=c&state=right%00", "error=no"]
        {
            assert_eq!(expected.read(query), Err(BadCallback::State), "{query}");
        }
        for query in ["code=c&state=right&state=right", "code=c&code=d&state=right"] {
            assert_eq!(expected.read(query), Err(BadCallback::Repeated), "{query}");
        }
    }

    #[test]
    fn the_first_that_is_brought_counts_and_comes_out_once() {
        let (expected, mut arrivals) = expected();
        let code = |text: &str| CallbackOutcome::Code(Secret::from(text));
        assert_eq!(expected.bring(code("a")), Delivery::First);
        assert_eq!(expected.bring(code("a")), Delivery::Again);
        assert_eq!(expected.bring(code("b")), Delivery::Late);
        assert_eq!(expected.bring(CallbackOutcome::Yield), Delivery::Late);
        assert_eq!(arrivals.try_recv(), Ok(code("a")));
        assert!(arrivals.try_recv().is_err());
    }
}
