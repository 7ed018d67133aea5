//! Methods that do not concern the account are forwarded to the next app-server, with translated ids.

use scripted_authority::Account;
use serde_json::{Value, json};

use super::client::Client;
use super::next::{install, log, messages, scripted, with_path};
use crate::manager::world::World;
use crate::support::{Machine, TestHome, eventually, is_alive, jwt, program};

/// A client of an app-server in `home` whose next codex is the scripted one.
fn before_script(home: &TestHome) -> Client {
    let next = scripted(home);
    Client::from_run(with_path(home.codex(["app-server"]), [&*next]))
}

#[test]
fn the_first_forwarded_method_starts_it_and_repeats_the_handshake() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    client.call("account/read", json!({}));
    client.call("getAuthStatus", json!({}));
    assert_eq!(log(&home), Vec::<String>::new(), "not started before it is needed");
    assert_eq!(client.call("test/echo", json!({"a": [1]}))["params"], json!({"a": [1]}));
    let received = messages(&home);
    let info = json!({"name": "editor", "title": "An Editor", "version": "1.2.3"});
    assert_eq!(received[0]["method"], "initialize");
    assert_eq!(received[0]["params"], json!({"clientInfo": info, "capabilities": {"experimentalApi": true}}));
    assert_eq!(
        (&received[1]["method"], &received[2]["method"]),
        (&"initialized".into(), &"test/echo".into())
    );
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home).iter().filter(|line| line.starts_with("started")).count(), 1);
    assert_eq!(client.end(), Some(0));
    assert_eq!(log(&home).last().map(String::as_str), Some("ended"), "it exits with this server");
}

#[test]
fn forwarded_lines_change_only_in_their_id() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let line = r#"{ "method":"test/echo" ,"trace":null, "id":"x","params":{"n":12345678901234567890123,"f":1.0e2,"id":"x","s":"\u00e4"} }"#;
    client.send(line);
    client.response("x");
    let passed = log(&home).pop().unwrap();
    let number = messages(&home).pop().unwrap()["id"].as_u64().unwrap();
    assert_eq!(passed, line.replacen(r#""id":"x""#, &format!(r#""id":{number}"#), 1));
    client.send(r#"{"method":"test/notify","params":{"f":1.0e2}}"#);
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home)[log(&home).len() - 2], r#"{"method":"test/notify","params":{"f":1.0e2}}"#);
}

#[test]
fn ids_of_client_and_next_server_do_not_collide() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    // Its requests have the ids 1, 2 and 3, as the client's first requests do; the responses come in another order.
    let asking: Vec<_> = (0..3).map(|n| client.send_request("test/ask", json!({"n": n}))).collect();
    let account = client.send_request("account/read", json!({}));
    let kept: Vec<_> = (0..3).map(|_| client.send_request("test/keep", Value::Null)).collect();
    let mut questions: Vec<_> = (0..3).map(|_| client.server_request("item/tool/call")).collect();
    assert!(client.response(account)["result"]["requiresOpenaiAuth"].is_boolean());
    questions.reverse();
    for (id, params) in &questions {
        client.reply(id, &json!({"answer": params["n"]}));
    }
    for (n, id) in asking.into_iter().enumerate() {
        let result = client.response(id)["result"].take();
        assert_eq!(result, json!({"answer": {"answer": n}, "as": n + 1}));
    }
    for _ in 0..3 {
        let settled = client.notification("serverRequest/resolved");
        assert!(questions.iter().any(|(id, _)| *id == settled["requestId"]), "{settled}");
    }
    client.call("test/flush", Value::Null);
    for id in kept {
        client.response(id);
    }
}

#[test]
fn requests_of_this_server_and_of_the_next_are_distinguished() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let token = |exp: i64| jwt(&json!({"exp": exp}));
    let params = json!({"type": "chatgptAuthTokens", "accessToken": token(1), "chatgptAccountId": "acct-1"});
    client.call("account/login/start", params);
    let theirs = client.send_request("test/ask", json!({}));
    let ours = client.send_request("getAuthStatus", json!({"includeToken": true}));
    let (their_id, _) = client.server_request("item/tool/call");
    let (our_id, _) = client.server_request("account/chatgptAuthTokens/refresh");
    assert_ne!(their_id, our_id);
    client.reply(&our_id, &json!({"accessToken": token(4_000_000_000), "chatgptAccountId": "acct-1"}));
    client.reply(&their_id, &json!("theirs"));
    assert_eq!(client.response(ours)["result"]["authToken"], token(4_000_000_000));
    assert_eq!(client.response(theirs)["result"]["answer"], "theirs");
}

#[test]
fn its_notifications_are_forwarded_except_those_of_the_account() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    client.call("test/notify", Value::Null);
    assert_eq!(client.notification("thread/started"), json!({"by": "next"}));
    assert_eq!(client.notifications_so_far("account/updated"), Vec::<Value>::new());
    assert_eq!(client.notifications_so_far("account/login/completed"), Vec::<Value>::new());
}

#[test]
fn its_exit_fails_pending_requests_and_the_next_request_restarts_it() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let kept = client.send_request("test/keep", Value::Null);
    client.error("test/die", Value::Null, -32603);
    assert_eq!(client.response(kept)["error"]["code"], -32603);
    client.call("account/read", json!({}));
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home).iter().filter(|line| line.starts_with("started")).count(), 2);
}

#[test]
fn it_exits_when_the_client_is_killed() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let pid = client.call("test/login", Value::Null)["pid"].as_u64().unwrap().try_into().unwrap();
    client.send_request("test/keep", Value::Null);
    // The server is killed at the same time as its client.
    drop(client);
    eventually("the next server to end", || !is_alive(pid));
    assert_eq!(log(&home).last().map(String::as_str), Some("ended"));
}

