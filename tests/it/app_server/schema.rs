//! The schema of the app-server protocol that an installed Codex generates.

use std::fs;
use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::Run;

/// The schemas of the results and notifications that concern the account.
const RESULTS: [(&str, &str); 8] = [
    ("initialize", "v1/InitializeResponse.json"),
    ("account/read", "v2/GetAccountResponse.json"),
    ("account/login/start", "v2/LoginAccountResponse.json"),
    ("account/login/cancel", "v2/CancelLoginAccountResponse.json"),
    ("account/logout", "v2/LogoutAccountResponse.json"),
    ("accountSession/list", "v2/AccountSessionsResponse.json"),
    ("accountSession/switch", "v2/AccountSessionsSwitchResponse.json"),
    ("account/updated", "v2/AccountUpdatedNotification.json"),
];
const COMPLETED: (&str, &str) = ("account/login/completed", "v2/AccountLoginCompletedNotification.json");

pub struct Schema(TempDir);

impl Schema {
    /// Generates the schema with `codex`.
    pub fn of(codex: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let out = folder.path().to_str().unwrap();
        let generate = ["app-server", "generate-json-schema", "--experimental", "--out", out];
        Run::of(codex, generate).env("CODEX_HOME", folder.path()).env("HOME", folder.path()).run().expect(0);
        Self(folder)
    }

    /// Asserts that `result` is a valid result of `method`. `getAuthStatus` has no schema of its own.
    #[track_caller]
    pub fn check_result(&self, method: &str, result: &Value) {
        if method != "getAuthStatus" {
            self.check(method, result);
        }
    }

    #[track_caller]
    pub fn check_notification(&self, method: &str, params: &Value) {
        self.check(method, params);
    }

    #[track_caller]
    fn check(&self, method: &str, value: &Value) {
        let known = RESULTS.iter().chain([&COMPLETED]).find(|(name, _)| *name == method);
        let (_, file) = known.unwrap_or_else(|| panic!("the test knows no schema of {method}"));
        let path = self.0.path().join(file);
        assert!(path.is_file(), "Codex generates no {file}");
        let text = fs::read_to_string(&path).unwrap();
        let (schemas, index) = compiled(&serde_json::from_str(&text).unwrap());
        if let Err(error) = schemas.validate(value, index) {
            panic!("{method}: {value} is not valid: {error}");
        }
        // A field that the schema does not name is one that Codex does not send.
        let schema: Value = serde_json::from_str(&text).unwrap();
        if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
            let unknown: Vec<_> = fields.keys().filter(|name| !known.contains_key(*name)).collect();
            assert!(unknown.is_empty(), "{method}: {unknown:?} are not in the schema");
        }
    }
}

fn compiled(schema: &Value) -> (Schemas, SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("answer.json", schema.clone()).unwrap();
    let index = compiler.compile("answer.json", &mut schemas).unwrap();
    (schemas, index)
}
