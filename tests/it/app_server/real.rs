//! OpenAI's own Codex 0.169 behind us: an editor keeps its threads, and has its account from us.

use serde_json::{Value, json};

use super::client::Client;
use super::next::with_path;
use crate::interop::codex::codex_0169;
use crate::support::{TestHome, alone, children, eventually, here, is_alive};

/// One of ours in `home`, with the real one behind it; nothing of this leaves the machine.
fn before_codex(home: &TestHome) -> Client {
    home.write("config.toml", "chatgpt_base_url = \"http://127.0.0.1:9/\"\n");
    let run = home.codex(["app-server"]).env("HOME", home.path());
    Client::by(with_path(run, [codex_0169().parent().unwrap()]))
}

/// The one process that our server has started.
fn child_of(client: &Client) -> u32 {
    *children(client.pid()).first().expect("it has started one")
}

#[test]
fn threads_are_its_and_the_account_is_ours() {
    alone(here!(), || {
        let home = TestHome::new();
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
        let mut client = before_codex(&home);
        // All at once, with the same kind of ids on both sides.
        let thread = client.ask("thread/start", json!({}));
        let account = client.ask("account/read", json!({}));
        let models = client.ask("thread/loaded/list", json!({}));
        let token = client.ask("getAuthStatus", json!({"includeToken": true}));
        let nobody = client.ask("no/such/method", json!({}));
        assert_eq!(client.answer(account)["result"]["account"], json!({"type": "apiKey"}));
        assert_eq!(client.answer(token)["result"]["authToken"], "sk-1");
        let id = client.answer(thread)["result"]["thread"]["id"].take();
        assert!(id.is_string());
        assert_eq!(client.told("thread/started")["thread"]["id"], id);
        assert!(client.answer(models)["result"]["data"].is_array());
        let refused = client.answer(nobody)["error"]["message"].take();
        assert!(refused.as_str().unwrap().contains("no/such/method"), "{refused}");
        let read = client.call("thread/read", json!({"threadId": id, "includeTurns": false}));
        assert_eq!(read["thread"]["id"], id);
        assert_eq!(client.end(), Some(0));
    });
}

#[test]
fn either_side_may_die_and_neither_hangs() {
    alone(here!(), || {
        let home = TestHome::new();
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
        let mut client = before_codex(&home);
        client.call("thread/loaded/list", json!({}));
        let first = child_of(&client);
        let killed = std::process::Command::new("kill").args(["-KILL", &first.to_string()]).status().unwrap();
        assert!(killed.success());
        eventually("it to be gone", || !is_alive(first));
        assert_eq!(client.token().as_deref(), Some("sk-1"));
        // What is asked at that very moment may be refused; what is asked after it is not.
        let mut answered = Value::Null;
        eventually("another to answer", || {
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
fn a_login_by_the_client_reaches_it() {
    alone(here!(), || {
        let home = TestHome::new();
        let mut client = before_codex(&home);
        client.call("thread/loaded/list", json!({}));
        let first = child_of(&client);
        client.call("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"}));
        client.told("account/updated");
        client.call("thread/start", json!({}));
        assert_ne!(child_of(&client), first, "one that was started without a login would not find it");
        // It asks for none of its own: what the client is told of the account is told once.
        assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
    });
}
