//! A scripted next codex, whose app-server follows commands and logs its input.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Run, TestHome, search_path};

/// Its requests have ids from 1 on, as the client's requests do.
const SCRIPT: &str = r#"#!/usr/bin/env python3
import json, os, sys

if sys.argv[1:] == ["--version"]:
    print("codex-cli 0.0.1")
    sys.exit()
home = os.environ["CODEX_HOME"]
log = open(os.path.join(home, "next.log"), "a", buffering=1)
log.write("started " + " ".join(sys.argv[1:]) + "\n")
try:
    login = open(os.path.join(home, "auth.json")).read()
except FileNotFoundError:
    login = None
requests, kept, count = {}, [], 0

def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()

for line in sys.stdin:
    log.write(line)
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params")
    if method is None:
        say({"method": "serverRequest/resolved", "params": {"threadId": "t", "requestId": number}})
        say({"id": requests.pop(number), "result": {"answer": message.get("result"), "as": number}})
    elif method in ("initialize", "account/login/start"):
        say({"id": number, "result": {}})
    elif number is None:
        pass
    elif method == "test/echo":
        say({"id": number, "result": {"params": params, "id": number}})
    elif method == "test/ask":
        count += 1
        requests[count] = number
        say({"id": count, "method": "item/tool/call", "params": params})
    elif method == "test/notify":
        for method in ("account/updated", "account/login/completed", "thread/started"):
            say({"method": method, "params": {"by": "next"}})
        say({"id": number, "result": {}})
    elif method == "test/flood":
        for _ in range(params["lines"]):
            say({"method": "thread/flood", "params": {"more": "x" * params["bytes"]}})
    elif method == "test/keep":
        kept.append(number)
    elif method == "test/flush":
        for number in [number] + kept[::-1]:
            say({"id": number, "result": {}})
        kept = []
    elif method == "test/login":
        say({"id": number, "result": {"login": login, "pid": os.getpid()}})
    elif method == "test/die":
        sys.exit(3)
    else:
        say({"id": number, "error": {"code": -32600, "message": "the script does not know " + method}})
log.write("ended\n")
"#;

/// Installs the scripted codex in a folder beside `home`, and returns the folder.
pub fn scripted(home: &TestHome) -> PathBuf {
    let folder = home.beside("next");
    fs::write(folder.join("text"), SCRIPT).unwrap();
    install(&folder.join("text"), &folder.join("codex"));
    folder
}

/// Installs a program by another process: a file that this one, or a fork of it, has open for writing cannot be run.
pub fn install(from: &Path, to: &Path) {
    assert!(Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap().success());
}

/// `run` with these folders first on PATH.
pub fn with_path<'a>(run: Run, folders: impl IntoIterator<Item = &'a Path>) -> Run {
    let others: OsString = search_path();
    let folders = folders.into_iter().map(Path::to_owned).chain(std::env::split_paths(&others));
    run.env("PATH", std::env::join_paths(folders).unwrap())
}

/// The log of the scripted codex, by line.
pub fn log(home: &TestHome) -> Vec<String> {
    let text = fs::read_to_string(home.file("next.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The messages in the log.
pub fn messages(home: &TestHome) -> Vec<Value> {
    log(home).iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
