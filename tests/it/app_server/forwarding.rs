//! What does not concern the account goes to the next app-server and back, with ids that are never mixed.

use scripted_authority::Account;
use serde_json::{Value, json};

use super::client::Client;
use super::next::{install, log, messages, scripted, with_path};
use crate::manager::world::World;
use crate::support::{Machine, TestHome, eventually, is_alive, jwt, program};

/// One of ours in `home`, with the scripted one behind it.
fn before_script(home: &TestHome) -> Client {
    let next = scripted(home);
    Client::by(with_path(home.codex(["app-server"]), [&*next]))
}

#[test]
fn the_first_strange_method_starts_it_and_greets_it_as_the_client_did() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    client.call("account/read", json!({}));
    client.call("getAuthStatus", json!({}));
    assert_eq!(log(&home), Vec::<String>::new(), "nobody needs it yet");
    assert_eq!(client.call("test/echo", json!({"a": [1]}))["params"], json!({"a": [1]}));
    let told = messages(&home);
    let info = json!({"name": "editor", "title": "An Editor", "version": "1.2.3"});
    assert_eq!(told[0]["method"], "initialize");
    assert_eq!(told[0]["params"], json!({"clientInfo": info, "capabilities": {"experimentalApi": true}}));
    assert_eq!((&told[1]["method"], &told[2]["method"]), (&"initialized".into(), &"test/echo".into()));
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home).iter().filter(|line| line.starts_with("started")).count(), 1);
    assert_eq!(client.end(), Some(0));
    assert_eq!(log(&home).last().map(String::as_str), Some("ended"), "it ends with us, by itself");
}

#[test]
fn everything_but_the_id_is_passed_on_as_it_is() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let line = r#"{ "method":"test/echo" ,"trace":null, "id":"x","params":{"n":12345678901234567890123,"f":1.0e2,"id":"x","s":"\u00e4"} }"#;
    client.send(line);
    client.answer("x");
    let passed = log(&home).pop().unwrap();
    let number = messages(&home).pop().unwrap()["id"].as_u64().unwrap();
    assert_eq!(passed, line.replacen(r#""id":"x""#, &format!(r#""id":{number}"#), 1));
    client.send(r#"{"method":"test/told","params":{"f":1.0e2}}"#);
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home)[log(&home).len() - 2], r#"{"method":"test/told","params":{"f":1.0e2}}"#);
}

#[test]
fn ids_of_both_sides_are_never_mixed() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    // Its questions are 1, 2 and 3, and so are our first requests; the answers come in another order.
    let asking: Vec<_> = (0..3).map(|n| client.ask("test/ask", json!({"n": n}))).collect();
    let account = client.ask("account/read", json!({}));
    let kept: Vec<_> = (0..3).map(|_| client.ask("test/keep", Value::Null)).collect();
    let mut questions: Vec<_> = (0..3).map(|_| client.asked("item/tool/call")).collect();
    assert!(client.answer(account)["result"]["requiresOpenaiAuth"].is_boolean());
    questions.reverse();
    for (id, params) in &questions {
        client.reply(id, &json!({"answer": params["n"]}));
    }
    for (n, id) in asking.into_iter().enumerate() {
        let result = client.answer(id)["result"].take();
        assert_eq!(result, json!({"answer": {"answer": n}, "as": n + 1}));
    }
    for _ in 0..3 {
        let settled = client.told("serverRequest/resolved");
        assert!(questions.iter().any(|(id, _)| *id == settled["requestId"]), "{settled}");
    }
    client.call("test/flush", Value::Null);
    for id in kept {
        client.answer(id);
    }
}

#[test]
fn a_question_of_ours_and_one_of_its_own_are_told_apart() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let token = |exp: i64| jwt(&json!({"exp": exp}));
    let params = json!({"type": "chatgptAuthTokens", "accessToken": token(1), "chatgptAccountId": "acct-1"});
    client.call("account/login/start", params);
    let theirs = client.ask("test/ask", json!({}));
    let ours = client.ask("getAuthStatus", json!({"includeToken": true}));
    let (their_id, _) = client.asked("item/tool/call");
    let (our_id, _) = client.asked("account/chatgptAuthTokens/refresh");
    assert_ne!(their_id, our_id);
    client.reply(&our_id, &json!({"accessToken": token(4_000_000_000), "chatgptAccountId": "acct-1"}));
    client.reply(&their_id, &json!("theirs"));
    assert_eq!(client.answer(ours)["result"]["authToken"], token(4_000_000_000));
    assert_eq!(client.answer(theirs)["result"]["answer"], "theirs");
}

#[test]
fn its_notifications_are_passed_on_and_those_of_the_account_are_ours() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    client.call("test/notify", Value::Null);
    assert_eq!(client.told("thread/started"), json!({"by": "next"}));
    assert_eq!(client.told_by_now("account/updated"), Vec::<Value>::new());
    assert_eq!(client.told_by_now("account/login/completed"), Vec::<Value>::new());
}

#[test]
fn its_end_is_answered_for_and_the_next_request_starts_another() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let kept = client.ask("test/keep", Value::Null);
    client.refused("test/die", Value::Null, -32603);
    assert_eq!(client.answer(kept)["error"]["code"], -32603);
    client.call("account/read", json!({}));
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home).iter().filter(|line| line.starts_with("started")).count(), 2);
}

