//! Scripted faults: what the client sees, and the state of the token afterwards.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use scripted_authority::{Account, Authority, Endpoint, Moment, Outcome, Step, TokenState};

use crate::client::{Heard, JSON, LONG, refresh, refresh_body, request, try_refresh};

#[test]
fn a_connection_closed_before_leaves_the_token_live() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    authority.script(Endpoint::Refresh, Step::closed_before());
    assert!(matches!(try_refresh(authority.url(), &grant), Heard::Nothing));
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Live);
    let entry = &authority.journal()[0];
    assert_eq!((entry.outcome, entry.took_effect), (Outcome::Closed, false));
    assert_eq!(try_refresh(authority.url(), &grant).whole().status, 200, "only the one request was scripted");
}

#[test]
fn a_connection_closed_after_has_spent_the_token() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    authority.script(Endpoint::Refresh, Step::closed_after());
    assert!(matches!(try_refresh(authority.url(), &grant), Heard::Nothing));
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Spent);
    let entry = &authority.journal()[0];
    assert_eq!((entry.outcome, entry.took_effect), (Outcome::Closed, true));
    let successor = authority.latest(grant.id).unwrap().tokens.refresh_token;
    assert_eq!(authority.live_refresh_token(grant.id), Some(successor));
}

#[test]
fn a_truncated_response_has_spent_the_token() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    authority.script(Endpoint::Refresh, Step::truncated());
    assert!(matches!(try_refresh(authority.url(), &grant), Heard::CutOff));
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Spent);
}

#[test]
fn scripted_answers_come_in_order_and_spend_nothing_unless_told() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    authority.script(Endpoint::Refresh, Step::status(429, "busy").with_header("Retry-After", "7"));
    authority.script(Endpoint::Refresh, Step::body(200, "text/html", "<html>a captive portal</html>"));
    authority.script(Endpoint::Refresh, Step::redirect("http://evil.example/oauth/token"));
    authority.script(Endpoint::Refresh, Step::flood(5 * 1_048_576));

    let busy = try_refresh(authority.url(), &grant).whole();
    assert_eq!((busy.status, busy.code().as_str()), (429, "busy"));
    assert_eq!(busy.header("retry-after").as_deref(), Some("7"));
    let portal = try_refresh(authority.url(), &grant).whole();
    assert_eq!((portal.status, portal.body.as_str()), (200, "<html>a captive portal</html>"));
    let redirect = try_refresh(authority.url(), &grant).whole();
    assert_eq!(redirect.status, 307);
    assert_eq!(redirect.header("location").as_deref(), Some("http://evil.example/oauth/token"));
    assert!(try_refresh(authority.url(), &grant).whole().body.len() > 5 * 1_048_576);
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Live);

    authority.script(Endpoint::Refresh, Step::status(500, "after_all").after_effect());
    assert_eq!(try_refresh(authority.url(), &grant).whole().status, 500);
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Spent);
    assert_eq!(authority.counters().ended(Endpoint::Refresh, Outcome::Scripted), 5);
}

#[test]
fn a_default_step_applies_to_every_request_until_it_is_cleared() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    authority.script_always(Endpoint::Refresh, Step::status(503, "down"));
    for _ in 0..3 {
        assert_eq!(try_refresh(authority.url(), &grant).whole().status, 503);
    }
    authority.clear_script();
    assert_eq!(try_refresh(authority.url(), &grant).whole().status, 200);
}

#[test]
fn a_delay_comes_before_the_effect() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let (delay, started) = (Duration::from_millis(50), Instant::now());
    authority.script(Endpoint::Refresh, Step::default().delayed(delay));
    assert_eq!(try_refresh(authority.url(), &grant).whole().status, 200);
    assert!(started.elapsed() >= delay);
}

#[test]
fn a_held_request_is_reported_and_goes_on_when_released() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    for (moment, meanwhile) in [(Moment::Before, TokenState::Live), (Moment::After, TokenState::Spent)] {
        let token = authority.live_refresh_token(grant.id).unwrap();
        let hold = authority.hold(Endpoint::Refresh, moment);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| refresh(authority.url(), &token));
            let entry = hold.arrived(LONG).unwrap();
            assert_eq!(entry.outcome, Outcome::Pending);
            assert_eq!(authority.state_of(&token), meanwhile);
            hold.release();
            assert_eq!(client.join().unwrap().status, 200);
        });
    }
}

#[test]
fn the_second_of_two_held_requests_loses() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let token = &grant.tokens.refresh_token;
    let (one, two) = (
        authority.hold(Endpoint::Refresh, Moment::Before),
        authority.hold(Endpoint::Refresh, Moment::Before),
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| refresh(authority.url(), token));
        one.arrived(LONG).unwrap();
        let second = scope.spawn(|| refresh(authority.url(), token));
        two.arrived(LONG).unwrap();
        authority.wait_for_requests(Endpoint::Refresh, 2, LONG).unwrap();
        two.release();
        assert_eq!(second.join().unwrap().status, 200);
        one.release();
        assert_eq!(first.join().unwrap().code(), "refresh_token_reused");
    });
}

#[test]
fn a_request_is_carried_out_although_its_client_left() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let hold = authority.hold(Endpoint::Refresh, Moment::Before);
    let body = refresh_body(&grant.tokens.refresh_token).to_string();
    let client = request(authority.url(), "POST", "/oauth/token", &[JSON], &body).unwrap();
    hold.arrived(LONG).unwrap();
    drop(client);
    let gone = authority.wait_for_entry(LONG, |entry| entry.abandoned).unwrap();
    assert!(!gone.took_effect);
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Live);
    hold.release();
    let done = authority.wait_for_entry(LONG, |entry| entry.outcome == Outcome::Granted).unwrap();
    assert!(done.took_effect && done.abandoned);
    assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Spent);
}

#[test]
fn a_wait_that_times_out_is_an_error() {
    let authority = Authority::start().unwrap();
    let hold = authority.hold(Endpoint::Refresh, Moment::Before);
    assert!(hold.arrived(Duration::from_millis(1)).is_err());
    let error = authority.wait_for_requests(Endpoint::Revoke, 1, Duration::from_millis(1)).unwrap_err();
    assert!(error.to_string().contains("1 requests of Revoke"));
}

#[test]
fn dropping_it_frees_the_port_and_closes_connections() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::default());
    let hold = authority.script(Endpoint::Refresh, Step::held(Moment::Before));
    let url = authority.url().to_owned();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| try_refresh(&url, &grant));
        authority.wait_for_step(hold, LONG).unwrap();
        drop(authority);
        assert!(matches!(client.join().unwrap(), Heard::Nothing));
    });
    TcpListener::bind(url.strip_prefix("http://").unwrap()).unwrap();
}
