//! Responses: the ordinary ones, and the ways in which a script changes them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::faults::{Answer, Edit};
use crate::policy::ErrorShape;

const JSON: &str = "application/json";
/// The maximum length of a field.
const GIGANTIC: usize = 64 * 1_048_576;
/// The size of one piece of a flood.
const PIECE: &[u8] = &[b'a'; 65_536];

/// The ordinary response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The error code; `None` if the request was granted.
    pub(crate) code: Option<String>,
    content: Content,
    headers: Vec<(&'static str, String)>,
}

#[derive(Debug)]
enum Content {
    Json(Value),
    Html(String),
    Events(String),
}

impl Reply {
    pub(crate) fn json(value: Value) -> Self {
        Self { status: 200, code: None, content: Content::Json(value), headers: Vec::new() }
    }

    pub(crate) fn html(text: String) -> Self {
        Self { status: 200, code: None, content: Content::Html(text), headers: Vec::new() }
    }

    /// A stream of events, each with its type as its name.
    pub(crate) fn events(events: &[Value]) -> Self {
        let line = |event: &Value| {
            format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
        };
        let content = Content::Events(events.iter().map(line).collect());
        Self { status: 200, code: None, content, headers: Vec::new() }
    }

    /// 303 See Other: the browser follows with GET, also after a form.
    pub(crate) fn see_other(location: String) -> Self {
        Self {
            status: 303,
            code: None,
            content: Content::Html(String::new()),
            headers: vec![("location", location)],
        }
    }

    pub(crate) fn refusal(shape: ErrorShape, status: u16, code: &str, message: &str) -> Self {
        let content = Content::Json(error_body(shape, code, message));
        Self { status, code: Some(code.to_owned()), content, headers: Vec::new() }
    }

    /// Counts the response as a refusal: an error page, or a redirect with an error.
    pub(crate) fn counted_as(mut self, status: u16, code: &str) -> Self {
        self.status = status;
        self.code = Some(code.to_owned());
        self
    }

    fn edit(
        mut self,
        edits: BTreeMap<String, Edit>,
        mut id_token: impl FnMut(&crate::Account) -> String,
    ) -> Self {
        if let (None, Content::Json(Value::Object(fields))) = (&self.code, &mut self.content) {
            for (field, edit) in edits {
                let value = match edit {
                    Edit::Empty => json!(""),
                    Edit::Gigantic(bytes) => json!("a".repeat(bytes.min(GIGANTIC))),
                    Edit::IssuedTo(account) => json!(id_token(&account)),
                    Edit::Missing => {
                        fields.remove(&field);
                        continue;
                    }
                    Edit::Null => Value::Null,
                    Edit::Value(value) => value,
                };
                fields.insert(field, value);
            }
        }
        self
    }

    fn into_bytes(self) -> (u16, HeaderMap, Bytes) {
        let (content_type, bytes) = match self.content {
            Content::Json(value) => (JSON, value.to_string().into_bytes()),
            Content::Html(text) => ("text/html; charset=utf-8", text.into_bytes()),
            Content::Events(text) => ("text/event-stream", text.into_bytes()),
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        (self.status, headers, bytes.into())
    }
}

/// A response, or the end of the connection.
#[derive(Debug)]
pub(crate) enum Departure {
    Response(Response),
    Closed,
}

/// Applies the scripted response to the ordinary one, which is `None` if the effect was withheld.
pub(crate) fn depart(
    answer: Answer,
    reply: Option<Reply>,
    shape: ErrorShape,
    id_token: impl FnMut(&crate::Account) -> String,
) -> Departure {
    let response = match (answer, reply) {
        (Answer::Body { status, content_type, text, .. }, _) => {
            plain(status, &[(CONTENT_TYPE.as_str(), &content_type)], text.into())
        }
        (Answer::Flood { bytes, .. }, _) => {
            let body = Body::new(Flood { left: bytes, opened: false });
            plain(200, &[(CONTENT_TYPE.as_str(), JSON)], body)
        }
        (Answer::Redirect { location, .. }, _) => {
            plain(307, &[(LOCATION.as_str(), &location)], Body::empty())
        }
        (Answer::Status { status, code, headers, .. }, _) => {
            let body = error_body(shape, &code, "as the script says").to_string();
            let mut all = vec![(CONTENT_TYPE.as_str(), JSON)];
            all.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            plain(status, &all, body.into())
        }
        (Answer::Edited { edits }, Some(reply)) => whole(reply.edit(edits, id_token)),
        (Answer::Truncated, Some(reply)) => torn(reply),
        (Answer::True, Some(reply)) => whole(reply),
        (Answer::Closed { .. } | Answer::Edited { .. } | Answer::Truncated | Answer::True, _) => {
            return Departure::Closed;
        }
    };
    Departure::Response(response)
}

fn error_body(shape: ErrorShape, code: &str, message: &str) -> Value {
    match shape {
        ErrorShape::Flat => json!({"error": code, "error_description": message}),
        ErrorShape::Nested => {
            json!({"error": {"code": code, "message": message, "type": "invalid_request_error"}})
        }
        ErrorShape::TopLevel => json!({"code": code, "message": message}),
    }
}

fn whole(reply: Reply) -> Response {
    let (status, headers, bytes) = reply.into_bytes();
    response(status, headers, bytes.into())
}

fn torn(reply: Reply) -> Response {
    let (status, mut headers, bytes) = reply.into_bytes();
    headers.insert(CONTENT_LENGTH, bytes.len().into());
    let half = bytes.slice(..bytes.len() / 2);
    response(status, headers, Body::new(Torn { half: Some(half), flushed: false }))
}

/// Builds a response. An invalid header is omitted; an invalid status becomes 500.
fn plain(status: u16, headers: &[(&str, &str)], body: Body) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            map.insert(name, value);
        }
    }
    response(status, map, body)
}

fn response(status: u16, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}

#[derive(Debug, thiserror::Error)]
#[error("the script cuts this body off")]
struct CutOff;

/// Half of a body, then an error, which closes the connection.
struct Torn {
    half: Option<Bytes>,
    flushed: bool,
}

impl HttpBody for Torn {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if !self.flushed {
            // hyper drops its buffer if a body fails at once; a pause lets it write.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(CutOff)))
    }
}

/// The beginning of a JSON string, then as many letters as requested.
struct Flood {
    left: u64,
    opened: bool,
}

impl HttpBody for Flood {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if !self.opened {
            self.opened = true;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{\"access_token\":\"")))));
        }
        let size = self.left.min(PIECE.len() as u64);
        self.left -= size;
        let piece = PIECE.get(..usize::try_from(size).unwrap_or(0)).unwrap_or(PIECE);
        Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from_static(piece)))))
    }
}
