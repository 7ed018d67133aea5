//! Which program handles a command line that both have: a logout is never Codex's, and options mean what they mean there.

use std::fs;

use super::hand_over::{REPORTS, before};
use crate::manager::world::World;
use crate::support::{Ended, Machine, TestHome};

/// Does what Codex does with a logout while the authority is away: it removes the login.
const LOGS_OUT: &str = "#!/bin/sh\nrm -f \"$CODEX_HOME/auth.json\"\nexit 7\n";

/// Command lines that 0.171 takes for a logout, and some that a later version might.
const LOGOUTS: &[&[&str]] = &[
    &["logout"],
    &["logout", "--"],
    &["logout", "-c", "model=x"],
    &["logout", "-c=model=x"],
    &["logout", "-cmodel=x"],
    &["logout", "--enable", "web_search"],
    &["-m", "x", "logout"],
    &["-mx", "logout"],
    &["-m=x", "logout"],
    &["--model", "x", "logout"],
    &["--model=x", "logout"],
    &["-m", "logout", "logout"],
    &["-m", "", "logout"],
    &["--search", "logout"],
    &["--oss", "logout"],
    &["--no-daemon", "logout"],
    &["-C", "/tmp", "logout"],
    &["-C/tmp", "logout"],
    &["-s", "read-only", "logout"],
    &["--sandbox=read-only", "logout"],
    &["-a", "never", "logout"],
    &["--add-dir", "/tmp", "logout"],
    &["--approve-for-me", "logout"],
    &["--no-alt-screen", "logout"],
    &["--local-provider", "ollama", "logout"],
    &["--yolo", "logout"],
    &["--dangerously-bypass-approvals-and-sandbox", "logout"],
    &["--dangerously-bypass-hook-trust", "logout"],
    &["-i=a.png", "logout"],
    &["-ia.png", "logout"],
    &["--image=a.png", "logout"],
    &["-i", "a.png", "-m", "x", "logout"],
    &["-i", "a", "b", "--search", "logout"],
    &["-c", "model=x", "logout"],
    &["-c=model=x", "logout"],
    &["-cmodel=x", "logout"],
    &["--config=model=x", "logout"],
    &["--enable", "web_search", "logout"],
    &["--disable=web_search", "logout"],
    &["hi", "logout"],
    &["", "logout"],
    &["-", "logout"],
    &["hi", "-m", "x", "logout"],
    &["-m", "x", "status", "logout"],
    &["status", "logout"],
    // Refused by 0.171.
    &["--strict-config", "logout"],
    &["--profile", "work", "logout"],
    &["-pwork", "logout"],
    &["--remote", "unix://", "logout"],
    &["--worktree", "logout"],
    &["--mod", "x", "logout"],
    &["--later", "logout"],
    &["--later", "value", "logout"],
    &["--later=value", "logout"],
    &["-z", "logout"],
    &["--search=x", "logout"],
    &["-m", "--search", "logout"],
    &["-c", "model", "logout"],
    &["logout", "--later"],
    &["logout", "later"],
    &["logout", "-m", "x"],
    &["logout", "-c", "model"],
];

#[test]
fn no_spelling_of_logout_loses_the_login_while_the_authority_is_away() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let home = &world.machine.home;
    let document = home.read("auth.json");
    for words in LOGOUTS {
        // Without this world's addresses: no authority answers there.
        let ended = before(home, LOGS_OUT, home.codex(words.iter().copied())).run();
        assert!(home.document().exists(), "{words:?}\n{ended}");
        assert_ne!(ended.code, Some(7), "{words:?}\n{ended}");
        assert_ne!(ended.code, Some(0), "{words:?}\n{ended}");
        assert_eq!(home.read("auth.json"), document, "{words:?}");
    }
}

fn ended(home: &TestHome, words: &[&str]) -> Ended {
    before(home, REPORTS, home.codex(words.iter().copied())).run()
}

