//! OpenAI's Codex 0.169 and this program in one home: each reads, replaces and removes the login of the other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::documents::golden;
use crate::support::{Ended, Machine, Run, TestHome, over_both_stores};

/// The path of Codex 0.169, which `tests/run` installs.
pub fn codex_0169() -> PathBuf {
    installed("CODEX_0169", "target/peers")
}

/// The path of Codex 0.171, which `tests/run` installs.
pub fn codex_0171() -> PathBuf {
    installed("CODEX_0171", "target/peers-0171")
}

/// The path of the newest Codex in `CODEX_NEWEST`; without it, that of 0.171.
pub fn codex_newest() -> PathBuf {
    if std::env::var_os("CODEX_NEWEST").is_some() { installed("CODEX_NEWEST", "") } else { codex_0171() }
}

/// The path in the environment variable, else that of the npm package below `prefix`.
fn installed(variable: &str, prefix: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(
        || {
            let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join(prefix).join("node_modules/@openai");
            peers.join("codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex")
        },
        PathBuf::from,
    );
    assert!(path.is_file(), "{variable}: no Codex at {}; install it: tests/run", path.display());
    path
}

/// A run of Codex in the same home.
pub fn theirs<'a>(home: &TestHome, arguments: impl IntoIterator<Item = &'a str>) -> Run {
    Run::of(&codex_0169(), arguments).envs(home.variables())
}

pub(super) fn their_status(home: &TestHome) -> Ended {
    theirs(home, ["login", "status"]).run()
}

pub(super) fn their_login(home: &TestHome, key: &str) -> Run {
    theirs(home, ["login", "--with-api-key"]).input(key)
}

pub(super) fn our_login(home: &TestHome, store: &str, key: &str) -> Run {
    home.codex(["login", "--store", store, "--with-api-key"]).input(key)
}

#[track_caller]
pub(super) fn they_have_a_key(home: &TestHome) {
    let status = their_status(home).expect(0);
    assert!(status.err.contains("API key configured"), "{status}");
}

#[track_caller]
pub(super) fn they_are_logged_out(home: &TestHome) {
    let status = their_status(home).expect(1);
    assert!(status.err.contains("Not logged in"), "{status}");
}

