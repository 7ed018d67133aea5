//! ChatGPT tokens that the client hands in and renews on request.

use scripted_authority::{Authority, Endpoint, Step};
use serde_json::{Value, json};

use super::client::Client;
use crate::support::{TestHome, jwt};

const REFRESH: &str = "account/chatgptAuthTokens/refresh";

/// A valid token with this number; always the same text.
fn token(number: u32) -> String {
    ending_at(4_000_000_000, number)
}

/// An expired token with this number.
fn ended(number: u32) -> String {
    ending_at(1_000, number)
}

fn ending_at(exp: i64, number: u32) -> String {
    let auth = json!({"chatgpt_plan_type": "plus", "chatgpt_user_id": "user-1"});
    jwt(&json!({"exp": exp, "email": "ada@example.com", "n": number, "https://api.openai.com/auth": auth}))
}

fn hand_in(client: &mut Client, token: &str) {
    let params = json!({"type": "chatgptAuthTokens", "accessToken": token, "chatgptAccountId": "acct-1"});
    assert_eq!(client.call("account/login/start", params), json!({"type": "chatgptAuthTokens"}));
}

/// A service that knows the workspace of the tokens.
fn service() -> Authority {
    let authority = Authority::start().unwrap();
    let workspace = json!({
        "id": "acct-1", "workspace_backend_origin": "https://a.example", "account_routing_override": "us",
    });
    let text = json!({"accounts": [workspace]}).to_string();
    authority.script_always(Endpoint::Workspaces, Step::body(200, "application/json", &text));
    authority
}

/// An app-server in `home` that asks `service` for workspaces.
fn server(home: &TestHome, service: &Authority) -> Client {
    let url = format!("chatgpt_base_url = \"{}\"", service.url());
    Client::from_run(home.codex(["app-server"]).env("CODEX_AUTH_CONFIG", url))
}

/// Upstream: account: set tokens updates and notifies.
#[test]
fn handed_in_tokens_are_used_and_never_stored() {
    let (home, service) = (TestHome::new(), service());
    let mut client = server(&home, &service);
    hand_in(&mut client, &token(1));
    assert_eq!(client.notification("account/login/completed")["success"], true);
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "chatgptAuthTokens", "planType": "plus", "reason": null})
    );
    assert_eq!(client.token(), Some(token(1)));
    let account = client.call("account/read", json!({"refreshToken": true}));
    assert_eq!(
        (&account["account"]["email"], &account["userId"]),
        (&"ada@example.com".into(), &"user-1".into())
    );
    assert_eq!(home.names(), Vec::<String>::new());
    // They apply to this conversation only.
    assert_eq!(Client::in_home(&home).token(), None);
}

#[test]
fn only_a_logout_returns_to_the_stored_login() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
    let mut client = Client::in_home(&home);
    hand_in(&mut client, &token(1));
    client.notification("account/updated");
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-2"}"#);
    assert_eq!(client.token(), Some(token(1)));
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
    client.call("account/logout", Value::Null);
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": null, "planType": null, "reason": null})
    );
    assert_eq!((client.token(), home.document().exists()), (None, false));
}

/// Upstream: external refresh on 401; here the client is asked when its token has expired.
#[test]
fn a_client_whose_token_has_ended_is_asked_for_another() {
    let (home, service) = (TestHome::new(), service());
    let mut client = server(&home, &service);
    hand_in(&mut client, &ended(1));
    assert_eq!(
        client.notification("account/updated"),
        json!({"authMode": "chatgptAuthTokens", "planType": "plus", "reason": null})
    );
    let status = client.send_request("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
    let (id, params) = client.server_request(REFRESH);
    assert_eq!(params, json!({"reason": "unauthorized", "previousAccountId": "acct-1"}));
    let new = token(2);
    client.reply(&id, &json!({"accessToken": new, "chatgptAccountId": "acct-1", "chatgptPlanType": "pro"}));
    assert_eq!(client.response(status)["result"]["authToken"], new);
    assert_eq!(client.token(), Some(new), "it is not asked again");
    assert_eq!(client.call("account/read", json!({}))["account"]["planType"], "pro");
}

/// Upstream: refresh error, wrong workspace, bad token.
#[test]
fn an_invalid_renewal_yields_no_token_and_keeps_the_account() {
    let responses = [
        json!({"error": {"code": -1, "message": "signed out"}}),
        json!({"result": {"accessToken": token(2), "chatgptAccountId": "acct-2"}}),
        json!({"result": {"accessToken": "no jwt", "chatgptAccountId": "acct-1"}}),
        json!({"result": {"accessToken": ended(2), "chatgptAccountId": "acct-1"}}),
        json!({"result": {}}),
        json!({"result": null, "error": {}}),
    ];
    for mut response in responses {
        let mut client = Client::in_home(&TestHome::new());
        hand_in(&mut client, &ended(1));
        let status = client.send_request("getAuthStatus", json!({"includeToken": true}));
        response["id"] = client.server_request(REFRESH).0;
        client.send(&response.to_string());
        let status = client.response(status)["result"].take();
        assert_eq!(
            status,
            json!({"authMethod": "chatgptAuthTokens", "authToken": null, "requiresOpenaiAuth": true}),
            "{response}"
        );
    }
}

/// The request times out after ten seconds; the client can hand in other tokens meanwhile or later.
#[test]
fn a_client_that_does_not_renew_in_time_gets_no_token() {
    let mut client = Client::in_home(&TestHome::new());
    hand_in(&mut client, &ended(1));
    let status = client.send_request("getAuthStatus", json!({"includeToken": true}));
    let (id, _) = client.server_request(REFRESH);
    assert_eq!(client.response(status)["result"]["authToken"], Value::Null);
    // Too late: it is ignored.
    client.reply(&id, &json!({"accessToken": token(2), "chatgptAccountId": "acct-1"}));
    hand_in(&mut client, &token(3));
    assert_eq!(client.token(), Some(token(3)));
}

#[test]
fn handing_in_tokens_requires_the_experimental_capability() {
    let home = TestHome::new();
    let mut client = Client::initialized_with(home.codex(["app-server"]).into_command(), &Value::Null);
    let params = json!({"type": "chatgptAuthTokens", "accessToken": token(1), "chatgptAccountId": "acct-1"});
    let message = client.error("account/login/start", params, -32600);
    assert_eq!(message, "account/login/start.chatgptAuthTokens requires experimentalApi capability");
}
