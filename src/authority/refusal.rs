//! Parses error responses: code, message and `Retry-After`.

use std::time::Duration;

use http::header::{DATE, HeaderMap, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;

use crate::redaction::redact;
use crate::secret::Secret;

/// The maximum length of an error code; the known codes have half of it.
const MAX_CODE_CHARS: usize = 64;
/// The maximum length of an error message.
const MAX_MESSAGE_CHARS: usize = 200;
/// The maximum `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The code and message of an error response, each one line without control characters or anything that looks like a
/// token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RefusalDetails {
    /// `error.code`, else `error` if it is a string, else `code`; in lower case.
    pub(super) code: Option<String>,
    /// `error.message`, else `error_description`, else `message`.
    pub(super) message: Option<String>,
}

impl RefusalDetails {
    /// Parses the body of a response to `sent`, which it may quote. A body that is not a JSON object has no details.
    pub(super) fn parse(body: &[u8], sent: &Secret) -> Self {
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let error = body.get("error");
        let nested = |key| error.and_then(|error| error.get(key));
        let code = text(nested("code")).or_else(|| text(error)).or_else(|| text(body.get("code")));
        let message = text(nested("message"))
            .or_else(|| text(body.get("error_description")))
            .or_else(|| text(body.get("message")));
        let unquoted = |text: &str| match sent.expose() {
            "" => text.to_owned(),
            sent => text.replace(sent, "…"),
        };
        Self {
            code: code
                .map(|code| redact(&unquoted(code).to_lowercase(), MAX_CODE_CHARS))
                .filter(|code| !code.is_empty()),
            message: message
                .map(|text| redact(&unquoted(text), MAX_MESSAGE_CHARS))
                .filter(|text| !text.is_empty()),
        }
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| !text.is_empty())
}

/// Returns the delay that `Retry-After` asks for, at most an hour. A date is relative to the server's own `Date`.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let wait = match asked.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // The number does not fit.
        Err(_) if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) => MAX_RETRY_AFTER,
        Err(_) => {
            // The local clock may be wrong. A date in the past means now.
            let until = parse_http_date(asked)?.duration_since(parse_http_date(text(DATE)?)?);
            Duration::try_from(until).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Parses an HTTP date.
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(body: &str) -> (Option<String>, Option<String>) {
        let RefusalDetails { code, message } = RefusalDetails::parse(body.as_bytes(), &Secret::from("a-b"));
        (code, message)
    }

    #[test]
    fn the_code_is_read_from_the_fields_that_codex_reads() {
        for (body, code, message) in [
            (r#"{"error":{"code":"A_b","message":"m"},"code":"c"}"#, Some("a_b"), Some("m")),
            (r#"{"error":"E","error_description":"d","code":"c","message":"m"}"#, Some("e"), Some("d")),
            (r#"{"error":{"message":"m"},"code":"C"}"#, Some("c"), Some("m")),
            (r#"{"error":null,"code":"c"}"#, Some("c"), None),
            (r#"{"error":{"code":5},"code":"c"}"#, Some("c"), None),
            (r#"{"error":"","code":"c"}"#, Some("c"), None),
            (r#"{"code":["c"]}"#, None, None),
            (r#"["error"]"#, None, None),
            ("<html>marked</html>", None, None),
            ("", None, None),
            (r#"{"error":"a-b","message":"is a-b a token?"}"#, Some("…"), Some("is … a token?")),
        ] {
            assert_eq!(said(body), (code.map(str::to_owned), message.map(str::to_owned)), "{body}");
        }
    }

    #[test]
    fn a_code_that_looks_like_a_token_is_not_kept() {
        assert_eq!(said(&format!(r#"{{"error":"RT-{}"}}"#, "0a".repeat(16))), (Some("…".to_owned()), None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let wait = |asked: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(asked).unwrap());
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_str(date).unwrap());
            }
            retry_after(&headers)
        };
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (asked, seconds) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("86400", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:48:37 GMT", Some(3600)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(wait(asked, now), seconds.map(Duration::from_secs), "{asked:?}");
        }
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", None), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
