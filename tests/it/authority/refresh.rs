//! Successful refreshes: what is sent, what comes back, and unusual responses.

use std::time::{Duration, Instant};

use codex_auth::authority::{
    Authority, Endpoint, Error, InvalidTokenResponse, MissingResponse, RetryAdvice, StaleTokenReason,
    client_id,
};
use codex_auth::{AuthDocument, Secret};
use scripted_authority::{
    Account, Authority as Scripted, Edit, Endpoint as At, Moment, Rotation, Step, TokenState,
};
use serde_json::json;

use super::{Deadlines, REFRESH_URL, TEST_DEADLINES, World, environment, request, run};

#[test]
fn a_refresh_sends_codexs_request_and_returns_the_new_tokens() {
    let World { server, grant } = World::new();
    let environment = environment(&[(REFRESH_URL, &server.token_url())]);
    let authority = Authority::new(&environment);
    let mut token = grant.tokens.refresh_token;
    for reason in [
        StaleTokenReason::Forced,
        StaleTokenReason::ProactiveExpiry,
        StaleTokenReason::Scheduled,
        StaleTokenReason::UnauthorizedRecovery,
    ] {
        let mut request = request(&environment, &token).unwrap();
        request.reason = reason;
        // A new runtime each time, so that none inherits state.
        let response = run(authority.refresh(&request)).unwrap();
        let newest = server.latest(grant.id).unwrap().tokens;
        let text = |token: &Option<Secret>| token.as_ref().map(|token| token.expose().to_owned());
        assert_eq!(text(&response.id_token), Some(newest.id_token));
        assert_eq!(text(&response.access_token), Some(newest.access_token));
        assert_eq!(text(&response.refresh_token), Some(newest.refresh_token.clone()));
        let identity = response.identity();
        assert_eq!(identity.account_id.as_deref(), Some(grant.account.account_id.as_str()));
        assert_eq!(identity.user_id.as_deref(), Some(grant.account.user_id.as_str()));
        assert_eq!(server.state_of(&token), TokenState::Spent);
        token = newest.refresh_token;
        let entry = server.journal().pop().unwrap();
        assert_eq!(entry.refresh_reason.as_deref(), Some(reason.as_str()));
        assert_eq!(entry.client_id.as_deref(), Some("app_EMoamEEZ73f0CkXaXp7hrann"));
        assert_eq!(entry.originator.as_deref(), Some("codex_cli_rs"));
        assert_eq!(entry.content_type.as_deref(), Some("application/json"));
        let agent = entry.user_agent.unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert!(agent.starts_with(&format!("codex-auth/{version} (")) && agent.ends_with(')'), "{agent}");
    }
    assert_eq!(server.counters().all(), 4);
}

#[test]
fn a_refresh_uses_the_client_and_issuer_of_the_document() {
    let server = Scripted::start().unwrap();
    server.adjust(|policy| policy.client_ids.push("app_other".to_owned()));
    let grant = server.grant_to("app_other", Account::numbered(1));
    let text = json!({ "tokens": {
        "refresh_token": grant.tokens.refresh_token,
        "oauth_provenance": { "issuer": server.url(), "client_id": "app_other" },
    }});
    let document = AuthDocument::parse(text.to_string().as_bytes()).unwrap();
    let provenance = &document.tokens().unwrap().provenance;
    let environment = environment(&[]);
    let mut request = request(&environment, &grant.tokens.refresh_token).unwrap();
    request.endpoint = Endpoint::refresh(&environment, provenance).unwrap();
    request.client_id = client_id(provenance).to_owned();
    run(Authority::new(&environment).refresh(&request)).unwrap();
    assert_eq!(server.journal().pop().unwrap().client_id.as_deref(), Some("app_other"));
    assert_eq!(server.state_of(&grant.tokens.refresh_token), TokenState::Spent);
}

#[test]
fn refresh_without_id_token() {
    for edit in [Edit::Missing, Edit::Null] {
        let world = World::new();
        world
            .server
            .script(At::Refresh, Step::edited("id_token", edit.clone()).and_edited("refresh_token", edit));
        let response = world.refresh().unwrap();
        assert!(response.id_token.is_none() && response.refresh_token.is_none());
        assert!(response.access_token.is_some());
    }
    let world = World::new();
    world.server.adjust(|policy| policy.rotation = Rotation::Keeps);
    assert!(world.refresh().unwrap().refresh_token.is_none());
}

#[test]
fn a_response_for_another_user_is_recognised() {
    let World { server, grant } = World::new();
    server.script(At::Refresh, Step::edited("id_token", Edit::IssuedTo(Account::numbered(2))));
    let world = World { server, grant };
    let identity = world.refresh().unwrap().identity();
    assert_eq!(identity.account_id, Some(Account::numbered(2).account_id));
}

