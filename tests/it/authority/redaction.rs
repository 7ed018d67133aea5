//! Errors contain no token, whatever the authority responds.

use std::error::Error as _;
use std::time::Duration;

use codex_auth::Secret;
use codex_auth::authority::{Authority, Endpoint, Error, Revocation};
use codex_auth::document::Provenance;
use scripted_authority::{Edit, Endpoint as At, ErrorShape, Step};
use serde_json::json;

use super::{Deadlines, REFRESH_URL, TEST_DEADLINES, World, environment, request, run};

/// Returns every printable form of an error.
fn shown(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}\n");
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!("{cause}\n{cause:?}\n");
        source = cause.source();
    }
    text
}

#[test]
fn no_error_shows_a_token_that_the_authority_has_issued() {
    let World { server, grant } = World::new();
    let tokens = &grant.tokens;
    let quoted: String = [&tokens.refresh_token, &tokens.access_token, &tokens.id_token]
        .map(|token| format!("your token {token}, (\"{token}\") and token={token}; "))
        .concat();
    let echo = |status: u16| {
        [
            json!({"error": {"code": tokens.refresh_token, "message": quoted}}),
            json!({"error": tokens.access_token, "error_description": quoted}),
            json!({"code": tokens.id_token, "message": quoted}),
            json!({"error": "refresh_token_reused", "error_description": quoted}),
            json!({"access_token": tokens.access_token, "refresh_token": [tokens.refresh_token]}),
            json!({"access_token": tokens.access_token, "id_token": tokens.id_token, "refresh_token": ""}),
            json!([tokens.refresh_token]),
            json!(tokens.refresh_token),
        ]
        .map(|body| Step::body(status, "application/json", &body.to_string()))
    };
    let mut steps: Vec<Step> = [200, 400, 401, 403, 429, 500].into_iter().flat_map(echo).collect();
    steps.extend([
        Step::redirect(&format!("https://example.test/{}?t={}", tokens.refresh_token, tokens.access_token)),
        Step::status(503, &tokens.refresh_token),
        Step::status(401, &tokens.access_token).with_header("Retry-After", &tokens.refresh_token),
        Step::body(200, "text/plain", &quoted),
        Step::edited("access_token", Edit::Empty),
    ]);
    // The calls that spend the tokens come last.
    steps.extend([Step::truncated(), Step::closed_after(), Step::default()]);
    let variables = [(REFRESH_URL, server.token_url())];
    let environment = environment(&variables.each_ref().map(|(key, value)| (*key, value.as_str())));
    let authority = Authority::with_deadlines(
        &environment,
        Deadlines { revoke: Duration::from_millis(150), ..TEST_DEADLINES },
    );
    let request = request(&environment, &tokens.refresh_token).unwrap();
    let endpoint = Endpoint::revoke(&environment, &Provenance::default()).unwrap();
    let refresh_token = Secret::from(tokens.refresh_token.as_str());
    let revocation = Revocation::of_refresh_token(endpoint, request.client_id.clone(), refresh_token);
    let mut all = format!("{environment:?} {authority:?} {request:?} {revocation:?}");
    let mut errors = 0;
    for step in steps {
        for shape in [ErrorShape::Flat, ErrorShape::Nested, ErrorShape::TopLevel] {
            server.adjust(|policy| policy.error_shape = shape);
            server.script(At::Refresh, step.clone());
            if let Err(error) = run(authority.refresh(&request)) {
                errors += 1;
                all += &shown(&error);
            }
        }
        server.script_always(At::Revoke, step);
        if let Err(error) = run(authority.revoke(&revocation)) {
            errors += 1;
            all += &shown(&error);
        }
    }
    assert!(errors > 100, "{errors}");
    for secret in server.issued_secrets() {
        assert!(!all.contains(&secret), "{secret} is in {all}");
        // Nor a part of it.
        let part = &secret[..secret.len().min(24)];
        assert!(!all.contains(part), "{part} of {secret} is in {all}");
        assert!(!all.to_lowercase().contains(&part.to_lowercase()), "{part}");
    }
}
