//! The same requests to this app-server and to Codex 0.169's, whose responses must be equal.

use std::ffi::OsString;
use std::process::Command;

use scripted_authority::{Account, Authority, Endpoint, Step};
use serde_json::{Value, json};

use super::client::Client;
use crate::interop::codex::codex_0169;
use crate::support::{Run, TestHome, chatgpt, here, in_private_network, jwt, now};

/// Requests in a home, and the fields in which the two may differ.
struct Conversation {
    config: &'static str,
    document: Option<String>,
    requests: Vec<(&'static str, Value)>,
}

/// An address that refuses connections, so that no request leaves this machine.
const NOWHERE: &str = "http://127.0.0.1:9/";

fn both(conversation: &Conversation) -> [Vec<Value>; 2] {
    let home = || {
        let home = TestHome::new();
        home.write("config.toml", format!("chatgpt_base_url = \"{NOWHERE}\"\n{}", conversation.config));
        conversation.document.iter().for_each(|document| drop(home.write("auth.json", document)));
        home
    };
    let (ours, theirs) = (home(), home());
    let talk = |command: Command| {
        let mut client = Client::initialized(command);
        let result = |(method, params): &(&str, Value)| client.outcome(method, params.clone());
        conversation.requests.iter().map(result).collect::<Vec<_>>()
    };
    let variables = |home: &TestHome| -> Vec<(String, OsString)> {
        let nowhere = [
            "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
            "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
            "CODEX_APP_SERVER_LOGIN_ISSUER",
        ];
        let nowhere = nowhere.map(|name| (name.to_owned(), NOWHERE.into()));
        home.variables().into_iter().chain(nowhere).chain([("HOME".to_owned(), home.path().into())]).collect()
    };
    let theirs_answers = talk(Run::of(&codex_0169(), ["app-server"]).envs(variables(&theirs)).into_command());
    let ours_answers = talk(ours.codex(["app-server"]).envs(variables(&ours)).into_command());
    [ours_answers, theirs_answers]
}

#[track_caller]
fn the_same(conversation: &Conversation) {
    let [ours, theirs] = both(conversation);
    for (request, (ours, theirs)) in conversation.requests.iter().zip(ours.iter().zip(&theirs)) {
        assert_eq!(ours, theirs, "{request:?}");
    }
}

fn statuses() -> Vec<(&'static str, Value)> {
    vec![
        ("account/read", json!({})),
        ("account/read", json!({"refreshToken": true})),
        ("account/read", Value::Null),
        ("getAuthStatus", json!({})),
        ("getAuthStatus", json!({"includeToken": true})),
        ("getAuthStatus", json!({"includeToken": true, "refreshToken": true})),
        ("getAuthStatus", json!({"includeToken": null})),
        ("getAuthStatus", Value::Null),
    ]
}

/// Upstream: getAuthStatus no auth, API key, no include token, refresh requested; account: logout, API-key login;
/// account/read none, API key.
#[test]
fn an_api_key_login_and_logout_match_codex() {
    in_private_network(here!(), || {
        let key = json!({"type": "apiKey", "apiKey": "sk-conversation"});
        let mut requests = statuses();
        requests.push(("account/login/start", key.clone()));
        requests.extend(statuses());
        requests.push(("account/login/start", key));
        requests.push(("account/logout", Value::Null));
        requests.extend(statuses());
        requests.push(("account/logout", json!({})));
        requests.push(("account/login/start", json!({"type": "apiKey"})));
        requests.push(("account/login/cancel", json!({"loginId": "nope"})));
        requests.push(("account/login/cancel", json!({"loginId": "123e4567-e89b-12d3-a456-426614174000"})));
        requests.push(("account/login/cancel", Value::Null));
        requests.push(("initialize", json!({"clientInfo": {"name": "again", "version": "1"}})));
        the_same(&Conversation { config: "", document: None, requests });
    });
}

/// Upstream: API key when auth not required; account/read auth not required, AWS provider, managed Bedrock.
#[test]
fn a_model_provider_without_openai_auth_has_no_account_as_in_codex() {
    in_private_network(here!(), || {
        let own =
            "model_provider = \"x\"\n[model_providers.x]\nname = \"X\"\nbase_url = \"http://127.0.0.1:9/\"\n";
        let key = Some(r#"{"OPENAI_API_KEY":"sk-1"}"#.to_owned());
        let bedrock = Some(
            r#"{"auth_mode":"bedrockApiKey","bedrock_api_key":{"api_key":"k","region":"r"}}"#.to_owned(),
        );
        for (config, document) in [
            (own, None),
            (own, key),
            ("model_provider = \"amazon-bedrock\"\n", None),
            ("model_provider = \"amazon-bedrock\"\n", bedrock.clone()),
            ("", bedrock),
        ] {
            the_same(&Conversation { config, document, requests: statuses() });
        }
    });
}

/// Upstream: API-key login refused when ChatGPT forced; forced method conflicts (2); workspace mismatch of external
/// tokens.
#[test]
fn a_login_that_config_toml_forbids_fails_with_the_message_of_codex() {
    in_private_network(here!(), || {
        let tokens = |account: &str| {
            let token = jwt(&json!({"exp": now() + 600}));
            json!({"type": "chatgptAuthTokens", "accessToken": token, "chatgptAccountId": account})
        };
        let start = "account/login/start";
        for (config, requests) in [
            (
                "forced_login_method = \"chatgpt\"\n",
                vec![(start, json!({"type": "apiKey", "apiKey": "sk-1"}))],
            ),
            (
                "forced_login_method = \"api\"\n",
                vec![
                    (start, json!({"type": "chatgpt"})),
                    (start, json!({"type": "chatgptDeviceCode"})),
                    (start, tokens("acct-1")),
                ],
            ),
            ("forced_chatgpt_workspace_id = \"ws\"\n", vec![(start, tokens("acct-1"))]),
            (
                "",
                vec![(
                    start,
                    json!({"type": "chatgptAuthTokens", "accessToken": "no jwt", "chatgptAccountId": "acct-1"}),
                )],
            ),
        ] {
            the_same(&Conversation { config, document: None, requests });
        }
    });
}

/// Upstream: account: set tokens, external tokens forbid other logins, read-refresh is a no-op in external mode.
#[test]
fn handed_in_tokens_are_used_as_in_codex() {
    in_private_network(here!(), || {
        let token =
            jwt(&json!({"exp": now() + 600, "https://api.openai.com/auth": {"chatgpt_plan_type": "plus"}}));
        let start = "account/login/start";
        let hand_in =
            json!({"type": "chatgptAuthTokens", "accessToken": token, "chatgptAccountId": "acct-1"});
        let requests = vec![
            (start, hand_in),
            ("getAuthStatus", json!({"includeToken": true})),
            ("getAuthStatus", json!({"includeToken": true, "refreshToken": true})),
            (start, json!({"type": "apiKey", "apiKey": "sk-1"})),
            (start, json!({"type": "chatgpt"})),
            (start, json!({"type": "chatgptDeviceCode"})),
            ("account/logout", Value::Null),
            ("getAuthStatus", json!({"includeToken": true})),
        ];
        the_same(&Conversation { config: "", document: None, requests });
    });
}

/// Upstream: getAuthStatus with ChatGPT. `answers` compares `account/read`, which needs the network.
#[test]
fn the_status_of_a_chatgpt_login_is_reported_without_the_network() {
    in_private_network(here!(), || {
        let document = chatgpt("acct-1", "rt-1", now() - 60, now() + 3_600);
        let requests = vec![
            ("getAuthStatus", json!({})),
            ("getAuthStatus", json!({"includeToken": true})),
            ("getAuthStatus", json!({"includeToken": true, "refreshToken": false})),
        ];
        the_same(&Conversation { config: "", document: Some(document), requests });
    });
}

/// Upstream: account/read missing plan → unknown; getAuthStatus: PAT omits token.
#[test]
fn a_missing_plan_is_reported_as_unknown() {
    let authority = Authority::start().unwrap();
    authority
        .script(Endpoint::Whoami, Step::body(200, "application/json", r#"{"chatgpt_user_id":"user-1"}"#));
    let home = TestHome::new();
    home.write("auth.json", r#"{"personal_access_token":"at-1"}"#);
    let mut client =
        Client::from_run(home.codex(["app-server"]).env("CODEX_AUTHAPI_BASE_URL", authority.url()));
    let status = client.call("getAuthStatus", json!({"includeToken": true}));
    assert_eq!(
        status,
        json!({"authMethod": "personalAccessToken", "authToken": null, "requiresOpenaiAuth": true})
    );
    let account = client.call("account/read", json!({}))["account"].take();
    assert_eq!(
        account,
        json!({"type": "chatgpt", "email": null, "planType": "unknown", "workspaceName": null})
    );
    assert_eq!(authority.counters().of(Endpoint::Whoami), 1, "it is asked once");
}

#[test]
fn initialize_returns_the_version_and_the_home() {
    let home = TestHome::new();
    let mut client = Client::start(home.codex(["app-server"]).into_command());
    assert_eq!(client.error("account/read", json!({}), -32600), "Not initialized");
    let result = client.initialize(&Value::Null);
    assert_eq!(result["codexHome"].as_str(), home.path().to_str());
    assert!(result["userAgent"].as_str().unwrap().starts_with("editor/0.171.0 ("), "{result}");
    assert_eq!((&result["platformFamily"], result["platformOs"].is_string()), (&"unix".into(), true));
    assert_eq!(client.end(), Some(0));
}

#[test]
fn a_credential_in_the_environment_takes_precedence_over_the_stored_login() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-stored"}"#);
    let run = || home.codex(["app-server"]);
    let mut client = Client::from_run(run().env("CODEX_API_KEY", "sk-env"));
    assert_eq!(client.token().as_deref(), Some("sk-stored"), "an API key in the environment is ignored");
    let authority = Authority::start().unwrap();
    let token = authority.personal_access_token(Account::numbered(1));
    let nowhere = format!("chatgpt_base_url = \"{NOWHERE}\"");
    let run = run().env("CODEX_ACCESS_TOKEN", token).env("CODEX_AUTHAPI_BASE_URL", authority.url());
    let mut client = Client::from_run(run.env("CODEX_AUTH_CONFIG", nowhere));
    let status = client.call("getAuthStatus", json!({"includeToken": true}));
    assert_eq!((&status["authMethod"], &status["authToken"]), (&"personalAccessToken".into(), &Value::Null));
}
