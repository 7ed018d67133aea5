//! ChatGPT tokens that the client hands in, and renews when it is asked.

use serde_json::{Value, json};

use super::client::Client;
use crate::support::{TestHome, jwt};

const REFRESH: &str = "account/chatgptAuthTokens/refresh";

/// A token of this number, the same whenever it is made.
fn token(number: u32) -> String {
    ending_at(4_000_000_000, number)
}

/// One that has ended.
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

/// Upstream: account: set tokens updates and notifies.
#[test]
fn tokens_that_are_handed_in_are_used_and_stored_nowhere() {
    let home = TestHome::new();
    let mut client = Client::of(&home);
    hand_in(&mut client, &token(1));
    assert_eq!(client.told("account/login/completed")["success"], true);
    assert_eq!(client.told("account/updated"), json!({"authMode": "chatgptAuthTokens", "planType": "plus"}));
    assert_eq!(client.token(), Some(token(1)));
    let account = client.call("account/read", json!({"refreshToken": true}));
    assert_eq!(
        (&account["account"]["email"], &account["userId"]),
        (&"ada@example.com".into(), &"user-1".into())
    );
    assert_eq!(home.names(), Vec::<String>::new());
    // They count for this conversation alone.
    assert_eq!(Client::of(&home).token(), None);
}

#[test]
fn what_is_stored_counts_again_after_nothing_but_a_logout() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
    let mut client = Client::of(&home);
    hand_in(&mut client, &token(1));
    client.told("account/updated");
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-2"}"#);
    assert_eq!(client.token(), Some(token(1)));
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
    client.call("account/logout", Value::Null);
    assert_eq!(client.told("account/updated"), json!({"authMode": null, "planType": null}));
    assert_eq!((client.token(), home.document().exists()), (None, false));
}

/// Upstream: external refresh on 401; here the client is asked when its token has ended.
#[test]
fn a_client_whose_token_has_ended_is_asked_for_another() {
    let mut client = Client::of(&TestHome::new());
    hand_in(&mut client, &ended(1));
    assert_eq!(client.told("account/updated"), json!({"authMode": "chatgptAuthTokens", "planType": "plus"}));
    let status = client.ask("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
    let (id, asked) = client.asked(REFRESH);
    assert_eq!(asked, json!({"reason": "unauthorized", "previousAccountId": "acct-1"}));
    let new = token(2);
    client.reply(&id, &json!({"accessToken": new, "chatgptAccountId": "acct-1", "chatgptPlanType": "pro"}));
    assert_eq!(client.answer(status)["result"]["authToken"], new);
    assert_eq!(client.token(), Some(new), "and not again");
    assert_eq!(client.call("account/read", json!({}))["account"]["planType"], "pro");
}

/// Upstream: refresh error, wrong workspace, bad token.
#[test]
fn an_answer_of_no_use_gives_no_token_and_the_account_stays() {
    let answers = [
        json!({"error": {"code": -1, "message": "signed out"}}),
        json!({"result": {"accessToken": token(2), "chatgptAccountId": "acct-2"}}),
        json!({"result": {"accessToken": "no jwt", "chatgptAccountId": "acct-1"}}),
        json!({"result": {"accessToken": ended(2), "chatgptAccountId": "acct-1"}}),
        json!({"result": {}}),
        json!({"result": null, "error": {}}),
    ];
    for mut answer in answers {
        let mut client = Client::of(&TestHome::new());
        hand_in(&mut client, &ended(1));
        let status = client.ask("getAuthStatus", json!({"includeToken": true}));
        answer["id"] = client.asked(REFRESH).0;
        client.send(&answer.to_string());
        let status = client.answer(status)["result"].take();
        assert_eq!(
            status,
            json!({"authMethod": "chatgptAuthTokens", "authToken": null, "requiresOpenaiAuth": true}),
            "{answer}"
        );
    }
}

/// It is asked for ten seconds, and may hand another in meanwhile or later.
#[test]
fn a_client_that_does_not_answer_is_not_waited_for_for_ever() {
    let mut client = Client::of(&TestHome::new());
    hand_in(&mut client, &ended(1));
    let status = client.ask("getAuthStatus", json!({"includeToken": true}));
    let (id, _) = client.asked(REFRESH);
    assert_eq!(client.answer(status)["result"]["authToken"], Value::Null);
    // Too late, and nobody's.
    client.reply(&id, &json!({"accessToken": token(2), "chatgptAccountId": "acct-1"}));
    hand_in(&mut client, &token(3));
    assert_eq!(client.token(), Some(token(3)));
}

#[test]
fn tokens_are_handed_in_by_clients_that_say_they_can() {
    let home = TestHome::new();
    let mut client = Client::introduced_with(home.codex(["app-server"]).into_command(), &Value::Null);
    let params = json!({"type": "chatgptAuthTokens", "accessToken": token(1), "chatgptAccountId": "acct-1"});
    let message = client.refused("account/login/start", params, -32600);
    assert_eq!(message, "account/login/start.chatgptAuthTokens requires experimentalApi capability");
}
