//! The documented JSON schema of a token: the command and the socket answer with what it describes.

use codex_auth::Timestamp;
use serde_json::{Value, json};

use super::{fixture, parse};
use crate::keeper::exports::{export, folder};
use crate::keeper::process::Process;
use crate::keeper::socket::{get, response_to, socket};
use crate::manager::world::World;
use crate::support::Machine;

/// What is wrong with `value` by `schema`; `at` names it.
fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "const" => value == rule,
            "type" => {
                let kind = match value {
                    Value::Null => "null",
                    Value::String(_) => "string",
                    Value::Object(_) => "object",
                    _ => "other",
                };
                rule == kind || rule.as_array().is_some_and(|kinds| kinds.contains(&kind.into()))
            }
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
            "format" if rule == "date-time" => {
                value.as_str().is_none_or(|text| text.parse::<Timestamp>().is_ok())
            }
            "required" => value.as_object().is_none_or(|fields| {
                rule.as_array().unwrap().iter().all(|name| fields.contains_key(name.as_str().unwrap()))
            }),
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        faults.extend(self::faults(schema, value, &format!("{at}.{name}")));
                    }
                }
                true
            }
            unknown => panic!("this test does not know the keyword {unknown}"),
        };
        if !holds {
            faults.push(format!("{at} breaks {keyword}: {value}"));
        }
    }
    faults
}

#[test]
fn command_and_sockets_answer_with_a_token_as_the_schema_describes_it() {
    let schema = parse(&fixture("token.schema.json"));
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let own = || world.codex(["token", "--json"]).run().expect(0).json();
    let from_store = own();
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let ask = |path| parse(response_to(path, &get("/v1/token")).split_once("\r\n\r\n").unwrap().1);
    let through = world.codex(["token", "--json"]).env("CODEX_AUTH_SOCKET", folder.join("sock"));
    let answers =
        [from_store, own(), ask(&socket(&world)), ask(&folder.join("sock")), through.run().expect(0).json()];
    for answer in &answers {
        assert_eq!(faults(&schema, answer, "token"), Vec::<String>::new(), "{answer:#}");
        assert_eq!(answer["token"], *world.stored_token("access_token"));
        assert_eq!(answer["account"]["id"], "acct-1");
    }
    world.machine.store_text(r#"{"OPENAI_API_KEY":"sk-1"}"#);
    assert_eq!(faults(&schema, &own(), "token"), Vec::<String>::new());
    let wrong = json!({"schema": 2, "place": 1, "account": {}, "token": "", "expires_at": "soon"});
    assert_eq!(faults(&schema, &wrong, "token").len(), 5);
}
