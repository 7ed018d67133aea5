//! The documented JSON schema of a token: the command and the socket answer with what it describes.

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use super::{fixture, parse};
use crate::keeper::exports::{export, folder};
use crate::keeper::process::Process;
use crate::keeper::socket::{get, response_to, socket};
use crate::manager::world::World;
use crate::support::Machine;

/// Whether `value` is a token as the schema describes it; the error says why not.
fn check(value: &Value) -> Result<(), String> {
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("token.schema.json", parse(&fixture("token.schema.json"))).unwrap();
    let mut schemas = Schemas::new();
    let schema = compiler.compile("token.schema.json", &mut schemas).unwrap();
    schemas.validate(value, schema).map_err(|error| error.to_string())
}

#[test]
fn command_and_sockets_answer_with_a_token_as_the_schema_describes_it() {
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
        check(answer).unwrap();
        assert_eq!(answer["token"], *world.stored_token("access_token"));
        assert_eq!(answer["account"]["id"], "acct-1");
    }
    world.machine.store_text(r#"{"OPENAI_API_KEY":"sk-1"}"#);
    check(&own()).unwrap();
    for (field, wrong) in [
        ("schema", json!(2)),
        ("place", json!(1)),
        ("account", json!({})),
        ("token", json!("")),
        ("expires_at", json!("soon")),
    ] {
        let mut answer = answers[0].clone();
        answer[field] = wrong;
        check(&answer).unwrap_err();
        answer.as_object_mut().unwrap().remove(field);
        check(&answer).unwrap_err();
    }
}
