//! The device flow: waiting, deciding, polling too fast, and redeeming the code.

use scripted_authority::{Account, Authority, CODEX_CLIENT_ID, Decision, DeviceFlow, Endpoint, Pacing, Step};
use serde_json::json;

use crate::client::{Answer, fetch, post, post_form};

const CODE: &str = "/api/accounts/deviceauth/usercode";
const POLL: &str = "/api/accounts/deviceauth/token";

fn begin(authority: &Authority) -> Answer {
    post(authority.url(), CODE, &json!({"client_id": CODEX_CLIENT_ID}))
}

fn poll(authority: &Authority, begun: &Answer) -> Answer {
    let body = json!({"device_auth_id": begun.text("device_auth_id"), "user_code": begun.text("user_code")});
    post(authority.url(), POLL, &body)
}

fn unpaced(device: DeviceFlow) -> Authority {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| {
        policy.device = device;
        policy.pacing = Pacing::Ignored;
    });
    authority
}

#[test]
fn an_approved_device_gets_a_code_for_tokens() {
    let authority = unpaced(DeviceFlow::Waits);
    authority.visit_as(Account::numbered(4));
    let begun = begin(&authority);
    assert_eq!(begun.text("interval"), "1", "a string, as OpenAI sends it");
    assert_eq!(begun.text("user_code").len(), 10);
    assert_eq!(poll(&authority, &begun).status, 403);
    assert!(authority.decide_device(&begun.text("user_code"), Decision::Approved));
    assert!(!authority.decide_device(&begun.text("user_code"), Decision::Denied), "it is decided");
    let approved = poll(&authority, &begun);
    assert_eq!(approved.status, 200);
    let redirect = format!("{}/deviceauth/callback", authority.url());
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", CODEX_CLIENT_ID),
        ("code", &approved.text("authorization_code")),
        ("redirect_uri", &redirect),
        ("code_verifier", &approved.text("code_verifier")),
    ];
    let tokens = post_form(authority.url(), "/oauth/token", &fields);
    assert_eq!(tokens.status, 200);
    let profile = fetch(authority.url(), "/resource", &tokens.text("access_token"));
    assert_eq!(profile.text("chatgpt_account_id"), "acct-4");
    assert_eq!(poll(&authority, &begun).status, 400, "a device code is good for one approval");
}

#[test]
fn the_verification_page_decides() {
    let authority = unpaced(DeviceFlow::Waits);
    let begun = begin(&authority);
    let user_code = begun.text("user_code");
    assert!(fetch(authority.url(), "/codex/device", "").body.contains("name=\"user_code\""));
    let type_in = |code: &str| {
        post_form(authority.url(), "/codex/device", &[("user_code", code), ("decision", "denied")]).status
    };
    assert_eq!(type_in("WRONG"), 400);
    assert_eq!(type_in(&user_code), 200);
    assert_eq!(poll(&authority, &begun).code(), "authorization_declined");
}

#[test]
fn the_policy_decides_without_a_user() {
    let authority = unpaced(DeviceFlow::ApprovesAfter(2));
    let begun = begin(&authority);
    let seen: Vec<_> = (0..3).map(|_| poll(&authority, &begun).status).collect();
    assert_eq!(seen, [403, 403, 200]);
    let denying = unpaced(DeviceFlow::Denies);
    assert_eq!(poll(&denying, &begin(&denying)).status, 401);
    assert_eq!(begin(&unpaced(DeviceFlow::NotEnabled)).status, 404);
}

#[test]
fn a_device_that_polls_too_fast_is_told_to_slow_down() {
    let authority = Authority::start().unwrap();
    authority.adjust(|policy| policy.device_interval = 3_600);
    let begun = begin(&authority);
    assert_eq!(poll(&authority, &begun).code(), "authorization_pending");
    let early = poll(&authority, &begun);
    assert_eq!((early.status, early.code().as_str()), (429, "slow_down"));
    authority.script(Endpoint::DevicePoll, Step::status(404, "not_yet"));
    assert_eq!(poll(&authority, &begun).status, 404, "some deployments answer so while they wait");
}
