//! Refusals and invalid responses of an authority: the message, the exit code, and the effect on the login.

use std::thread;

use scripted_authority::{Account, Authority, Edit, Endpoint, Step, TokenState};
use serde_json::{Value, json};

use crate::authority::tls::Signer;
use crate::manager::world::World;
use crate::support::{Ended, Machine};

/// A text in every response, outside of code and message.
const CANARY: &str = "CANARY-51e0";

/// For how long a refusal poisons the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoisonState {
    NotPoisoned,
    TenMinutes,
    Permanent,
}

use PoisonState::{NotPoisoned, Permanent, TenMinutes};

/// HTTP status and error code, exit code, message, and poison, as Codex classifies them.
const REFUSALS: &[(u16, &str, i32, &str, PoisonState)] = &[
    (401, "refresh_token_expired", 3, "the refresh token has expired (refresh_token_expired)", Permanent),
    (400, "refresh_token_expired", 3, "the refresh token has expired", Permanent),
    (500, "refresh_token_expired", 3, "the refresh token has expired", Permanent),
    (
        401,
        "refresh_token_reused",
        3,
        "was already used, by a program that did not save the new one",
        Permanent,
    ),
    (
        400,
        "refresh_token_reused",
        3,
        "was already used, by a program that did not save the new one",
        Permanent,
    ),
    (
        429,
        "refresh_token_reused",
        3,
        "was already used, by a program that did not save the new one",
        Permanent,
    ),
    (401, "refresh_token_invalidated", 3, "the refresh token was revoked", Permanent),
    (403, "refresh_token_invalidated", 3, "the refresh token was revoked", Permanent),
    (400, "invalid_grant", 3, "the authority rejects the refresh token (invalid_grant)", Permanent),
    (401, "invalid_grant", 3, "the authority rejects the refresh token", TenMinutes),
    (401, "invalid_client", 3, "the authority rejects the refresh token (invalid_client)", TenMinutes),
    (401, "", 3, "the authority rejects the refresh token", TenMinutes),
    (
        400,
        "invalid_request",
        4,
        "answered 400 (invalid_request: Something happened.); try again later",
        NotPoisoned,
    ),
    (400, "", 4, "answered 400 (Something happened.); try again later", NotPoisoned),
    (403, "forbidden", 4, "answered 403 (forbidden", NotPoisoned),
    (404, "invalid_grant", 4, "answered 404 (invalid_grant", NotPoisoned),
    (429, "slow_down", 4, "answered 429 (slow_down", NotPoisoned),
    (500, "server_error", 4, "answered 500 (server_error", NotPoisoned),
    (502, "", 4, "answered 502", NotPoisoned),
    (503, "busy", 4, "answered 503 (busy", NotPoisoned),
];

/// Runs a verbose refresh, and checks that nothing but the code and message of a response is shown or stored.
#[track_caller]
fn refresh(world: &World<'_>) -> Ended {
    let ended = world.codex(["refresh", "-v"]).run();
    assert!(!ended.to_string().contains(CANARY), "{ended}");
    for (path, _, content) in world.machine.home.tree() {
        let content = String::from_utf8_lossy(&content).into_owned();
        assert!(!content.contains(CANARY), "{}: {content}", path.display());
    }
    ended
}

fn poison_state(world: &World<'_>) -> PoisonState {
    match &world.state()["poison"] {
        Value::Null => NotPoisoned,
        poison if poison.get("until").is_some() => TenMinutes,
        _ => Permanent,
    }
}

/// Runs `check` for all `cases` at once, each with its own machine and authority, because some wait for seconds.
fn for_each_case<T: Sync>(cases: &[T], check: impl Fn(&T, &World<'_>) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case, &World::fresh(&mut Machine::with_file())));
        }
    });
}

#[test]
fn a_refusal_is_reported_with_its_code_and_message_and_changes_nothing() {
    for_each_case(REFUSALS, |&(status, code, exit, expected, remember), world| {
        let before = world.machine.home.read("auth.json");
        let error = json!({"code": code, "message": "Something happened.", "param": CANARY});
        let body = json!({"error": error, "access_token": CANARY, "detail": [CANARY]});
        world.authority.script(Endpoint::Refresh, Step::body(status, "application/json", &body.to_string()));
        let ended = refresh(world).refused(exit);
        let what = format!("{status} {code}\n{ended}");
        assert!(ended.err.contains(expected), "{what}");
        assert_eq!(
            ended.err.contains("\nhint: log in again to replace it: codex login\n"),
            exit == 3,
            "{what}"
        );
        assert_eq!(poison_state(world), remember, "{what}");
        assert_eq!(world.machine.home.read("auth.json"), before, "{what}");
        assert_eq!(world.authority.state_of(&world.grant.tokens.refresh_token), TokenState::Live);
        assert_eq!((world.requests(), world.has_rescue()), (1, false), "{what}");

        // A user can retry everything but a permanent refusal.
        let again = refresh(world);
        assert_eq!(again.code, Some(if remember == Permanent { 3 } else { 0 }), "{what}{again}");
        assert_eq!(world.requests(), if remember == Permanent { 1 } else { 2 }, "{what}");
    });
}

/// None of these responses took effect, so the retry succeeds.
#[test]
fn an_invalid_success_response_is_retried_once() {
    let bodies =
        ["", "null", "[]", "<html>CANARY-51e0</html>", "{\"access_token\":\"CANARY-51e0", "\"CANARY-51e0\""];
    for_each_case(&bodies, |body, world| {
        world.authority.script(Endpoint::Refresh, Step::body(200, "application/json", body));
        refresh(world).expect(0);
        assert_eq!(world.requests(), 2, "{body}");
        assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
    });
}

