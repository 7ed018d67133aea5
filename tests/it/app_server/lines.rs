//! Lines that are too long, malformed or cut off: each gets an error, and the conversation continues.

use std::process::Stdio;

use serde_json::{Value, json};

use super::client::Client;
use crate::support::TestHome;

const LONGEST: usize = 1024 * 1024;

/// A request whose line has exactly this length.
fn request_of(length: usize) -> String {
    let empty = r#"{"id":"long","method":"getAuthStatus","params":{},"more":""}"#;
    empty.replace(r#""more":"""#, &format!(r#""more":"{}""#, "x".repeat(length - empty.len())))
}

#[test]
fn a_line_of_a_mebibyte_is_read_and_a_longer_one_is_rejected() {
    let mut client = Client::in_home(&TestHome::new());
    client.send(&request_of(LONGEST));
    assert_eq!(client.response("long")["result"]["authMethod"], Value::Null);
    client.send(&request_of(LONGEST + 1));
    let refused = client.response(Value::Null);
    assert_eq!(refused["error"]["code"], -32700, "{refused}");
    client.send(&"[".repeat(40 * LONGEST));
    assert_eq!(client.response(Value::Null)["error"]["code"], -32700);
    client.call("getAuthStatus", json!({}));
}

#[test]
fn malformed_lines_get_an_error_and_the_conversation_continues() {
    let mut client = Client::in_home(&TestHome::new());
    for (line, code) in [
        (&b"garbage"[..], -32700),
        (b"{\"id\":1,", -32700),
        (b"\xff\xfe", -32700),
        (b"[{\"id\":1,\"method\":\"getAuthStatus\",\"params\":{}}]", -32600),
        (b"null", -32600),
        (b"{\"id\":{},\"method\":\"getAuthStatus\"}", -32600),
    ] {
        client.send_bytes(line);
        let refused = client.response(Value::Null);
        assert_eq!(refused["error"]["code"], code, "{}: {refused}", String::from_utf8_lossy(line));
        client.call("getAuthStatus", json!({}));
    }
    // None of these gets a response.
    for line in [
        "",
        "   ",
        r#"{"method":"no/such/method"}"#,
        r#"{"id":77,"result":{}}"#,
        r#"{"id":null,"method":"x"}"#,
    ] {
        client.send(line);
        client.call("getAuthStatus", json!({}));
    }
}

#[test]
fn responses_repeat_the_id_unchanged() {
    let mut client = Client::in_home(&TestHome::new());
    for id in [json!("text"), json!(""), json!("\u{1f511} \"quoted\""), json!(-5), json!(i64::MAX)] {
        client.send(&json!({"method": "getAuthStatus", "id": id, "params": {}}).to_string());
        client.response(id);
    }
}

#[test]
fn an_unknown_method_is_not_found() {
    let mut client = Client::in_home(&TestHome::new());
    let message = client.error("thread/start", json!({}), -32601);
    assert_eq!(
        message,
        "thread/start is not an account method, and no other codex was found on PATH to forward it to"
    );
    let message = client.error("account/login/start", json!({"type": "telepathy"}), -32600);
    assert!(
        message.ends_with("expected one of `apiKey`, `chatgpt`, `chatgptDeviceCode`, `chatgptAuthTokens`")
    );
}

#[test]
fn requests_before_the_end_of_input_get_a_response() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
    let lines = [
        r#"{"id":0,"method":"initialize","params":{"clientInfo":{"name":"a","version":"1"}}}"#,
        r#"{"id":1,"method":"account/read","params":{}}"#,
        // Without a line end.
        r#"{"id":2,"method":"getAuthStatus","params":{"includeToken":true}}"#,
    ];
    let ended = home.codex(["app-server"]).input(lines.join("\n")).run().expect(0);
    let responses: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(responses.len(), 3, "{ended}");
    assert_eq!(responses[2]["result"]["authToken"], "sk-1");
    assert_eq!(ended.err, "");
}

#[test]
fn the_server_exits_quietly_when_the_client_is_gone() {
    let home = TestHome::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = home.codex(["app-server"]).into_command();
    let mut child = command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    // Its input stays open: the server detects the closed output.
    let mut input = child.stdin.take().unwrap();
    let hello = b"{\"id\":0,\"method\":\"initialize\",\"params\":{\"clientInfo\":{\"name\":\"a\",\"version\":\"1\"}}}\n";
    std::io::Write::write_all(&mut input, hello).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
    drop(input);
}
