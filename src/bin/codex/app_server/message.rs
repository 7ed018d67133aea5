//! JSON-RPC messages, one per line, whose content is forwarded unchanged.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The error codes of JSON-RPC 2.0 that the server returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RpcErrorCode {
    /// Not JSON.
    Parse = -32700,
    /// JSON that is no message, or a request that is not allowed now.
    InvalidRequest = -32600,
    /// The method is unknown.
    MethodNotFound = -32601,
    /// The request failed.
    Internal = -32603,
}

/// The id of a request as its sender wrote it: a JSON string or integer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// The id in `raw`, if that is a string or an integer.
    pub(crate) fn of(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let valid = text.starts_with('"') || text.parse::<i64>().is_ok();
        valid.then(|| Self(text.to_owned()))
    }

    pub(crate) fn number(number: u64) -> Self {
        Self(number.to_string())
    }

    /// The id as a number, if it can be one of [`Self::number`].
    pub(crate) fn as_number(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// The id as JSON.
    pub(crate) fn as_json(&self) -> &str {
        &self.0
    }
}

/// A parsed line. All content is borrowed from the line.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    Request { id: RequestId, method: Cow<'a, str>, params: Option<&'a RawValue> },
    Notification { method: Cow<'a, str>, params: Option<&'a RawValue> },
    Response { id: RequestId, outcome: Result<&'a RawValue, &'a RawValue> },
}

/// Why a line is no message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedMessage {
    pub(crate) code: RpcErrorCode,
    pub(crate) id: Option<RequestId>,
    pub(crate) problem: &'static str,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Parses a line, which may have white space around it.
    ///
    /// # Errors
    /// The line is no message. The error contains nothing of the line but its id.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, MalformedMessage> {
        let malformed = |code, problem| MalformedMessage { code, id: None, problem };
        let text =
            std::str::from_utf8(line).map_err(|_| malformed(RpcErrorCode::Parse, "the line is not UTF-8"))?;
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                malformed(RpcErrorCode::InvalidRequest, "the line is not a JSON-RPC message")
            }
            _ => malformed(RpcErrorCode::Parse, "the line is not JSON"),
        })?;
        let id = match envelope.id.map(|id| RequestId::of(id).ok_or(())) {
            Some(Err(())) => {
                return Err(malformed(RpcErrorCode::InvalidRequest, "an id must be a string or an integer"));
            }
            Some(Ok(id)) => Some(id),
            None => None,
        };
        match (id, envelope) {
            (Some(id), Envelope { method: Some(method), params, .. }) => {
                Ok(Self::Request { id, method, params })
            }
            (None, Envelope { method: Some(method), params, .. }) => {
                Ok(Self::Notification { method, params })
            }
            (Some(id), Envelope { error: Some(error), .. }) => Ok(Self::Response { id, outcome: Err(error) }),
            (Some(id), Envelope { result: Some(result), .. }) => {
                Ok(Self::Response { id, outcome: Ok(result) })
            }
            (id, _) => Err(MalformedMessage {
                id,
                ..malformed(RpcErrorCode::InvalidRequest, "the line has neither a method nor a result")
            }),
        }
    }
}

/// Returns `line` with its id replaced and everything else unchanged.
pub(crate) fn with_id(line: &[u8], id: &RequestId) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
    Some(spliced(line, &range_of(text, envelope.id?.get())?, id.as_json()))
}

/// Returns `line` with `value`, which is borrowed from it, replaced by `new`.
pub(crate) fn with_value(line: &[u8], value: &RawValue, new: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    Some(spliced(line, &range_of(text, value.get())?, new))
}

/// The range of `part` in `text`, which it is borrowed from.
fn range_of(text: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (text.get(start..end) == Some(part)).then_some(start..end)
}

fn spliced(line: &[u8], range: &Range<usize>, new: &str) -> Vec<u8> {
    [&line[..range.start], new.as_bytes(), &line[range.end..]].concat()
}

/// An error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: RpcErrorCode,
    pub(crate) message: String,
}

impl RpcError {
    /// An error for a request that is invalid, or not allowed now.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: RpcErrorCode::InvalidRequest, message: message.into() }
    }

    /// An error for a request that failed.
    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self { code: RpcErrorCode::Internal, message: message.to_string() }
    }
}

/// Formats the response to the request `id`.
pub(crate) fn response(id: &RequestId, outcome: &Result<Value, RpcError>) -> Vec<u8> {
    match outcome {
        Ok(result) => format!("{{\"id\":{},\"result\":{result}}}", id.as_json()).into_bytes(),
        Err(error) => error_response(Some(id), error),
    }
}

/// Formats the error response to the request `id`, or to a line without a valid id.
pub(crate) fn error_response(id: Option<&RequestId>, error: &RpcError) -> Vec<u8> {
    let error = json!({"code": error.code as i32, "message": error.message});
    let id = id.map_or("null", RequestId::as_json);
    format!("{{\"error\":{error},\"id\":{id}}}").into_bytes()
}