/// These refreshes took effect, but the new tokens were lost, so the stored refresh token is spent.
#[test]
fn an_unreadable_new_refresh_token_poisons_the_login_and_leaves_the_document_unchanged() {
    let steps = [
        Step::edited("refresh_token", Edit::Empty),
        Step::edited("refresh_token", Edit::Value(json!(5))),
        Step::edited("refresh_token", Edit::Value(json!({"token": CANARY}))),
        Step::edited("refresh_token", Edit::Gigantic(300 * 1024)),
        Step::edited("id_token", Edit::Gigantic(300 * 1024)),
        Step::flood(8 * 1024 * 1024).after_effect(),
        Step::body(200, "text/html", CANARY).after_effect(),
        Step::truncated(),
        Step::closed_after(),
    ];
    for_each_case(&steps, |step, world| {
        let before = world.machine.home.read("auth.json");
        world.authority.script(Endpoint::Refresh, step.clone());
        let ended = refresh(world).refused(3);
        assert!(ended.err.contains("did not save the new one"), "{step:?}\n{ended}");
        assert_eq!((poison_state(world), world.requests()), (Permanent, 2), "{step:?}");
        assert_eq!(world.machine.home.read("auth.json"), before, "{step:?}");
        assert!(!world.has_rescue());
    });
}

#[test]
fn a_response_without_an_access_token_is_stored_and_reported() {
    let edits = [
        Edit::Missing,
        Edit::Null,
        Edit::Empty,
        Edit::Value(json!(5)),
        Edit::Value(json!({"token": CANARY})),
        Edit::Value(json!([CANARY])),
    ];
    for_each_case(&edits, |edit, world| {
        let before = world.document();
        world.authority.script(Endpoint::Refresh, Step::edited("access_token", edit.clone()));
        let ended = refresh(world).refused(4);
        assert!(ended.err.contains("sent no access token; the new refresh token is stored"), "{ended}");
        assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token(), "{edit:?}");
        assert_eq!(world.document()["tokens"]["access_token"], before["tokens"]["access_token"]);
        refresh(world).expect(0);
        world.assert_no_token_reused_or_lost();
    });
}

#[test]
fn an_unusable_id_token_leaves_the_old_one_in_place() {
    let edits = [
        Edit::Missing,
        Edit::Null,
        Edit::Empty,
        Edit::Value(json!(CANARY)),
        Edit::Value(json!(5)),
        Edit::Value(json!({"email": CANARY})),
    ];
    for_each_case(&edits, |edit, world| {
        let before = world.stored_token("id_token");
        world.authority.script(Endpoint::Refresh, Step::edited("id_token", edit.clone()));
        refresh(world).expect(0);
        assert_eq!(world.stored_token("id_token"), before, "{edit:?}");
        world.assert_no_token_reused_or_lost();
    });
}

#[test]
fn large_tokens_within_the_limit_are_stored() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.script(Endpoint::Refresh, Step::edited("access_token", Edit::Gigantic(200 * 1024)));
    world.codex(["refresh"]).run().expect(0);
    assert_eq!(world.stored_token("access_token").len(), 200 * 1024);
    world.assert_no_token_reused_or_lost();
}

#[test]
fn tokens_of_another_user_are_refused_and_revoked() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.machine.home.read("auth.json");
    let stranger = Account { user_id: "user-9".to_owned(), ..Account::numbered(1) };
    world.authority.script(Endpoint::Refresh, Step::edited("id_token", Edit::IssuedTo(stranger)));
    let ended = refresh(&world).refused(3);
    assert!(ended.err.contains("the authority issued tokens of another account"), "{ended}");
    assert_eq!(world.machine.home.read("auth.json"), before);
    assert_eq!((world.authority.counters().of(Endpoint::Revoke), world.live_refresh_token()), (1, None));
    assert!(!world.has_rescue());
}

#[test]
fn a_token_is_not_sent_to_an_unsafe_address_and_stays_valid() {
    let (other, signer) = (Authority::start().unwrap(), Signer::new());
    let unknown = signer.server(&["127.0.0.1"]);
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.machine.home.read("auth.json");
    for (url, exit, expected) in [
        (
            "http://auth.example.test/oauth/token".to_owned(),
            1,
            "would send tokens to auth.example.test unencrypted",
        ),
        ("ftp://127.0.0.1/oauth/token".to_owned(), 1, "CODEX_REFRESH_TOKEN_URL_OVERRIDE"),
        ("nonsense".to_owned(), 1, "CODEX_REFRESH_TOKEN_URL_OVERRIDE"),
        (unknown.url("https"), 4, "cannot be reached over TLS: invalid peer certificate"),
        (format!("http://{vacant}/oauth/token"), 4, "cannot be reached: Connection refused"),
        (
            world.authority.token_url(),
            4,
            "answered 307 and redirects to 127.0.0.1; tokens are not sent to other addresses",
        ),
    ] {
        world.authority.clear_script();
        world.authority.script(Endpoint::Refresh, Step::redirect(&other.token_url()));
        let run = world.codex(["refresh", "-v"]).env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", &url);
        let ended = run.run();
        assert!(ended.err.contains(expected), "{url}\n{ended}");
        assert_eq!(ended.code, Some(exit), "{url}\n{ended}");
        assert_eq!(world.machine.home.read("auth.json"), before, "{url}");
        assert!(!world.has_rescue(), "{url}");
    }
    assert_eq!((world.requests(), other.counters().all()), (1, 0));
    assert!(unknown.ended().iter().all(|heard| heard.starts_with("failed: ")));
    world.authority.clear_script();
    world.codex(["refresh"]).run().expect(0);
    world.codex(["status"]).run().expect(0);
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}