/// The document that both programs write for an API key.
fn api_key(machine: &Machine, key: &str) -> String {
    match machine.store() {
        "keychain" => format!(r#"{{"auth_mode":"apikey","OPENAI_API_KEY":"{key}"}}"#),
        _ => format!("{{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"{key}\"\n}}"),
    }
}

over_both_stores!(
    a_login_by_codex_is_read_and_removed,
    codex_reads_and_removes_a_login_by_this_program,
    both_write_the_same_bytes_for_the_same_key,
    a_login_over_that_of_the_other_replaces_it,
    codex_reads_a_chatgpt_login_by_this_program,
    concurrent_logins_of_both_leave_one_complete_document
);

fn a_login_by_codex_is_read_and_removed(machine: &mut Machine) {
    their_login(&machine.home, "sk-theirs").run().expect(0);
    assert_eq!(machine.home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
    let status = machine.home.codex(["status", "--json"]).run().expect(0).json();
    assert_eq!((&status["method"], &status["store"]), (&"apikey".into(), &machine.store().into()));
    machine.home.codex(["logout", "--local"]).run().expect(0);
    they_are_logged_out(&machine.home);
    assert_eq!(machine.stored_text(), None);
}

fn codex_reads_and_removes_a_login_by_this_program(machine: &mut Machine) {
    our_login(&machine.home, machine.store(), "sk-ours").run().expect(0);
    they_have_a_key(&machine.home);
    theirs(&machine.home, ["logout"]).run().expect(0);
    let status = machine.home.codex(["status"]).run().expect(1);
    assert!(status.out.contains("not logged in"), "{status}");
    assert_eq!(machine.stored_text(), None);
}

fn both_write_the_same_bytes_for_the_same_key(machine: &mut Machine) {
    their_login(&machine.home, "sk-same").run().expect(0);
    let theirs = machine.stored_text();
    assert_eq!(theirs, Some(api_key(machine, "sk-same")));
    machine.home.codex(["logout", "--local"]).run().expect(0);
    our_login(&machine.home, machine.store(), "sk-same").run().expect(0);
    assert_eq!(machine.stored_text(), theirs);
}

fn a_login_over_that_of_the_other_replaces_it(machine: &mut Machine) {
    for round in 0..2 {
        let (ours, theirs) = (format!("sk-ours-{round}"), format!("sk-theirs-{round}"));
        our_login(&machine.home, machine.store(), &ours).run().expect(0);
        assert_eq!(machine.stored_text(), Some(api_key(machine, &ours)));
        their_login(&machine.home, &theirs).run().expect(0);
        assert_eq!(machine.stored_text(), Some(api_key(machine, &theirs)));
    }
}

#[test]
fn only_a_provenance_that_codex_cannot_read_is_reported() {
    let home = TestHome::new();
    let mut document: Value = serde_json::from_str(&golden("chatgpt")).unwrap();
    let both = json!({"issuer": "https://auth.openai.com", "client_id": "app"});
    for provenance in [
        json!(null),
        json!("text"),
        json!([]),
        json!({}),
        json!({"issuer": "https://auth.openai.com"}),
        json!({"client_id": "app"}),
        json!({"issuer": null, "client_id": "app"}),
        json!({"issuer": "https://auth.openai.com", "client_id": 1}),
        json!({"issuer": "", "client_id": ""}),
        json!({"issuer": "nowhere", "client_id": "app"}),
        json!(["https://auth.openai.com", "app"]),
        both,
    ] {
        document["tokens"]["oauth_provenance"] = provenance.clone();
        home.write("auth.json", document.to_string());
        let is_read = their_status(&home).code == Some(0);
        let reported = |text: &str| text.contains("tokens.oauth_provenance does not have the strings");
        let status = home.codex(["status"]).run().expect(0);
        assert_eq!(reported(&status.err), !is_read, "{provenance}: {status}");
        let doctor = home.codex(["doctor", "--json"]).run().json();
        let found = doctor["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|finding| reported(finding["message"].as_str().unwrap()));
        let finding = found.map(|finding| (&finding["standing"], &finding["remedy"]));
        assert_eq!(finding, (!is_read).then_some((&json!("warning"), &json!("codex login"))), "{provenance}");
    }
}

fn codex_reads_a_chatgpt_login_by_this_program(machine: &mut Machine) {
    for document in [golden("chatgpt"), golden("chatgpt_with_api_key"), golden("unknown_fields")] {
        machine.store_text(&document);
        let before = machine.stored_text();
        let status = their_status(&machine.home).expect(0);
        assert!(status.err.contains("Logged in using ChatGPT"), "{status}");
        machine.home.codex(["token"]).run().expect(0);
        assert_eq!(machine.stored_text(), before, "reading changes nothing");
    }
}

/// The last login wins, and no document is torn or duplicated.
fn concurrent_logins_of_both_leave_one_complete_document(machine: &mut Machine) {
    const ROUNDS: usize = 4;
    const EACH: usize = 3;
    let mut before = Vec::new();
    for round in 0..ROUNDS {
        // The first round begins without an item, which is when a second one could be created.
        let key = |number| format!("sk-{round}-{}", "k".repeat(300 * number + 1));
        let keys: Vec<_> = (0..2 * EACH).map(key).collect();
        let children: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(number, key)| match number % 2 {
                0 => our_login(&machine.home, machine.store(), key).start(),
                _ => their_login(&machine.home, key).start(),
            })
            .collect();
        let done = AtomicBool::new(false);
        let document = machine.home.document();
        let expected: Vec<_> = keys.iter().chain(&before).map(|key| api_key(machine, key)).collect();
        let ended: Vec<_> = thread::scope(|scope| {
            // The keychain replaces an item at once; only a file could be read half written.
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    if let Ok(whole) = fs::read_to_string(&document) {
                        assert!(expected.contains(&whole), "{whole}");
                    }
                }
            });
            let wait = |child: std::process::Child| child.wait_with_output().unwrap();
            let ended = children.into_iter().map(wait).collect();
            done.store(true, Ordering::SeqCst);
            ended
        });
        for output in ended {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let kept = machine.stored_text().unwrap();
        assert!(keys.iter().any(|key| api_key(machine, key) == kept), "{kept}");
        they_have_a_key(&machine.home);
        machine.home.codex(["token"]).run().expect(0);
        before = keys;
    }
}

#[test]
fn both_follow_a_linked_document_and_keep_the_link() {
    let home = TestHome::new();
    let target = home.beside("elsewhere").join("auth.json");
    symlink(&target, home.document()).unwrap();
    our_login(&home, "file", "sk-ours").run().expect(0);
    they_have_a_key(&home);
    their_login(&home, "sk-theirs").run().expect(0);
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
    assert!(home.document().is_symlink() && target.is_file());
}

#[test]
fn both_create_the_document_and_its_lock_with_one_mode_and_ours_create_the_other_lock_privately() {
    let modes = |login: &dyn Fn(&TestHome) -> Run| {
        let home = TestHome::new();
        login(&home).through(["sh", "-c", "umask 027; exec \"$0\" \"$@\""]).run().expect(0);
        ["auth.json", "auth.json.lock", "auth.lock"].map(|name| {
            use std::os::unix::fs::PermissionsExt as _;
            let found = fs::metadata(home.file(name)).unwrap();
            (name, found.permissions().mode() & 0o7777, found.len())
        })
    };
    let (ours, theirs) =
        (modes(&|home| our_login(home, "file", "sk-1")), modes(&|home| their_login(home, "sk-1")));
    assert_eq!(ours[..2], theirs[..2]);
    // Another user who can open `auth.lock` can hold it.
    assert_eq!((ours[2], theirs[2]), (("auth.lock", 0o600, 0), ("auth.lock", 0o640, 0)));
}
