//! Error responses as Codex 0.169 sorts them, and `Retry-After`.

use std::collections::BTreeMap;
use std::time::Duration;

use codex_auth::authority::{Error, RefusalDuration, RefusalReason, RequestFailure, RetryAdvice};
use scripted_authority::{
    Answer, Authority as Scripted, Effect, Endpoint as At, ErrorShape, Step, TokenState,
};

use super::{REFRESH_URL, TEST_DEADLINES, World, refresh_with};

enum Row {
    Permanent(RefusalReason, RefusalDuration),
    Transient,
}

const TABLE: &[(u16, &str, Row)] = &[
    (400, "refresh_token_expired", Row::Permanent(RefusalReason::Expired, RefusalDuration::Permanent)),
    (401, "refresh_token_expired", Row::Permanent(RefusalReason::Expired, RefusalDuration::Permanent)),
    (401, "Refresh_Token_EXPIRED", Row::Permanent(RefusalReason::Expired, RefusalDuration::Permanent)),
    (503, "refresh_token_expired", Row::Permanent(RefusalReason::Expired, RefusalDuration::Permanent)),
    (400, "refresh_token_reused", Row::Permanent(RefusalReason::Reused, RefusalDuration::Permanent)),
    (401, "refresh_token_reused", Row::Permanent(RefusalReason::Reused, RefusalDuration::Permanent)),
    (429, "refresh_token_reused", Row::Permanent(RefusalReason::Reused, RefusalDuration::Permanent)),
    (401, "refresh_token_invalidated", Row::Permanent(RefusalReason::Revoked, RefusalDuration::Permanent)),
    (403, "refresh_token_invalidated", Row::Permanent(RefusalReason::Revoked, RefusalDuration::Permanent)),
    (400, "invalid_grant", Row::Permanent(RefusalReason::Other, RefusalDuration::Permanent)),
    (400, "INVALID_GRANT", Row::Permanent(RefusalReason::Other, RefusalDuration::Permanent)),
    (401, "invalid_grant", Row::Permanent(RefusalReason::Other, RefusalDuration::TenMinutes)),
    (401, "invalid_client", Row::Permanent(RefusalReason::Other, RefusalDuration::TenMinutes)),
    (401, "", Row::Permanent(RefusalReason::Other, RefusalDuration::TenMinutes)),
    (400, "invalid_request", Row::Transient),
    (400, "", Row::Transient),
    (403, "forbidden", Row::Transient),
    (404, "invalid_grant", Row::Transient),
    (408, "timeout", Row::Transient),
    (429, "slow_down", Row::Transient),
    (500, "server_error", Row::Transient),
    (502, "bad_gateway", Row::Transient),
    (503, "invalid_grant", Row::Transient),
    (504, "gateway_timeout", Row::Transient),
];

#[test]
fn a_refusal_is_sorted_as_by_codex_in_every_format() {
    for shape in [ErrorShape::Flat, ErrorShape::Nested, ErrorShape::TopLevel] {
        let world = World::new();
        world.server.adjust(|policy| policy.error_shape = shape);
        for (status, code, row) in TABLE {
            let expected = (!code.is_empty()).then(|| code.to_lowercase());
            world.server.script(At::Refresh, Step::status(*status, code));
            let error = world.refresh().unwrap_err();
            let named = format!("{shape:?} {status} {code}: {error:?}");
            match (row, &error) {
                (Row::Permanent(reason, hold), Error::Permanent { .. }) => {
                    let Error::Permanent { reason: why, hold: how_long, code, status: answered, .. } = &error
                    else {
                        unreachable!()
                    };
                    assert_eq!((why, how_long, code, answered), (reason, hold, &expected, status), "{named}");
                    assert_eq!(error.kind(), RetryAdvice::Permanent, "{named}");
                }
                (
                    Row::Transient,
                    Error::Transient { cause: RequestFailure::Status { status: answered, code, .. }, .. },
                ) => {
                    assert_eq!((answered, code), (status, &expected), "{named}");
                    assert_eq!(error.kind(), RetryAdvice::Transient, "{named}");
                }
                _ => panic!("{named}"),
            }
            assert!(error.to_string().starts_with("127.0.0.1:"), "{error}");
            assert!(error.to_string().contains("/oauth/token "), "{error}");
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
        assert_eq!(world.server.counters().all(), TABLE.len() as u64, "nothing is asked twice");
        assert_eq!(world.server.state_of(&world.grant.tokens.refresh_token), TokenState::Live);
    }
}

#[test]
fn a_refusal_without_a_readable_body_is_sorted_by_its_status() {
    for (status, kind) in
        [(401, RetryAdvice::Permanent), (400, RetryAdvice::Transient), (500, RetryAdvice::Transient)]
    {
        for body in ["", "<html>refresh_token_expired</html>", "{\"error\":", "[]", "{}"] {
            let world = World::new();
            world.server.script(At::Refresh, Step::body(status, "text/html", body));
            let error = world.refresh().unwrap_err();
            assert_eq!(error.kind(), kind, "{status} {body}: {error:?}");
            assert!(!error.to_string().contains("html"), "{error}");
        }
    }
    // More than the maximum that is read.
    let world = World::new();
    let flood = format!("{{\"error\":\"refresh_token_expired\",\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    world.server.script(At::Refresh, Step::body(401, "application/json", &flood));
    let error = world.refresh().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Permanent { reason: RefusalReason::Other, hold: RefusalDuration::TenMinutes, .. }
        ),
        "{error:?}"
    );
}

