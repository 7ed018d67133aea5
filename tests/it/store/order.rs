//! The order of system calls, seen by strace: locks outside in, the new file made durable before anybody sees it, and
//! reads that leave no trace.

use std::collections::HashMap;
use std::fs;
use std::process::Stdio;

use crate::support::{Run, TestHome, chatgpt, now};

/// The system calls of a run that ends well, each with the files that it was about.
fn calls(home: &TestHome, run: Run, input: &str) -> Vec<String> {
    let journal = home.beside("strace").join("journal");
    let way = ["strace", "-f", "-y", "-s", "256", "-o", journal.to_str().unwrap()];
    run.through(way).input(input).run().expect(0);
    let text = fs::read_to_string(journal).unwrap();
    let mut calls: Vec<String> = Vec::new();
    // Where the first half of a call stands, by the thread that made it.
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (thread, line) in text.lines().filter_map(|line| line.split_once(' ')) {
        let line = line.trim();
        if let Some(half) = line.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
            calls.push(half.trim_end().to_owned());
        } else if let Some((_, rest)) = line.split_once(" resumed>") {
            if let Some(at) = unfinished.remove(thread) {
                calls[at].push_str(rest);
            }
        } else {
            calls.push(line.to_owned());
        }
    }
    calls
}

/// The number of the first call after `start` that has all these parts.
fn next(calls: &[String], start: usize, parts: &[&str]) -> usize {
    let found = (start..calls.len()).find(|&at| parts.iter().all(|part| calls[at].contains(part)));
    found.unwrap_or_else(|| panic!("no {parts:?} in\n{}", calls[start..].join("\n")))
}

/// Sees that each step comes after the one before, and hands out where they were.
fn in_order(calls: &[String], steps: &[&[&str]]) -> Vec<usize> {
    let mut at = 0;
    let step = |parts: &&[&str]| {
        at = next(calls, at, parts) + 1;
        at - 1
    };
    steps.iter().map(step).collect()
}

