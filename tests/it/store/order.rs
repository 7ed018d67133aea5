//! The order of system calls, recorded by strace: locks, a durable file, release; and reads that change nothing.

use std::collections::HashMap;
use std::fs;
use std::process::Stdio;

use crate::support::{Run, TestHome, chatgpt, now};

/// Returns the system calls of a successful run, each with the paths of its file descriptors.
pub fn calls(home: &TestHome, run: Run, input: &str) -> Vec<String> {
    let journal = home.beside("strace").join("journal");
    let way = ["strace", "-f", "-y", "-s", "256", "-o", journal.to_str().unwrap()];
    run.through(way).input(input).run().expect(0);
    let text = fs::read_to_string(journal).unwrap();
    whole_calls(&text).into_iter().map(|(_, call)| call).collect()
}

/// Returns the thread and the text of each call in a trace of strace. A call that another thread interrupted is whole.
pub fn whole_calls(trace: &str) -> Vec<(&str, String)> {
    let mut calls: Vec<(&str, String)> = Vec::new();
    // The index of the first half of an interrupted call, by thread.
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (thread, line) in trace.lines().filter_map(|line| line.split_once(' ')) {
        let line = line.trim();
        if let Some(half) = line.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
            calls.push((thread, half.trim_end().to_owned()));
        } else if let Some((_, rest)) = line.split_once(" resumed>") {
            if let Some(at) = unfinished.remove(thread) {
                calls[at].1.push_str(rest);
            }
        } else {
            calls.push((thread, line.to_owned()));
        }
    }
    calls
}

/// Returns the index of the first call from `start` on that contains all `parts`.
fn next(calls: &[String], start: usize, parts: &[&str]) -> usize {
    let found = (start..calls.len()).find(|&at| parts.iter().all(|part| calls[at].contains(part)));
    found.unwrap_or_else(|| panic!("no {parts:?} in\n{}", calls[start..].join("\n")))
}

/// Asserts that each step comes after the one before, and returns their indices.
pub fn in_order(calls: &[String], steps: &[&[&str]]) -> Vec<usize> {
    let mut at = 0;
    let step = |parts: &&[&str]| {
        at = next(calls, at, parts) + 1;
        at - 1
    };
    steps.iter().map(step).collect()
}

#[test]
fn a_save_acquires_the_locks_in_order_and_releases_them_after_the_file_is_durable() {
    let home = TestHome::new();
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-old").run().expect(0);
    let run = home.codex(["login", "--store", "file", "--with-api-key"]);
    let calls = calls(&home, run, "sk-new");
    let folder = format!("<{}>", home.path().display());
    let steps = in_order(
        &calls,
        &[
            &["flock(", "/codex-auth/refresh.lock>, LOCK_EX", "= 0"],
            &["open", "/auth.lock\"", "O_RDWR|O_CREAT", "0600"],
            &["flock(", "/auth.lock>, LOCK_EX", "= 0"],
            &["open", "/auth.json.lock\"", "O_RDWR|O_CREAT", "0600"],
            &["flock(", "/auth.json.lock>, LOCK_EX|LOCK_NB", "= 0"],
            // The comparison of the compare-and-swap.
            &["open", "/auth.json\"", "O_RDONLY"],
            &["openat(", &folder, "\".auth.json.", "O_CREAT|O_EXCL", "0600)"],
            &["write(", "/.auth.json.", r#""{\n  \"auth_mode\": \"apikey\""#],
            &["fsync(", "/.auth.json.", "= 0"],
            &["rename", &folder, "\".auth.json.", "\"auth.json\"", "= 0"],
            &["fsync(", &folder, "= 0"],
            &["/auth.json.lock>, LOCK_UN"],
            &["close(", "/auth.json.lock>"],
            &["/auth.lock>, LOCK_UN"],
            &["close(", "/auth.lock>"],
            // Other processes are notified before the lease is released.
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
fn a_removal_acquires_the_same_locks_and_is_durable_before_their_release() {
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
                // The keeper is asked first, at its socket.
                let steps: [&[&str]; 2] = [&["socket(AF_UNIX"], &["connect(", "/codex-auth/keeper/sock"]];
                let asked = in_order(&calls, &steps);
                calls.drain(asked[0]..=asked[1]);
            }
            next(&calls, 0, &["open", "/auth.json\"", "O_RDONLY"]);
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
fn strace_sees_processes_and_sockets() {
    let home = TestHome::new();
    let journal = home.beside("strace").join("journal");
    let mut command =
        home.codex(["status"]).through(["strace", "-f", "-o", journal.to_str().unwrap()]).into_command();
    // Nothing is in the file, so the keychain is read, by a thread and over a socket.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(1));
    let text = fs::read_to_string(journal).unwrap();
    assert!(text.contains("socket(") && (text.contains("clone3(") || text.contains("clone(")), "{text}");
}