#[test]
fn a_new_login_restarts_it_and_a_refresh_does_not() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let next = scripted(&world.machine.home);
    let mut client = Client::from_run(with_path(world.codex(["app-server"]), [&*next]));
    let first = client.call("test/login", Value::Null);
    assert_eq!(client.new_token(), world.stored_token("access_token"));
    assert_eq!(
        client.call("test/login", Value::Null)["pid"],
        first["pid"],
        "it finds such a token by itself"
    );
    // One with a pending request is not restarted.
    let kept = client.send_request("test/keep", Value::Null);
    let is_kept = |message: &Value| message["method"] == "test/keep";
    eventually("the request to be forwarded", || messages(&world.machine.home).iter().any(is_kept));
    let other = world.authority.grant(Account::numbered(2));
    world.machine.store_text(other.auth_json());
    client.notification("account/updated");
    assert_eq!(client.call("test/login", Value::Null)["pid"], first["pid"]);
    client.call("test/flush", Value::Null);
    client.response(kept);
    let second = client.call("test/login", Value::Null);
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(second["login"], other.auth_json());
    client.call("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"}));
    let third = client.call("test/login", Value::Null);
    assert!(third["login"].as_str().unwrap().contains("sk-1"), "{third}");
    client.call("account/login/start", json!({"type": "apiKey", "apiKey": "sk-2"}));
    let fourth = client.call("test/login", Value::Null);
    assert!(fourth["login"].as_str().unwrap().contains("sk-2"), "{fourth}");
    client.call("account/logout", Value::Null);
    assert_eq!(client.call("test/login", Value::Null)["login"], Value::Null);
}

#[test]
fn handed_in_tokens_are_forwarded() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let token = jwt(&json!({"exp": 4_000_000_000_i64}));
    let params = json!({"type": "chatgptAuthTokens", "accessToken": token, "chatgptAccountId": "acct-1"});
    let handed_on = |number: usize| {
        let received = messages(&home);
        let logins = received.iter().filter(|message| message["method"] == "account/login/start");
        let logins: Vec<_> = logins.map(|message| message["params"].clone()).collect();
        assert_eq!(logins, vec![params.clone(); number]);
    };
    client.call("account/login/start", params.clone());
    handed_on(0);
    // In its handshake, and again when they change.
    let first = client.call("test/login", Value::Null);
    handed_on(1);
    client.call("account/login/start", params.clone());
    assert_eq!(client.call("test/login", Value::Null)["pid"], first["pid"]);
    handed_on(2);
}

#[test]
fn a_stale_login_is_refreshed_before_the_next_server_starts() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let next = scripted(&world.machine.home);
    let mut client = Client::from_run(with_path(world.codex(["app-server"]), [&*next]));
    let login = client.call("test/login", Value::Null)["login"].take();
    assert!(login.as_str().unwrap().contains(&world.stored_token("access_token")), "{login}");
    assert_eq!(world.requests(), 1);
}

#[test]
fn it_is_started_with_the_arguments_of_this_server() {
    let home = TestHome::new();
    let next = scripted(&home);
    let words = ["-c", "forced_login_method=\"api\"", "app-server", "-c", "model=\"m\"", "--stdio"];
    let mut client = Client::from_run(with_path(home.codex(words), [&*next]));
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home)[0], "started app-server -c forced_login_method = \"api\" -c model=\"m\" --stdio");
    client.error("account/login/start", json!({"type": "chatgpt"}), -32600);
}

/// The files that it creates belong to the user, who may want to share them.
#[test]
fn it_runs_with_the_umask_of_the_user() {
    let home = TestHome::new();
    let next = home.beside("next");
    let script = home.write("next.sh", "#!/bin/sh\numask > \"$CODEX_HOME/umask\"\n");
    install(&script, &next.join("codex"));
    let run = home.codex(["app-server"]).through(["sh", "-c", "umask 027; exec \"$0\" \"$@\""]);
    let mut client = Client::from_run(with_path(run, [&*next]));
    client.outcome("test/echo", Value::Null);
    assert_eq!(home.read("umask"), "0027\n");
}

#[test]
fn other_app_server_subcommands_go_to_the_next_codex() {
    let home = TestHome::new();
    let next = scripted(&home);
    for words in
        [&["app-server", "generate-ts", "--out", "x"][..], &["app-server", "--listen", "ws://127.0.0.1:1"]]
    {
        with_path(home.codex(words.iter().copied()), [&*next]).run().expect(0);
        assert!(log(&home).contains(&format!("started {}", words.join(" "))), "{words:?}");
    }
}

#[test]
fn two_copies_of_this_program_start_the_real_one_and_codex_auth_starts_none() {
    let home = TestHome::new();
    let next = scripted(&home);
    let copies = ["one", "two"].map(|name| {
        let folder = home.beside(name);
        install(&program(), &folder.join("codex"));
        folder
    });
    let start = |first: &std::path::Path| {
        let run = crate::support::Run::of(first, ["app-server"]).envs(home.variables());
        Client::from_run(with_path(run, [&*copies[0], &*copies[1], &*next]))
    };
    for copy in &copies {
        start(&copy.join("codex")).call("test/echo", Value::Null);
    }
    assert_eq!(log(&home).iter().filter(|line| line.starts_with("started")).count(), 2);
    let own_name = home.beside("own-name").join("codex-auth");
    install(&program(), &own_name);
    start(&own_name).error("test/echo", Value::Null, -32601);
}

#[test]
fn long_lines_are_forwarded_in_both_directions() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    client.call("test/echo", Value::Null);
    let picture = "x".repeat(5 * 1024 * 1024);
    assert_eq!(client.call("test/echo", json!({"picture": picture}))["params"]["picture"], picture);
}
