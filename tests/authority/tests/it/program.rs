//! The program: its output, its control endpoint, its options, and its end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client::{Answer, post, refresh, send};

/// The running program; killed on drop.
struct Program {
    child: Child,
    url: String,
    ready: Value,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_scripted-authority"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: ready["url"].as_str().unwrap().to_owned(), ready }
    }

    fn call(&self, name: &str, arguments: &Value) -> Answer {
        post(&self.url, &format!("/control/{name}"), arguments)
    }

    fn grant(&self) -> (u64, String) {
        let grant = self.call("grant", &json!({"account": {"account_id": "acct-7"}})).json();
        let token = grant["tokens"]["refresh_token"].as_str().unwrap();
        (grant["id"].as_u64().unwrap(), token.to_owned())
    }

    fn ended(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_prints_its_addresses_and_ends_with_its_stdin() {
    let mut program = Program::start(&[]);
    for (name, path) in
        [("token_url", "/oauth/token"), ("revoke_url", "/oauth/revoke"), ("control_url", "/control")]
    {
        assert_eq!(program.ready[name], format!("{}{path}", program.url));
    }
    drop(program.child.stdin.take());
    assert!(program.ended());
}

#[test]
fn it_ends_on_sigterm() {
    let program = Program::start(&["--keep-running"]);
    let pid = Pid::from_child(&program.child);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(program.ended());
}

#[test]
fn its_control_grants_and_writes_auth_json() {
    let program = Program::start(&[]);
    let (id, token) = program.grant();
    let text = program.call("auth-json", &json!({"grant": id})).body;
    assert!(
        text.starts_with("{\n  \"auth_mode\": \"chatgpt\",\n  \"OPENAI_API_KEY\": null,\n")
            && text.ends_with('}')
    );
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["tokens"]["refresh_token"], token);
    assert_eq!(file["tokens"]["account_id"], "acct-7");

    let next = refresh(&program.url, &token).text("refresh_token");
    assert_eq!(program.call("latest", &json!({"grant": id})).json()["tokens"]["refresh_token"], next);
    assert_eq!(program.call("live-refresh-token", &json!({"grant": id})).json()["refresh_token"], next);
    assert_eq!(program.call("state-of", &json!({"token": token})).json()["state"], "spent");
    let dated = json!({"grant": id, "last_refresh": "2020-01-01T00:00:00Z"});
    assert!(program.call("auth-json", &dated).body.contains("\"2020-01-01T00:00:00.000000000Z\""));
    program.call("end", &json!({"grant": id, "ending": "refresh_expired"}));
    assert_eq!(refresh(&program.url, &next).code(), "refresh_token_expired");
    assert_eq!(program.call("auth-json", &json!({"grant": 99})).status, 404);
}

#[test]
fn its_control_scripts_holds_and_counts() {
    let program = Program::start(&[]);
    let (_, token) = program.grant();
    let busy = json!({"kind": "status", "status": 503, "code": "busy", "headers": {"retry-after": "3"}});
    let script = json!({"endpoint": "refresh", "times": 2, "step": {"answer": busy}});
    assert_eq!(program.call("script", &script).json()["steps"].as_array().unwrap().len(), 2);
    for _ in 0..2 {
        assert_eq!(refresh(&program.url, &token).header("retry-after").as_deref(), Some("3"));
    }

    let held = json!({"endpoint": "refresh", "step": {"hold": "after"}});
    let step = program.call("script", &held).json()["steps"][0].clone();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| refresh(&program.url, &token));
        let met = program.call("wait-for-step", &json!({"step": step})).json();
        assert_eq!((&met["number"], &met["took_effect"]), (&json!(3), &json!(true)));
        program.call("wait-for-requests", &json!({"endpoint": "refresh", "count": 3}));
        program.call("release", &json!({"step": step}));
        assert_eq!(client.join().unwrap().status, 200);
    });
    assert_eq!(
        program.call("counters", &json!({})).json(),
        json!({"refresh": {"granted": 1, "scripted": 2}})
    );
    let journal = program.call("journal", &json!({"after": 2})).json();
    assert_eq!((journal.as_array().unwrap().len(), &journal[0]["outcome"]), (1, &json!("granted")));

    program.call("script-always", &json!({"endpoint": "refresh", "step": {"answer": busy}}));
    assert_eq!(refresh(&program.url, &token).status, 503);
    program.call("clear-script", &json!({}));
    assert_eq!(refresh(&program.url, &token).code(), "refresh_token_reused");
    assert_eq!(program.call("release-all", &json!({})).json()["released"], 0);
    let vain = program.call("wait-for-requests", &json!({"endpoint": "revoke", "count": 1, "within_ms": 1}));
    assert_eq!(vain.status, 408);
}

#[test]
fn its_control_changes_rules_and_visitors_and_knows_every_secret() {
    let program = Program::start(&[]);
    let changed = program.call("policy", &json!({"reuse": "revokes_family", "access_lifetime": 30})).json();
    assert_eq!((&changed["reuse"], &changed["access_lifetime"]), (&json!("revokes_family"), &json!(30)));
    assert_eq!(program.call("policy", &json!({"no_such_rule": 1})).status, 400);
    assert_eq!(program.call("policy", &json!({"expiry": "no_such_expiry"})).status, 400);
    assert_eq!(program.call("policy", &json!({})).json(), changed, "a refused change changes nothing");

    assert_eq!(program.call("visit-as", &json!({"account_id": "acct-8"})).status, 200);
    assert_eq!(program.call("decide-device", &json!({"user_code": "x", "decision": "approved"})).status, 200);
    let personal = program.call("personal-access-token", &json!({})).text("token");
    let agent = program.call("agent-identity", &json!({"signing": "forged"})).text("token");
    let (_, refresh_token) = program.grant();
    let secrets = program.call("issued-secrets", &json!({})).json();
    let secrets: Vec<_> = secrets.as_array().unwrap().iter().map(|secret| secret.as_str().unwrap()).collect();
    assert!([&personal, &agent, &refresh_token].iter().all(|secret| secrets.contains(&secret.as_str())));

    assert_eq!(program.call("no-such-call", &json!({})).status, 404);
    assert_eq!(program.call("script", &json!({"endpoint": "nowhere"})).status, 400);
    assert_eq!(send(&program.url, "GET", "/control/counters", &[], "").unwrap().whole().status, 200);
}

#[test]
fn its_options_set_the_rules() {
    let program = Program::start(&[
        "--policy",
        r#"{"error_shape": "flat", "access_lifetime": 5}"#,
        "--family-revoke",
        "--revoke-grant",
        "--access-until-refresh",
        "--consent-page",
        "--lifetime",
        "60",
        "--clock-offset",
        "-3600",
    ]);
    let policy = program.call("policy", &json!({})).json();
    for (rule, value) in [
        ("error_shape", json!("flat")),
        ("reuse", json!("revokes_family")),
        ("revocation", json!("whole_grant")),
        ("access", json!("until_refresh")),
        ("consent", json!("page")),
        ("access_lifetime", json!(60)),
        ("clock_offset", json!(-3600)),
    ] {
        assert_eq!(policy[rule], value);
    }
}

#[test]
fn misuse_ends_with_two_and_a_taken_port_with_one() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scripted-authority"));
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    for arguments in [&["--nonsense"][..], &["--port"], &["--port", "many"], &["--policy", "{\"x\":1}"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    let program = Program::start(&[]);
    let taken = run(&["--port", program.url.rsplit(':').next().unwrap()]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(taken.stdout.is_empty());
}
