//! A login that Codex has encrypted (`features.secret_auth_storage`): named by every command, and never taken for none.

use serde_json::{Value, json};

use crate::app_server::client::Client;
use crate::interop::codex::codex_0171;
use crate::keeper::process::{AT_WORK, Process};
use crate::support::session::{PrivateSession, inside};
use crate::support::{Run, TestHome, here};

const FEATURE: &str = "[features]\nsecret_auth_storage = true\n";

/// An age file of Codex with this number of encrypted bytes; an empty one has 26.
fn age_file(length: usize) -> Vec<u8> {
    let head =
        format!("age-encryption.org/v1\n-> scrypt {} 20\n{1}\n--- {1}\n", "s".repeat(22), "m".repeat(43));
    [head.as_bytes(), &vec![0xa5; 16 + length + 16]].concat()
}

/// A home with the feature and an encrypted login; in the file's shape, as no command reads it.
fn home() -> TestHome {
    let home = TestHome::new();
    home.write("config.toml", format!("cli_auth_credentials_store = \"auto\"\n{FEATURE}"));
    std::fs::create_dir(home.file("secrets")).unwrap();
    home.write("secrets/codex_auth.age", age_file(120));
    home
}

/// Runs each command, and asserts that it names the encrypted login and changes nothing.
fn every_command_names_it(home: &TestHome) {
    let before = std::fs::read(home.file("secrets/codex_auth.age")).unwrap();
    for words in [
        &["status"][..],
        &["token"],
        &["refresh"],
        &["logout"],
        &["logout", "--local"],
        &["logout", "--force"],
        &["migrate", "--to", "file"],
        &["login", "--with-api-key"],
    ] {
        let ended = home.codex(words.iter().copied()).input("sk-1").run().expect(5);
        assert!(ended.err.contains("/secrets/codex_auth.age"), "{words:?}: {ended}");
        assert!(!ended.to_string().contains("not logged in"), "{words:?}: {ended}");
        assert!(!ended.to_string().contains("logged out"), "{words:?}: {ended}");
    }
    let doctor = home.codex(["doctor"]).run().expect(1);
    let finding = "problem  store         Codex has encrypted the login in ";
    assert!(doctor.out.contains(finding) && !doctor.to_string().contains("not logged in"), "{doctor}");
    assert_eq!(std::fs::read(home.file("secrets/codex_auth.age")).unwrap(), before);
}

#[test]
fn every_command_names_a_login_that_codex_has_encrypted_in_the_keychain() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        home.write("config.toml", format!("cli_auth_credentials_store = \"keyring\"\n{FEATURE}"));
        let theirs = |words: &[&'static str]| {
            Run::of(&codex_0171(), words.iter().copied()).envs(home.variables()).env("HOME", home.path())
        };
        theirs(&["login", "--with-api-key"]).input("sk-theirs").run().expect(0);
        every_command_names_it(&home);
        theirs(&["login", "status"]).run().expect(0);
        theirs(&["logout"]).run().expect(0);
        let status = home.codex(["status"]).run().expect(1);
        assert!(status.out.contains("not logged in"), "{status}");
    });
}

#[test]
fn every_command_names_an_encrypted_login_without_a_keychain() {
    every_command_names_it(&home());
}

#[test]
fn an_encrypted_login_is_found_without_the_setting() {
    let home = home();
    home.write("config.toml", "");
    home.codex(["status"]).run().expect(5);
    home.write("secrets/codex_auth.age", age_file(26));
    home.codex(["status"]).run().expect(1);
}

#[test]
fn a_login_in_the_file_is_used_beside_an_encrypted_one_with_a_warning() {
    let home = home();
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
    let status = home.codex(["status"]).run().expect(0);
    assert!(status.err.contains("warning: Codex has encrypted another login in "), "{status}");
    let logout = home.codex(["logout"]).run().expect(5);
    assert!(!home.document().exists() && !logout.to_string().contains("logged out"), "{logout}");
}

#[test]
fn doctor_warns_of_the_setting_without_a_login() {
    let home = home();
    home.write("secrets/codex_auth.age", age_file(26));
    let doctor = home.codex(["doctor"]).run();
    assert!(doctor.out.contains("secret_auth_storage = true: Codex encrypts its login"), "{doctor}");
    let refused = home.codex(["login", "--with-api-key"]).input("sk-1").run().expect(5);
    assert!(refused.err.contains("hint: ") && refused.err.contains("codex login --store file"), "{refused}");
}

#[test]
fn the_command_line_and_a_profile_can_enable_the_feature() {
    let home = home();
    home.write("secrets/codex_auth.age", age_file(26));
    home.write("config.toml", "cli_auth_credentials_store = \"auto\"\n");
    let settings: [&[&str]; 3] = [
        &["--enable", "secret_auth_storage"],
        &["-c", "features.secret_auth_storage=true"],
        &["-c", "features.secret_auth_storage = false", "--enable", "secret_auth_storage"],
    ];
    for setting in settings {
        let line = |command: &[&'static str]| [setting, command].concat();
        let login = home.codex(line(&["login", "--with-api-key"])).input("sk-1").run().expect(5);
        assert!(login.err.contains("the command line says features.secret_auth_storage = true"), "{login}");
        let doctor = home.codex(line(&["doctor"])).run();
        assert!(doctor.out.contains("the command line says features.secret_auth_storage = true"), "{doctor}");
        let after = home.codex([&["login", "--with-api-key"][..], setting].concat()).input("sk-1").run();
        assert_eq!(after.expect(5).err, login.err);
    }
    home.write("config.toml", format!("cli_auth_credentials_store = \"auto\"\n{FEATURE}"));
    let off = ["--disable", "secret_auth_storage", "doctor"];
    assert!(!home.codex(off).run().out.contains("secret_auth_storage"));
}

#[test]
fn long_lived_processes_name_an_encrypted_login() {
    let home = home();
    let mut client = Client::in_home(&home);
    for (method, params) in [
        ("account/read", json!({})),
        ("getAuthStatus", json!({})),
        ("account/logout", Value::Null),
        ("account/login/start", json!({"type": "apiKey", "apiKey": "sk-1"})),
    ] {
        let error = client.error(method, params, -32603);
        assert!(error.contains("/secrets/codex_auth.age"), "{method}: {error}");
    }
    let keeper = Process::start(home.codex(["sync", "run"]));
    keeper.until(AT_WORK);
    let status = home.codex(["sync", "status"]).run().expect(0);
    assert!(status.out.contains("/secrets/codex_auth.age"), "{status}");
    let token = home.codex(["token"]).run().expect(5);
    assert!(token.err.contains("/secrets/codex_auth.age"), "{token}");
    keeper.signal("-TERM");
    assert_eq!(keeper.wait().0, Some(0));
}