#[test]
fn a_save_takes_the_locks_outside_in_and_lets_go_when_the_new_file_is_durable() {
    let home = TestHome::new();
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-old").run().expect(0);
    let run = home.codex(["login", "--store", "file", "--with-api-key"]);
    let calls = calls(&home, run, "sk-new");
    let folder = format!("<{}>", home.path().display());
    let steps = in_order(
        &calls,
        &[
            &["flock(", "/codex-auth/refresh.lock>, LOCK_EX", "= 0"],
            &["open", "/auth.lock\", O_RDWR|O_CREAT", "0666)"],
            &["flock(", "/auth.lock>, LOCK_EX", "= 0"],
            &["open", "/auth.json.lock\", O_RDWR|O_CREAT", "0600)"],
            &["flock(", "/auth.json.lock>, LOCK_EX|LOCK_NB", "= 0"],
            // The compare of the compare-and-swap.
            &["open", "/auth.json\", O_RDONLY"],
            &["openat(", &folder, "\".auth.json.", "O_CREAT|O_EXCL", "0600)"],
            &["write(", "/.auth.json.", r#""{\n  \"auth_mode\": \"apikey\""#],
            &["fsync(", "/.auth.json.", "= 0"],
            &["rename", &folder, "\".auth.json.", "\"auth.json\"", "= 0"],
            &["fsync(", &folder, "= 0"],
            &["/auth.json.lock>, LOCK_UN"],
            &["close(", "/auth.json.lock>"],
            &["/auth.lock>, LOCK_UN"],
            &["close(", "/auth.lock>"],
            // What others need to know, before anyone else may write.
            &["rename", "\"state.json\"", "= 0"],
            &["/codex-auth/refresh.lock>, LOCK_UN"],
        ],
    );
    let of_the_document: Vec<_> = calls.iter().filter(|call| call.contains("/.auth.json.")).collect();
    let written = of_the_document.iter().filter(|call| call.starts_with("write(")).count();
    assert_eq!(written, 1, "the document is written at once");
    for lock in ["/auth.lock>", "/auth.json.lock>"] {
        let early = calls[..steps[10]].iter().find(|call| call.contains(lock) && call.contains("LOCK_UN"));
        assert_eq!(early, None);
    }
    assert_eq!(calls.iter().find(|call| call.contains("O_TRUNC")), None);
    assert_eq!(calls.iter().find(|call| call.contains("unlink") && call.contains(".lock")), None);
}

#[test]
fn a_removal_takes_the_same_locks_and_is_durable_before_they_end() {
    let home = TestHome::new();
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-old").run().expect(0);
    let calls = calls(&home, home.codex(["logout", "--local"]), "");
    let folder = format!("<{}>", home.path().display());
    in_order(
        &calls,
        &[
            &["flock(", "/codex-auth/refresh.lock>, LOCK_EX", "= 0"],
            &["flock(", "/auth.lock>, LOCK_EX", "= 0"],
            &["flock(", "/auth.json.lock>, LOCK_EX|LOCK_NB", "= 0"],
            &["unlink", "\"auth.json\"", "= 0"],
            &["fsync(", &folder, "= 0"],
            &["close(", "/auth.json.lock>"],
            &["close(", "/auth.lock>"],
            &["/codex-auth/refresh.lock>, LOCK_UN"],
        ],
    );
    assert_eq!(calls.iter().find(|call| call.contains("unlink") && call.contains(".lock")), None);
}

#[test]
fn status_and_token_read_one_file_and_start_nothing() {
    let key = "{\"auth_mode\": \"apikey\", \"OPENAI_API_KEY\": \"sk-1\"}".to_owned();
    let tokens = chatgpt("acct-1", "rt-1", now(), now() + 86_400);
    for (document, configured) in [(&key, None), (&tokens, Some("file")), (&key, Some("file"))] {
        for arguments in [&["status"][..], &["status", "--json"], &["token"], &["token", "--header"]] {
            let home = TestHome::new();
            home.write("auth.json", document);
            if let Some(word) = configured {
                home.write("config.toml", format!("cli_auth_credentials_store = \"{word}\"\n"));
            }
            let before = home.names();
            let mut calls = calls(&home, home.codex(arguments.iter().copied()), "");
            if arguments[0] == "token" {
                // A keeper is asked first, at the one socket that would be its.
                let steps: [&[&str]; 2] = [&["socket(AF_UNIX"], &["connect(", "/codex-auth/keeper/sock"]];
                let asked = in_order(&calls, &steps);
                calls.drain(asked[0]..=asked[1]);
            }
            next(&calls, 0, &["open", "/auth.json\", O_RDONLY"]);
            let never = |call: &&String| {
                let name = call.split('(').next().unwrap();
                let starts =
                    ["clone", "clone3", "fork", "vfork", "socket", "connect", "flock", "inotify_init1"];
                let changes = [
                    "chmod",
                    "chown",
                    "creat",
                    "fchmod",
                    "fchown",
                    "ftruncate",
                    "link",
                    "linkat",
                    "mkdir",
                    "mkdirat",
                    "rename",
                    "renameat",
                    "renameat2",
                    "symlink",
                    "truncate",
                    "unlink",
                    "unlinkat",
                ];
                let opens = name.starts_with("open");
                let to_write = ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| call.contains(flag));
                let trust = [".pem", ".crt", "/ssl", "/certs", "/pki"].iter().any(|part| call.contains(part));
                starts.contains(&name) || changes.contains(&name) || (opens && (to_write || trust))
            };
            assert_eq!(calls.iter().find(never), None, "{arguments:?}");
            assert_eq!(calls.iter().filter(|call| call.starts_with("execve(")).count(), 1);
            assert_eq!(home.names(), before);
        }
    }
}

#[test]
fn the_witness_would_see_a_process_and_a_socket() {
    let home = TestHome::new();
    let journal = home.beside("strace").join("journal");
    let mut command =
        home.codex(["status"]).through(["strace", "-f", "-o", journal.to_str().unwrap()]).into_command();
    // Here nothing is in the file, so the keychain is asked, by a thread and over a socket.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(1));
    let text = fs::read_to_string(journal).unwrap();
    assert!(text.contains("socket(") && (text.contains("clone3(") || text.contains("clone(")), "{text}");
}