#[test]
fn each_message_names_the_next_step() {
    let world = World::new();
    let message_of = |status, code| {
        world.server.script(At::Refresh, Step::status(status, code));
        let error = world.refresh().unwrap_err().to_string();
        let (endpoint, message) = error.split_once(' ').unwrap();
        assert_eq!(endpoint, world.server.token_url().trim_start_matches("http://"));
        // The scripted authority has one message for all codes; its text does not matter here.
        message.to_owned()
    };
    let message = message_of(401, "refresh_token_reused");
    assert!(message.starts_with("refused the refresh token (refresh_token_reused"), "{message}");
    assert!(message.ends_with("): it was already used; log in again"), "{message}");
    let message = message_of(401, "whatever");
    assert!(
        message.ends_with(": it is not accepted; try again in ten minutes, or log in again"),
        "{message}"
    );
    let message = message_of(503, "busy");
    assert!(
        message.starts_with("answered 503 (busy") && message.ends_with("); try again later"),
        "{message}"
    );
}

#[test]
fn retry_after_is_honoured_for_an_hour_at_most() {
    for (header, seconds) in [
        ("7", Some(7)),
        ("0", Some(0)),
        ("999999", Some(3600)),
        ("Fri, 31 Dec 2100 23:59:59 GMT", Some(3600)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("soon", None),
    ] {
        let world = World::new();
        world.server.script(At::Refresh, Step::status(429, "slow_down").with_header("Retry-After", header));
        let error = world.refresh().unwrap_err();
        let Error::Transient { retry_after, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*retry_after, seconds.map(Duration::from_secs), "{header}");
        if header == "7" {
            assert!(error.to_string().ends_with("; try again in 7 seconds"), "{error}");
        }
    }
}

#[test]
fn a_redirect_is_not_followed_and_only_its_host_is_shown() {
    let other = Scripted::start().unwrap();
    for (location, host) in [
        (other.token_url(), "127.0.0.1"),
        ("https://evil.example/marked?marked#marked".to_owned(), "evil.example"),
        ("https://marked:marked@evil.example/".to_owned(), "evil.example"),
        ("/marked".to_owned(), "127.0.0.1"),
        ("http://[marked".to_owned(), "an unknown host"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let world = World::new();
            let headers = BTreeMap::from([("Location".to_owned(), location.clone())]);
            let answer =
                Answer::Status { status, code: "moved".to_owned(), headers, effect: Effect::Withheld };
            world.server.script(At::Refresh, answer.into());
            let error = world.refresh().unwrap_err();
            assert!(
                matches!(&error, Error::Transient { cause: RequestFailure::Redirect { .. }, .. }),
                "{location}: {error:?}"
            );
            let text = error.to_string();
            assert!(text.contains(&format!("answered {status} and redirects to {host}; tokens")), "{text}");
            assert!(!format!("{text} {error:?}").contains("marked"), "{error:?}");
            assert_eq!(world.server.counters().all(), 1);
        }
    }
    assert_eq!(other.counters().all(), 0);
    let world = World::new();
    world.server.script(At::Refresh, Step::redirect("https://evil.example/"));
    assert_eq!(world.refresh().unwrap_err().kind(), RetryAdvice::Transient);
}

#[test]
fn nobody_listening_means_that_nothing_was_sent() {
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in
        [format!("http://{vacant}/oauth/token"), format!("http://localhost:{}/oauth/token", vacant.port())]
    {
        let error = refresh_with(&[(REFRESH_URL, &url)], TEST_DEADLINES, "rt-marked").unwrap_err();
        assert!(matches!(&error, Error::Transient { cause: RequestFailure::Connection(_), .. }), "{error:?}");
        assert!(error.to_string().contains("cannot be reached: Connection refused"), "{error}");
    }
    let error =
        refresh_with(&[(REFRESH_URL, "https://unknown.invalid/t")], TEST_DEADLINES, "rt-marked").unwrap_err();
    assert!(matches!(&error, Error::Transient { cause: RequestFailure::Connection(_), .. }), "{error:?}");
    assert!(error.to_string().starts_with("unknown.invalid/t cannot be reached: "), "{error}");
}
