//! OpenAI's Codex 0.169 as the next codex: an editor gets threads from it, and the account from this program.

use serde_json::{Value, json};

use super::client::Client;
use super::next::with_path;
use crate::interop::codex::codex_0169;
use crate::support::{TestHome, children, eventually, here, in_private_network, is_alive};

/// A client of an app-server in `home` whose next codex is the real one; no request leaves the machine.
fn before_codex(home: &TestHome) -> Client {
    home.write("config.toml", "chatgpt_base_url = \"http://127.0.0.1:9/\"\n");
    let run = home.codex(["app-server"]).env("HOME", home.path());
    Client::from_run(with_path(run, [codex_0169().parent().unwrap()]))
}

/// The one child process of the server.
fn child_of(client: &Client) -> u32 {
    *children(client.pid()).first().expect("the server has a child")
}

#[test]
fn threads_are_handled_by_codex_and_the_account_by_this_server() {
    in_private_network(here!(), || {
        let home = TestHome::new();
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
        let mut client = before_codex(&home);
        // All at once, with the same range of ids on both sides.
        let thread = client.send_request("thread/start", json!({}));
        let account = client.send_request("account/read", json!({}));
        let models = client.send_request("thread/loaded/list", json!({}));
        let token = client.send_request("getAuthStatus", json!({"includeToken": true}));
        let unknown = client.send_request("no/such/method", json!({}));
        assert_eq!(client.response(account)["result"]["account"], json!({"type": "apiKey"}));
        assert_eq!(client.response(token)["result"]["authToken"], "sk-1");
        let id = client.response(thread)["result"]["thread"]["id"].take();
        assert!(id.is_string());
        assert_eq!(client.notification("thread/started")["thread"]["id"], id);
        assert!(client.response(models)["result"]["data"].is_array());
        let error = client.response(unknown)["error"]["message"].take();
        assert!(error.as_str().unwrap().contains("no/such/method"), "{error}");
        let read = client.call("thread/read", json!({"threadId": id, "includeTurns": false}));
        assert_eq!(read["thread"]["id"], id);
        assert_eq!(client.end(), Some(0));
    });
}

#[test]
fn neither_side_hangs_when_the_other_dies() {
    in_private_network(here!(), || {
        let home = TestHome::new();
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
        let mut client = before_codex(&home);
        client.call("thread/loaded/list", json!({}));
        let first = child_of(&client);
        let killed = std::process::Command::new("kill").args(["-KILL", &first.to_string()]).status().unwrap();
        assert!(killed.success());
        eventually("it to exit", || !is_alive(first));
        assert_eq!(client.token().as_deref(), Some("sk-1"));
        // A request at the time of the exit may fail; a later one must not.
        let mut answered = Value::Null;
        eventually("another to start", || {
            answered = client.outcome("thread/loaded/list", json!({}));
            answered.get("result").is_some()
        });
        let second = child_of(&client);
        assert_ne!(second, first);
        drop(client);
        eventually("it to end with us", || !is_alive(second));
    });
}

#[test]
fn a_login_by_the_client_reaches_codex() {
    in_private_network(here!(), || {
        let home = TestHome::new();
        let mut client = before_codex(&home);
        client.call("thread/loaded/list", json!({}));
        let first = child_of(&client);
        client.call("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"}));
        client.notification("account/updated");
        client.call("thread/start", json!({}));
        assert_ne!(child_of(&client), first, "it was restarted, because it does not watch the login");
        // Its own notifications of the account are not forwarded.
        assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
    });
}
