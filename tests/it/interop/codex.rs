//! OpenAI's own Codex 0.169 beside us in one place: each reads, replaces and removes what the other wrote.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::documents::golden;
use crate::support::session::{PrivateSession, inside};
use crate::support::{Ended, Home, Run, chatgpt, here, item, items};

/// `tests/run` installs it and says where.
pub fn codex_0169() -> PathBuf {
    let path = std::env::var_os("CODEX_0169").map_or_else(
        || {
            let peers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules/@openai");
            peers.join("codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex")
        },
        PathBuf::from,
    );
    assert!(path.is_file(), "Codex 0.169 is not at {}; tests/run installs it: run tests/run", path.display());
    path
}

/// A run of Codex in the same home.
pub fn theirs<'a>(home: &Home, arguments: impl IntoIterator<Item = &'a str>) -> Run {
    Run::of(&codex_0169(), arguments).envs(home.variables())
}

fn their_status(home: &Home) -> Ended {
    theirs(home, ["login", "status"]).run()
}

fn their_login(home: &Home, key: &str) -> Run {
    theirs(home, ["login", "--with-api-key"]).input(key)
}

fn our_login(home: &Home, store: &str, key: &str) -> Run {
    home.codex(["login", "--store", store, "--with-api-key"]).input(key)
}

#[track_caller]
fn they_have_a_key(home: &Home) {
    let status = their_status(home).expect(0);
    assert!(status.err.contains("API key configured"), "{status}");
}

#[track_caller]
fn they_are_logged_out(home: &Home) {
    let status = their_status(home).expect(1);
    assert!(status.err.contains("Not logged in"), "{status}");
}

/// A place whose login is in one store, to hold the same against both.
struct Place {
    home: Home,
    store: &'static str,
}

impl Place {
    fn kept(&self) -> Vec<Vec<u8>> {
        match self.store {
            "keychain" => items(&self.home),
            _ => fs::read(self.home.document()).into_iter().collect(),
        }
    }

    fn keep(&self, document: &str) {
        match self.store {
            "keychain" => item(&self.home).set_secret(document.as_bytes()).unwrap(),
            _ => drop(self.home.write("auth.json", document)),
        }
    }