#[test]
fn a_logout_with_options_is_a_logout() {
    for words in
        [&["--search", "-m", "x", "logout"][..], &["logout", "-c", "model=x"], &["-i=a", "logout", "--force"]]
    {
        let home = TestHome::new();
        home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
        ended(&home, words).expect(0);
        assert!(!home.document().exists(), "{words:?}");
    }
    let home = TestHome::new();
    insta::assert_snapshot!(ended(&home, &["fix", "logout"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: 'logout' after a prompt is not passed on to another codex

    hint: to log out: codex logout
    hint: to pass it on nevertheless: CODEX_AUTH_PASS=1 codex …
    hint: codex logout --help
    ");
    insta::assert_snapshot!(ended(&home, &["--profile", "work", "logout"]), @r"
    exit 1
    --- stdout
    --- stderr
    error: --profile does not apply to `codex logout`
    hint: codex logout
    ");
}

#[test]
fn words_that_only_look_like_a_logout_go_to_codex() {
    let home = TestHome::new();
    for words in [
        &["--", "logout"][..],
        &["hi", "--", "logout"],
        &["-i", "a.png", "logout"],
        &["-m", "logout"],
        &["exec", "logout"],
        &["mcp", "logout", "name"],
        &["-h", "logout"],
        &["logou"],
    ] {
        ended(&home, words).expect(7);
    }
}

#[test]
fn the_options_of_codex_stand_before_and_after_the_commands_that_both_have() {
    let home = TestHome::new();
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
    for words in [
        &["-m", "x", "login", "status"][..],
        &["--search", "--oss", "--no-daemon", "-C", "/", "-s", "read-only", "login", "status"],
        &["login", "-c", "model=x", "status"],
        &["login", "status", "-c=model=x", "--enable", "web_search"],
        &["-c", "model=x", "--enable", "web_search", "status"],
        &["status", "--disable", "web_search"],
        &["-c=cli_auth_credentials_store=file", "login", "status"],
    ] {
        ended(&home, words).expect(0);
    }
    // The setting counts, on either side.
    for words in [
        &["-c", "cli_auth_credentials_store=keyring", "login", "status"][..],
        &["login", "-c=cli_auth_credentials_store=keyring", "status"],
        &["login", "status", "--config", "cli_auth_credentials_store=keyring"],
    ] {
        assert_ne!(ended(&home, words).code, Some(0), "{words:?}");
    }
    for words in [
        &["--profile", "p", "login", "status"][..],
        &["--strict-config", "login", "status"],
        &["--remote", "unix://", "login"],
        &["-i", "a.png", "login", "status"],
        &["login", "--later"],
        &["login", "-m", "x"],
        &["login", "--strict-config", "status"],
        &["login", "--dev"],
        &["-m", "x", "status"],
        &["hi", "token"],
        &["app-server", "daemon", "version"],
        &["app-server", "proxy"],
        &["app-server", "--listen", "ws://127.0.0.1:1"],
        &["app-server", "--help"],
        &["app-server", "-c", "model=x", "generate-ts"],
    ] {
        ended(&home, words).expect(7);
    }
}

#[test]
fn without_a_next_codex_its_app_server_is_misuse_and_no_server() {
    let home = TestHome::new();
    insta::assert_snapshot!(home.codex(["app-server", "daemon", "start"]).run(), @r"
    exit 2
    --- stdout
    --- stderr
    error: these arguments of `codex app-server` are Codex's, and no other codex was found on PATH

    hint: install OpenAI's Codex in a folder on PATH, before or after this program
    hint: codex app-server --help
    ");
    home.codex(["app-server", "--listen", "ws://127.0.0.1:1"]).run().refused(2);
}

#[test]
fn a_variable_passes_every_command_line_on() {
    let home = TestHome::new();
    for words in [&["logout"][..], &["status"], &["login", "--with-api-key"], &["--version"]] {
        let run = before(
            &home,
            "#!/bin/sh\necho \"$* $CODEX_AUTH_PASS\"\nexit 7\n",
            home.codex(words.iter().copied()),
        );
        let ended = run.env("CODEX_AUTH_PASS", "1").run().expect(7);
        assert_eq!(ended.out, format!("{} \n", words.join(" ")));
        assert_ne!(home.codex(words.iter().copied()).env("CODEX_AUTH_PASS", "0").run().code, Some(7));
    }
    let alone = home.codex(["status"]).env("CODEX_AUTH_PASS", "1").run().refused(2);
    assert!(alone.err.contains("CODEX_AUTH_PASS is set, and no other codex was found on PATH"), "{alone}");
}

#[test]
fn a_secret_in_a_setting_is_not_repeated() {
    let home = TestHome::new();
    let secret = "model_providers.x.token=sk-marked";
    for words in [
        &["-c", secret, "exec"][..],
        &["exec", "-c", secret],
        &["-c", secret, "fix", "logout"],
        &["-c", "sk-marked", "logout"],
        &["status", "-c", "sk-marked"],
        &["-c", secret, "app-server", "daemon"],
        &["-c", "cli_auth_credentials_store=sk-marked", "status"],
        &["login", "-csk-marked=1", "--later"],
    ] {
        let ended = home.codex(words.iter().copied()).run().refused(2);
        assert!(!ended.to_string().contains("marked"), "{words:?}\n{ended}");
    }
    assert!(fs::read_dir(home.path()).unwrap().next().is_none());
}

#[test]
fn the_doctor_of_codex_follows_ours() {
    let home = TestHome::new();
    let next = "#!/bin/sh\n[ \"$1\" = doctor ] || exit 0\ncase \"$*\" in *--json*) echo '{\"schemaVersion\":1}';; *) echo \"by $*\";; esac\n";
    let run = |words: &[&str]| before(&home, next, home.codex(words.iter().copied())).run().expect(0);
    let both = run(&["-c", "model=x", "doctor", "--summary"]).out;
    let (ours, theirs) = both.split_once("/next/codex:\n").unwrap();
    assert!(ours.contains("0 problems") && theirs == "by doctor --summary --config model=x\n", "{both}");
    let report = run(&["doctor", "--json"]).json();
    assert_eq!((&report["schemaVersion"], &report["codex_auth"]["problems"]), (&1.into(), &0.into()));
}