/// Formats a request.
pub(crate) fn request(id: &RequestId, method: &str, params: &impl Serialize) -> Vec<u8> {
    format!("{{\"method\":{},\"id\":{},\"params\":{}}}", json!(method), id.as_json(), json!(params))
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_notifications_and_responses_are_distinguished() {
        let read = |line: &'static str| Message::read(line.as_bytes()).unwrap();
        let Message::Request { id, method, params } =
            read(r#" {"jsonrpc":"2.0","method":"a/b","id":"x","params":[1]} "#)
        else {
            panic!("a request")
        };
        assert_eq!((id.as_json(), &*method, params.unwrap().get()), ("\"x\"", "a/b", "[1]"));
        assert!(matches!(read(r#"{"id":7,"method":"m"}"#), Message::Request { params: None, .. }));
        assert!(matches!(read(r#"{"id":null,"method":"m"}"#), Message::Notification { .. }));
        assert!(matches!(
            read(r#"{"method":"m","params":null}"#),
            Message::Notification { params: None, .. }
        ));
        assert!(matches!(read(r#"{"id":-1,"result":{}}"#), Message::Response { outcome: Ok(_), .. }));
        assert!(matches!(read(r#"{"id":1,"error":{"code":1}}"#), Message::Response { outcome: Err(_), .. }));
    }

    #[test]
    fn a_malformed_message_has_an_error_code_and_keeps_a_valid_id() {
        for (line, code, id) in [
            (&b"garbage"[..], RpcErrorCode::Parse, None),
            (b"{", RpcErrorCode::Parse, None),
            (b"\"\xff\"", RpcErrorCode::Parse, None),
            (b"{\"id\":1,\"method\":\"m\"} {}", RpcErrorCode::Parse, None),
            (b"[]", RpcErrorCode::InvalidRequest, None),
            (b"null", RpcErrorCode::InvalidRequest, None),
            (b"{}", RpcErrorCode::InvalidRequest, None),
            (b"{\"id\":1.5,\"method\":\"m\"}", RpcErrorCode::InvalidRequest, None),
            (b"{\"id\":{},\"method\":\"m\"}", RpcErrorCode::InvalidRequest, None),
            (b"{\"id\":1,\"id\":2,\"method\":\"m\"}", RpcErrorCode::InvalidRequest, None),
            (b"{\"id\":1,\"method\":5}", RpcErrorCode::InvalidRequest, None),
            (b"{\"id\":9}", RpcErrorCode::InvalidRequest, Some("9")),
        ] {
            let malformed = Message::read(line).unwrap_err();
            assert_eq!(
                (malformed.code, malformed.id.as_ref().map(RequestId::as_json)),
                (code, id),
                "{line:?}"
            );
        }
    }

    #[test]
    fn replacing_the_id_changes_nothing_else() {
        let line = br#"{ "x" : 1.0e2 ,"id":  "id" , "params":{"id":"id","n":12345678901234567890123} }"#;
        let new = with_id(line, &RequestId::number(5)).unwrap();
        let text = String::from_utf8(new).unwrap();
        assert_eq!(text, r#"{ "x" : 1.0e2 ,"id":  5 , "params":{"id":"id","n":12345678901234567890123} }"#);
        assert_eq!(with_id(b"{\"method\":\"m\"}", &RequestId::number(5)), None);
    }

    /// Lines that are nearly messages, and random bytes.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let id =
            prop_oneof!["[0-9]{1,20}", "\"[a-z\\\\\"]{0,4}\"", Just("null".to_owned()), "[-+.eE0-9]{1,6}"];
        let value = "[\\[\\]{}\",:a-z0-9 ]{0,12}";
        let nearly = (id, value, 0..6_u8).prop_map(|(id, value, shape)| {
            match shape {
                0 => format!("{{\"id\":{id},\"method\":\"m\",\"params\":{value}}}"),
                1 => format!("{{\"id\":{id},\"result\":{value}}}"),
                2 => format!("{{\"method\":\"{value}\",\"params\":{{\"id\":{id}}}}}"),
                3 => format!("{{\"id\":{id},\"error\":\"{value}\"}}"),
                4 => format!("{}{id}", "[".repeat(500)),
                _ => format!("{{\"id\":{id},\"method\":\"a\\u0062\",\"more\":\"{value}\"}}"),
            }
            .into_bytes()
        });
        prop_oneof![nearly, proptest::collection::vec(any::<u8>(), 0..200)]
    }

    proptest! {
        #[test]
        fn replacing_the_id_of_any_message_changes_only_its_id(line in lines()) {
            match Message::read(&line) {
                Ok(Message::Request { method, .. }) => {
                    let moved = with_id(&line, &RequestId::number(42)).unwrap();
                    let Ok(Message::Request { id, method: same, .. }) = Message::read(&moved) else {
                        panic!("it is still a request")
                    };
                    prop_assert_eq!((id.as_number(), same), (Some(42), method));
                }
                Ok(Message::Response { id, .. }) => {
                    let moved = with_id(&line, &RequestId::number(42)).unwrap();
                    prop_assert_eq!(with_id(&moved, &id).unwrap(), line);
                }
                Ok(Message::Notification { .. }) => {}
                Err(malformed) => {
                    let error = RpcError { code: malformed.code, message: malformed.problem.to_owned() };
                    let response = error_response(malformed.id.as_ref(), &error);
                    prop_assert!(serde_json::from_slice::<Value>(&response).is_ok());
                }
            }
        }
    }
}