#[test]
fn a_client_that_is_killed_takes_it_along() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let pid = client.call("test/login", Value::Null)["pid"].as_u64().unwrap().try_into().unwrap();
    client.ask("test/keep", Value::Null);
    // Our server is killed with its client, without a word.
    drop(client);
    eventually("the next server to end", || !is_alive(pid));
    assert_eq!(log(&home).last().map(String::as_str), Some("ended"));
}

#[test]
fn somebody_elses_login_gets_a_new_one_and_a_refresh_does_not() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let next = scripted(&world.machine.home);
    let mut client = Client::by(with_path(world.codex(["app-server"]), [&*next]));
    let first = client.call("test/login", Value::Null);
    assert_eq!(client.new_token(), world.kept("access_token"));
    assert_eq!(
        client.call("test/login", Value::Null)["pid"],
        first["pid"],
        "it finds such a token by itself"
    );
    // One that is at work is left at it.
    let kept = client.ask("test/keep", Value::Null);
    let other = world.authority.grant(Account::numbered(2));
    world.machine.keep(other.auth_json());
    client.told("account/updated");
    assert_eq!(client.call("test/login", Value::Null)["pid"], first["pid"]);
    client.call("test/flush", Value::Null);
    client.answer(kept);
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
fn tokens_that_are_handed_in_are_handed_on() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    let token = jwt(&json!({"exp": 4_000_000_000_i64}));
    let params = json!({"type": "chatgptAuthTokens", "accessToken": token, "chatgptAccountId": "acct-1"});
    let handed_on = |number: usize| {
        let told = messages(&home);
        let logins = told.iter().filter(|told| told["method"] == "account/login/start");
        let logins: Vec<_> = logins.map(|told| told["params"].clone()).collect();
        assert_eq!(logins, vec![params.clone(); number]);
    };
    client.call("account/login/start", params.clone());
    handed_on(0);
    // With its greeting, and again as soon as there are others.
    let first = client.call("test/login", Value::Null);
    handed_on(1);
    client.call("account/login/start", params.clone());
    assert_eq!(client.call("test/login", Value::Null)["pid"], first["pid"]);
    handed_on(2);
}

#[test]
fn a_stale_login_is_refreshed_before_it_starts() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let next = scripted(&world.machine.home);
    let mut client = Client::by(with_path(world.codex(["app-server"]), [&*next]));
    let login = client.call("test/login", Value::Null)["login"].take();
    assert!(login.as_str().unwrap().contains(&world.kept("access_token")), "{login}");
    assert_eq!(world.requests(), 1);
}

#[test]
fn what_it_is_started_with_is_what_we_were() {
    let home = TestHome::new();
    let next = scripted(&home);
    let words = ["-c", "forced_login_method=\"api\"", "app-server", "-c", "model=\"m\"", "--stdio"];
    let mut client = Client::by(with_path(home.codex(words), [&*next]));
    client.call("test/echo", Value::Null);
    assert_eq!(log(&home)[0], "started app-server -c forced_login_method = \"api\" -c model=\"m\" --stdio");
    client.refused("account/login/start", json!({"type": "chatgpt"}), -32600);
}

/// What it makes is the user's, who may want to share it.
#[test]
fn its_files_are_as_private_as_the_user_wants_them() {
    let home = TestHome::new();
    let next = home.beside("next");
    let script = home.write("next.sh", "#!/bin/sh\numask > \"$CODEX_HOME/umask\"\n");
    install(&script, &next.join("codex"));
    let run = home.codex(["app-server"]).through(["sh", "-c", "umask 027; exec \"$0\" \"$@\""]);
    let mut client = Client::by(with_path(run, [&*next]));
    client.outcome("test/echo", Value::Null);
    assert_eq!(home.read("umask"), "0027\n");
}

#[test]
fn an_app_server_of_another_kind_is_the_next_programs_whole() {
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
fn two_copies_of_ours_lead_to_the_one_behind_them_and_our_second_name_to_none() {
    let home = TestHome::new();
    let next = scripted(&home);
    let copies = ["one", "two"].map(|name| {
        let folder = home.beside(name);
        install(&program(), &folder.join("codex"));
        folder
    });
    let start = |first: &std::path::Path| {
        let run = crate::support::Run::of(first, ["app-server"]).envs(home.variables());
        Client::by(with_path(run, [&*copies[0], &*copies[1], &*next]))
    };
    for copy in &copies {
        start(&copy.join("codex")).call("test/echo", Value::Null);
    }
    assert_eq!(log(&home).iter().filter(|line| line.starts_with("started")).count(), 2);
    let own_name = home.beside("own-name").join("codex-auth");
    install(&program(), &own_name);
    start(&own_name).refused("test/echo", Value::Null, -32601);
}

#[test]
fn lines_with_pictures_in_them_are_passed_on_both_ways() {
    let home = TestHome::new();
    let mut client = before_script(&home);
    client.call("test/echo", Value::Null);
    let picture = "x".repeat(5 * 1024 * 1024);
    assert_eq!(client.call("test/echo", json!({"picture": picture}))["params"]["picture"], picture);
}
