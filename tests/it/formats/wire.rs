//! The formats of the keeper's responses and of the pipe of a transaction.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::thread;

use codex_auth::keeper::{Client, ClientError, KeeperRefusal, RefreshPolicy};
use serde_json::{Value, json};

use super::{assert_form, fixture, parse};
use crate::keeper::process::Process;
use crate::keeper::socket::{get, response_to, socket};
use crate::manager::world::World;
use crate::support::Machine;

/// Returns the body of a response.
fn body(answer: &str) -> Value {
    parse(answer.split_once("\r\n\r\n").unwrap().1)
}

#[test]
fn a_keeper_answers_in_the_form_of_version_one() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let ask = |path: &str| body(&response_to(&socket(&world), &get(path)));
    let home = world.machine.home.path();
    let mut status = parse(&fixture("v1-status.json"));
    (status["place"], status["pid"]) = (json!(home), json!(keeper.pid()));
    assert_form(&ask("/v1/status"), &status);
    let mut token = parse(&fixture("v1-token.json"));
    (token["place"], token["token"]) = (json!(home), json!(world.stored_token("access_token")));
    assert_form(&ask("/v1/token"), &token);
    assert_eq!(ask("/v1/token?min_ttl=86400"), "too_short");
    assert_form(&ask("/v1/other"), &json!({"malformed": "<text>"}));
}

/// Starts a keeper of another version that sends `answer` to any request.
fn fake_keeper(answer: String) -> (tempfile::TempDir, Client) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (folder, Client::at(path))
}

fn ok(body: &str) -> String {
    format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{body}")
}

#[test]
fn a_client_reads_what_a_keeper_of_version_one_says() {
    let filled = |name: &str| {
        let text = fixture(name).replace("\"<number>\"", "7").replace("<time>", "2026-01-02T03:04:05Z");
        ok(&text.replacen('{', "{\"of_a_newer_version\": 1,", 1))
    };
    let (_folder, client) = fake_keeper(filled("v1-token.json"));
    let given = client.token(None, RefreshPolicy::CachedOnly).unwrap();
    assert_eq!((given.schema, given.token.expose()), (1, "<text>"));
    assert_eq!(given.account.unwrap().plan.as_deref(), Some("plus"));
    let (_folder, client) = fake_keeper(filled("v1-status.json"));
    let status = client.status().unwrap();
    assert_eq!((status.schema, status.pid, status.reason), (1, 7, None));
    let (_folder, client) = fake_keeper("HTTP/1.0 409 Conflict\r\n\r\n\"too_short\"".to_owned());
    let refused = client.token(None, RefreshPolicy::CachedOnly).unwrap_err();
    assert!(matches!(refused, ClientError::Refused(KeeperRefusal::TooShort)), "{refused}");
}

/// Runs a task in a helper process and returns its output, line by line.
fn run_transaction(world: &World<'_>, task: &Value) -> Vec<Value> {
    let order = json!({"pipe": 1, "job": {"task": task, "policy": "follow"}});
    let ended = world.codex(["transaction", "1"]).input(format!("{order}\n")).run().expect(0);
    ended.out.lines().map(parse).collect()
}

#[test]
fn the_pipe_of_a_transaction_is_of_version_one() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let (ready, served) = (json!({"pipe": 1}), json!({"done": "served"}));
    assert_eq!(run_transaction(&world, &json!("freshen")), [ready.clone(), served.clone()]);
    assert_eq!(world.requests(), 1);
    let base = json!({"fingerprint": null, "account_id": null, "user_id": null, "issued_at": null});
    for reason in [
        json!("forced"),
        json!("keeper"),
        json!({"min_ttl": 60}),
        json!("stale"),
        json!({"unauthorized": "0011223344556677"}),
    ] {
        let task = json!({"refresh": {"reason": reason, "base": base}});
        assert_eq!(run_transaction(&world, &task), [ready.clone(), served.clone()], "{reason}");
    }
    let task = json!({"logout": {"scope": "revoke"}});
    let said = run_transaction(&world, &task);
    assert_form(&said[1], &parse(&fixture("pipe-logged-out.json")));
    let said = run_transaction(&world, &json!({"refresh": {"reason": "forced", "base": base}}));
    assert_form(&said[1], &parse(&fixture("pipe-failed.json")));
}