    /// What either of us writes for an API key.
    fn api_key(&self, key: &str) -> Vec<u8> {
        match self.store {
            "keychain" => format!(r#"{{"auth_mode":"apikey","OPENAI_API_KEY":"{key}"}}"#),
            _ => format!("{{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"{key}\"\n}}"),
        }
        .into_bytes()
    }
}

/// Makes two tests of each: in the file, and in the keychain that `config.toml` points to.
macro_rules! in_either_store {
    ($($(#[doc = $doc:literal])* fn $test:ident($place:ident: &Place) $body:block)*) => { $(
        $(#[doc = $doc])*
        mod $test {
            use super::*;

            fn law($place: &Place) $body

            #[test]
            fn in_the_file() {
                law(&Place { home: Home::new(), store: "file" });
            }

            #[test]
            fn in_the_keychain() {
                inside(here!(), || {
                    let session = PrivateSession::unlocked();
                    let home = Home::within(&session);
                    home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
                    law(&Place { home, store: "keychain" });
                });
            }
        }
    )* };
}

in_either_store! {
    fn we_read_what_it_wrote_and_end_it(place: &Place) {
        their_login(&place.home, "sk-theirs").run().expect(0);
        assert_eq!(place.home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
        let status = place.home.codex(["status", "--json"]).run().expect(0).json();
        assert_eq!((&status["method"], &status["store"]), (&"apikey".into(), &place.store.into()));
        place.home.codex(["logout", "--local"]).run().expect(0);
        they_are_logged_out(&place.home);
        assert!(place.kept().is_empty());
    }

    fn it_reads_what_we_wrote_and_ends_it(place: &Place) {
        our_login(&place.home, place.store, "sk-ours").run().expect(0);
        they_have_a_key(&place.home);
        theirs(&place.home, ["logout"]).run().expect(0);
        let status = place.home.codex(["status"]).run().expect(1);
        assert!(status.out.contains("not logged in"), "{status}");
        assert!(place.kept().is_empty());
    }

    fn both_write_the_same_bytes_for_the_same_key(place: &Place) {
        their_login(&place.home, "sk-same").run().expect(0);
        let theirs = place.kept();
        assert_eq!(theirs, [place.api_key("sk-same")]);
        place.home.codex(["logout", "--local"]).run().expect(0);
        our_login(&place.home, place.store, "sk-same").run().expect(0);
        assert_eq!(place.kept(), theirs);
    }

    fn a_login_over_the_others_replaces_it_and_leaves_one(place: &Place) {
        for round in 0..2 {
            let (ours, theirs) = (format!("sk-ours-{round}"), format!("sk-theirs-{round}"));
            our_login(&place.home, place.store, &ours).run().expect(0);
            assert_eq!(place.kept(), [place.api_key(&ours)]);
            their_login(&place.home, &theirs).run().expect(0);
            assert_eq!(place.kept(), [place.api_key(&theirs)]);
        }
    }

    fn it_reads_our_chatgpt_login(place: &Place) {
        for document in [golden("chatgpt"), golden("chatgpt_with_api_key"), golden("unknown_fields")] {
            place.keep(&document);
            let before = place.kept();
            let status = their_status(&place.home).expect(0);
            assert!(status.err.contains("Logged in using ChatGPT"), "{status}");
            place.home.codex(["token"]).run().expect(0);
            assert_eq!(place.kept(), before, "looking changes nothing");
        }
    }

    /// Neither knows of the other's plans: the last one wins, and nothing is ever torn or doubled.
    fn logins_of_both_at_once_leave_one_whole_document(place: &Place) {
        const ROUNDS: usize = 4;
        const EACH: usize = 3;
        let mut before = Vec::new();
        for round in 0..ROUNDS {
            // The first round finds nothing, which is when a second item could be made.
            let key = |number| format!("sk-{round}-{}", "k".repeat(300 * number + 1));
            let keys: Vec<_> = (0..2 * EACH).map(key).collect();
            let children: Vec<_> = keys
                .iter()
                .enumerate()
                .map(|(number, key)| match number % 2 {
                    0 => our_login(&place.home, place.store, key).start(),
                    _ => their_login(&place.home, key).start(),
                })
                .collect();
            let done = AtomicBool::new(false);
            let ended: Vec<_> = thread::scope(|scope| {
                // An item is replaced by its service; a file is what a reader could find torn.
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        if let Ok(whole) = fs::read(place.home.document()) {
                            assert!(keys.iter().chain(&before).any(|key| place.api_key(key) == whole));
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
            let kept = place.kept();
            assert_eq!(kept.len(), 1);
            let whole = keys.iter().any(|key| place.api_key(key) == kept[0]);
            assert!(whole, "{}", String::from_utf8_lossy(&kept[0]));
            they_have_a_key(&place.home);
            place.home.codex(["token"]).run().expect(0);
            before = keys;
        }
    }
}

#[test]
fn what_our_login_writes_into_the_configuration_sends_it_to_the_keychain() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = Home::within(&session);
        our_login(&home, "keychain", "sk-ours").run().expect(0);
        they_have_a_key(&home);
        assert!(!home.document().exists());
        let asked = theirs(&home, ["-c", "cli_auth_credentials_store=file", "login", "status"]).run();
        assert!(asked.expect(1).err.contains("Not logged in"), "it was told where to look by us");
    });
}

#[test]
fn it_goes_on_reading_after_our_migrations_either_way() {
    let session = PrivateSession::unlocked();
    for (from, to) in [("file", "keychain"), ("keychain", "file")] {
        let home = Home::within(&session);
        our_login(&home, from, "sk-1").run().expect(0);
        they_have_a_key(&home);
        for store in [to, from] {
            home.codex(["migrate", "--to", store]).run().expect(0);
            they_have_a_key(&home);
            assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
        }
    }
    let home = Home::within(&session);
    let document = chatgpt("acct-1", "rt-1", 1, 4_102_444_800);
    home.write("auth.json", &document);
    for store in ["keychain", "file"] {
        home.codex(["migrate", "--to", store]).run().expect(0);
        let status = their_status(&home).expect(0);
        assert!(status.err.contains("Logged in using ChatGPT"), "{status}");
    }
    assert_eq!(home.read("auth.json"), document);
}

#[test]
fn what_it_keeps_in_the_keychain_for_one_run_we_find_without_a_word_in_the_configuration() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = Home::within(&session);
        let keyring = ["-c", "cli_auth_credentials_store=keyring"];
        theirs(&home, keyring.into_iter().chain(["login", "--with-api-key"]))
            .input("sk-theirs")
            .run()
            .expect(0);
        let status = home.codex(["status"]).run().expect(0);
        assert!(status.err.contains("codex migrate --to keychain"), "{status}");
        assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
        home.codex(["migrate", "--to", "keychain"]).run().expect(0);
        they_have_a_key(&home);
        assert_eq!(items(&home).len(), 1);
    });
}

#[test]
fn with_auto_both_look_in_the_same_place_with_and_without_a_keychain() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for home in [Home::new(), Home::within(&session)] {
            our_login(&home, "auto", "sk-ours").run().expect(0);
            they_have_a_key(&home);
            their_login(&home, "sk-theirs").run().expect(0);
            assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
            home.codex(["logout", "--local"]).run().expect(0);
            they_are_logged_out(&home);
        }
    });
}

#[test]
fn two_items_that_it_refuses_are_one_again_after_our_migration() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = Home::within(&session);
        our_login(&home, "keychain", "sk-ours").run().expect(0);
        crate::support::plant_another_item(&home, br#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-other"}"#);
        let refused = their_status(&home).expect(1);
        assert!(refused.err.contains("matched by 2 credentials"), "{refused}");
        home.codex(["migrate", "--to", "keychain"]).run().expect(0);
        they_have_a_key(&home);
    });
}

#[test]
fn both_follow_a_linked_document_and_keep_the_link() {
    let home = Home::new();
    let target = home.beside("elsewhere").join("auth.json");
    symlink(&target, home.document()).unwrap();
    our_login(&home, "file", "sk-ours").run().expect(0);
    they_have_a_key(&home);
    their_login(&home, "sk-theirs").run().expect(0);
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-theirs\n");
    assert!(home.document().is_symlink() && target.is_file());
}

#[test]
fn it_makes_the_lock_files_as_we_do() {
    let modes = |login: &dyn Fn(&Home) -> Run| {
        let home = Home::new();
        login(&home).through(["sh", "-c", "umask 027; exec \"$0\" \"$@\""]).run().expect(0);
        ["auth.json", "auth.json.lock", "auth.lock"].map(|name| {
            use std::os::unix::fs::PermissionsExt as _;
            let found = fs::metadata(home.file(name)).unwrap();
            (name, found.permissions().mode() & 0o7777, found.len())
        })
    };
    assert_eq!(modes(&|home| our_login(home, "file", "sk-1")), modes(&|home| their_login(home, "sk-1")));
}