#[test]
fn a_success_that_cannot_be_parsed_may_have_spent_the_token() {
    let fields = ["id_token", "access_token", "refresh_token"];
    let odd = [
        (Edit::Empty, None),
        (Edit::Value(json!(5)), Some(InvalidTokenResponse::Field)),
        (Edit::Value(json!(true)), Some(InvalidTokenResponse::Field)),
        (Edit::Value(json!({"token": "x"})), Some(InvalidTokenResponse::Field)),
        (Edit::Value(json!(["x"])), Some(InvalidTokenResponse::Field)),
        (Edit::Gigantic(300 * 1024), Some(InvalidTokenResponse::TooLarge)),
    ];
    let mut steps = Vec::new();
    for name in fields {
        for (edit, what) in &odd {
            // Without a new refresh token the response is useless.
            let step = Step::edited("refresh_token", Edit::Missing).and_edited(name, edit.clone());
            steps.push((step, what.unwrap_or(InvalidTokenResponse::Empty { name })));
        }
    }
    let html = "<html>all is well</html>";
    steps.push((Step::flood(64 * 1024 * 1024).after_effect(), InvalidTokenResponse::TooLarge));
    steps.push((Step::body(200, "text/html", html).after_effect(), InvalidTokenResponse::NotAnObject));
    steps.push((Step::body(200, "application/json", "[]").after_effect(), InvalidTokenResponse::NotAnObject));
    steps.push((
        Step::body(200, "application/json", "{\"id_token\":").after_effect(),
        InvalidTokenResponse::NotAnObject,
    ));
    steps.push((Step::body(204, "application/json", "").after_effect(), InvalidTokenResponse::NotAnObject));
    for (step, what) in steps {
        let World { server, grant } = World::new();
        server.script(At::Refresh, step.clone());
        let world = World { server, grant };
        let error = world.refresh().unwrap_err();
        assert_eq!(error.kind(), RetryAdvice::Unknown, "{step:?}: {error}");
        assert!(
            matches!(&error, Error::Unknown { cause: MissingResponse::Undecodable(found), .. } if *found == what),
            "{step:?}: {error:?}"
        );
        assert_eq!(world.server.state_of(&world.grant.tokens.refresh_token), TokenState::Spent, "{step:?}");
        assert_eq!(world.server.counters().all(), 1, "{step:?}");
    }
}

#[test]
fn a_new_refresh_token_is_kept_although_other_fields_are_invalid() {
    for edit in [Edit::Empty, Edit::Null, Edit::Value(json!(5)), Edit::Value(json!({"token": ["x"]}))] {
        let world = World::new();
        world
            .server
            .script(At::Refresh, Step::edited("id_token", edit.clone()).and_edited("access_token", edit));
        let response = world.refresh().unwrap();
        let successor = response.refresh_token.unwrap();
        assert_eq!(world.server.state_of(successor.expose()), TokenState::Live);
        assert!(response.id_token.is_none() && response.access_token.is_none());
    }
}

#[test]
fn a_closed_connection_means_that_the_token_may_be_spent() {
    for (step, state) in [
        (Step::closed_before(), TokenState::Live),
        (Step::closed_after(), TokenState::Spent),
        (Step::truncated(), TokenState::Spent),
    ] {
        let World { server, grant } = World::new();
        server.script(At::Refresh, step.clone());
        let world = World { server, grant };
        let error = world.refresh().unwrap_err();
        assert!(
            matches!(&error, Error::Unknown { cause: MissingResponse::BrokenOff(_), .. }),
            "{step:?}: {error:?}"
        );
        assert!(error.to_string().contains("/oauth/token closed the connection before"), "{error}");
        assert_eq!(world.server.state_of(&world.grant.tokens.refresh_token), state, "{step:?}");
        assert_eq!(world.server.counters().all(), 1, "{step:?}");
    }
}

#[test]
fn a_request_to_an_authority_that_hangs_times_out() {
    let deadlines = Deadlines { refresh: Duration::from_millis(300), ..TEST_DEADLINES };
    for moment in [Moment::Before, Moment::After] {
        let world = World::new();
        let hold = world.server.hold(At::Refresh, moment);
        let started = Instant::now();
        let error = world.refresh_within(deadlines).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(matches!(&error, Error::Unknown { cause: MissingResponse::TimedOut(_), .. }), "{error:?}");
        assert!(error.to_string().contains("did not answer within 0.3 seconds"), "{error}");
        hold.arrived(Duration::from_secs(5)).unwrap();
    }
    // A response that begins and does not end is none.
    let world = World::new();
    let slow = super::server::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"access_token\":");
    let error = super::refresh_with(
        &[(REFRESH_URL, &slow.url("http"))],
        deadlines,
        &world.grant.tokens.refresh_token,
    );
    assert!(matches!(error, Err(Error::Unknown { cause: MissingResponse::TimedOut(_), .. })), "{error:?}");
}

#[test]
fn an_empty_token_is_never_sent() {
    let world = World::new();
    let variables = [(REFRESH_URL, world.server.token_url())];
    let error = super::refresh_with(
        &variables.each_ref().map(|(key, value)| (*key, value.as_str())),
        TEST_DEADLINES,
        "",
    );
    assert!(matches!(error, Err(Error::NoToken { .. })), "{error:?}");
    assert_eq!(error.unwrap_err().kind(), RetryAdvice::NotSent);
    assert_eq!(world.server.counters().all(), 0);
}
