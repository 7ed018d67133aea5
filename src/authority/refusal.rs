//! What an answer that is not a success says: its code and message, fit to be shown, and when to come back.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::redaction::shown;
use crate::secret::Secret;

/// The longest code that is kept, in characters; those that are known have half of it.
const LONGEST_CODE: usize = 64;
/// The longest message that is kept, in characters.
const LONGEST_MESSAGE: usize = 200;
/// The longest wait that an authority is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The code and message of a refusal. Neither is longer than a line, and neither holds a control character or anything
/// that looks like a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RefusalDetails {
    /// `error.code`, else `error` if it is a text, else `code`; in lower case.
    pub(super) code: Option<String>,
    /// `error.message`, else `error_description`, else `message`.
    pub(super) message: Option<String>,
}

impl RefusalDetails {
    /// Reads the body of an answer to `sent`, which it may quote. One that is no JSON object says nothing.
    pub(super) fn read(body: &[u8], sent: &Secret) -> Self {
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let error = body.get("error");
        let within = |key| error.and_then(|error| error.get(key));
        let code = text(within("code")).or_else(|| text(error)).or_else(|| text(body.get("code")));
        let message = text(within("message"))
            .or_else(|| text(body.get("error_description")))
            .or_else(|| text(body.get("message")));
        let unquoted = |text: &str| match sent.expose() {
            "" => text.to_owned(),
            sent => text.replace(sent, "…"),
        };
        Self {
            code: code
                .map(|code| shown(&unquoted(code).to_lowercase(), LONGEST_CODE))
                .filter(|code| !code.is_empty()),
            message: message
                .map(|text| shown(&unquoted(text), LONGEST_MESSAGE))
                .filter(|text| !text.is_empty()),
        }
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| !text.is_empty())
}

/// How long the authority asks to be left alone: seconds, or a date less the authority's own clock. At most an hour.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let wait = match asked.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // More seconds than a number has room for.
        Err(_) if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) => LONGEST_WAIT,
        Err(_) => {
            // Our own clock may be a day off. A date in the past means now.
            let until = date(asked)?.duration_since(date(text(DATE)?)?);
            Duration::try_from(until).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// A time as HTTP writes it.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn said(body: &str) -> (Option<String>, Option<String>) {
        let RefusalDetails { code, message } = RefusalDetails::read(body.as_bytes(), &Secret::from("a-b"));
        (code, message)
    }

    #[test]
    fn the_code_is_looked_up_where_codex_looks() {
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
    fn a_wait_is_in_seconds_or_until_a_date_of_the_authoritys_own_clock() {
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
