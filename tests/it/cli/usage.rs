//! Usage errors and help pages.

use std::os::unix::fs::symlink;

use super::COMMANDS;
use super::second_name::second;
use crate::support::{Ended, TestHome, names};

fn run(words: &[&str]) -> Ended {
    TestHome::new().codex(words.iter().copied()).run()
}

/// The message of a usage error, which ends with `hints`.
#[track_caller]
fn is_misuse(words: &[&str], message: &str, hints: &[&str]) {
    let ended = run(words).refused(2);
    let hints: String = hints.iter().map(|hint| format!("hint: {hint}\n")).collect();
    assert_eq!(ended.err, format!("error: {message}\n\n{hints}"), "{words:?}");
    assert_eq!(ended.out.is_empty(), !words.contains(&"--json"), "{words:?}");
}

#[test]
fn a_usage_error_names_the_argument_and_the_help_of_the_command() {
    for (words, message, command) in [
        (&["token", "--foo"][..], "unexpected argument '--foo' for `codex token`", "token"),
        (&["token", "now"], "unexpected argument 'now' for `codex token`", "token"),
        (&["login", "status", "--x"], "unexpected argument '--x' for `codex login status`", "login status"),
        (&["status", "--json=1"], "--json takes no value", "status"),
        (&["login", "--store", "floppy"], "--store needs keychain, file or auto", "login"),
        (&["login", "--store"], "--store needs keychain, file or auto", "login"),
        (&["migrate", "--to", "floppy"], "--to needs keychain or file", "migrate"),
        (&["migrate"], "`codex migrate` needs --to STORE", "migrate"),
        (&["migrate", "--yes", "--to", "file"], "--yes needs --from-codex", "migrate"),
        (&["completions", "cmd"], "SHELL needs bash, elvish, fish, powershell or zsh", "completions"),
        (&["man"], "`codex man` needs DIR", "man"),
        (&["man", "/", "--date", "x"], "--date needs a date such as 2026-11-21", "man"),
        (&["token", "--min-ttl", "x"], "--min-ttl needs a time span such as 90s, 10m or 1h", "token"),
        (
            &["login", "--device-auth", "--no-browser"],
            "--device-auth and --no-browser exclude each other",
            "login",
        ),
        (&["login", "--revoke-old", "--keep-old"], "--revoke-old and --keep-old exclude each other", "login"),
        (&["token", "--json", "--header"], "--json and --header exclude each other", "token"),
        (&["token", "--json", "--json"], "--json was given twice", "token"),
        (&["sync", "rn"], "unknown command 'rn' for `codex sync`", "sync"),
        (&["-c", "foo", "status"], "-c needs KEY=VALUE", "status"),
        (&["--json", "man", "/"], "this command has no --json", "man"),
    ] {
        if words[0] == "--json" {
            let ended = run(words).refused(2);
            assert!(ended.err.starts_with(&format!("error: {message}\n\n")), "{ended}");
            continue;
        }
        is_misuse(words, message, &[&format!("codex {command} --help")]);
    }
    is_misuse(&["-c"], "-c needs KEY=VALUE", &["codex --help"]);
    is_misuse(&["status", "-c", "foo"], "-c needs KEY=VALUE", &["codex status --help"]);
    is_misuse(
        &["login", "--devce-auth"],
        "unexpected argument '--devce-auth' for `codex login`",
        &["did you mean --device-auth?", "codex login --help"],
    );
    is_misuse(
        &["login", "--api-key", "sk-marked"],
        "an API key is not taken from the command line",
        &["printenv OPENAI_API_KEY | codex login --with-api-key", "codex login --help"],
    );
    is_misuse(
        &["lgoin"],
        "unknown command 'lgoin', and no other codex was found on PATH to pass it to",
        &[
            "did you mean `codex login`?",
            "install OpenAI's Codex in a folder on PATH, before or after this program",
            "codex --help",
        ],
    );
}

#[test]
fn a_usage_error_never_repeats_what_may_be_a_secret() {
    let token = format!("eyJ{}", "a1B2".repeat(20));
    for secret in ["sk-marked", "at-marked", "hunter2marked", "Marked-Horse-Battery-Staple", &token] {
        for words in [
            &["login", secret][..],
            &["login", "--with-api-key", secret],
            &[&format!("--{secret}")],
            &["token", secret],
            &["token", "--min-ttl", secret],
            &["login", "--store", secret],
            &["-c", secret, "status"],
            &["-c", &format!("{secret}=1"), "status", "--x"],
            &[&format!("login --x={secret}")],
            &["login", &format!("--with-api-key={secret}")],
            &["sync", secret],
            &["help", secret],
            &[secret],
        ] {
            let ended = run(words).refused(2);
            assert!(!ended.to_string().to_lowercase().contains("marked"), "{words:?}\n{ended}");
            assert!(!ended.to_string().contains(&token), "{words:?}\n{ended}");
        }
    }
}

#[test]
fn help_is_a_command_too() {
    assert_eq!(run(&["help"]).expect(0).out, run(&["--help"]).expect(0).out);
    assert_eq!(run(&["help", "login"]).expect(0).out, run(&["login", "--help"]).expect(0).out);
    assert_eq!(run(&["help", "sync", "run"]).expect(0).out, run(&["sync", "run", "--help"]).expect(0).out);
    assert_eq!(run(&["-v", "help", "token"]).expect(0).out, run(&["token", "-h"]).expect(0).out);
    let unknown = run(&["help", "exec"]).refused(2);
    assert!(unknown.err.starts_with("error: unknown command 'exec', and no other codex"), "{unknown}");
}

#[test]
fn help_has_examples_exit_codes_and_a_link() {
    let overview = run(&["--help"]).expect(0).out;
    assert!(overview.contains("\nExit codes:\n    0  done\n    1  failed, or not logged in\n"), "{overview}");
    assert!(overview.contains("  130  interrupted\n"), "{overview}");
    for command in COMMANDS {
        let page = run(&[command, "--help"]).expect(0).out;
        let (_, end) = page.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{page}"));
        assert!(end.contains(&format!(" codex {command}")), "{page}");
        assert!(
            end.ends_with("\nMore: codex --help, or https://github.com/codex-auth/codex-auth\n"),
            "{page}"
        );
    }
    assert!(overview.contains("\nExamples:\n  codex login ") && overview.contains("https://"), "{overview}");
}

#[test]
fn manual_pages_have_examples_and_a_link() {
    let home = TestHome::new();
    let folder = home.beside("man1");
    home.codex(["man", folder.to_str().unwrap()]).run().expect(0);
    for name in names(&folder).iter().filter(|name| name.matches('-').count() < 2) {
        let page = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(page.contains(".SH EXAMPLES\n.nf\ncodex") || name == "codex-app-server.1", "{name}\n{page}");
        assert!(
            page.contains("https://github.com/codex") || page.contains(r"https://github.com/codex\-auth"),
            "{page}"
        );
    }
}

#[test]
fn json_may_stand_before_the_command() {
    let home = TestHome::new();
    let run = |words: &[&str]| home.codex(words.iter().copied()).run();
    for (before, after) in [
        (&["--json", "status"][..], &["status", "--json"][..]),
        (&["-v", "--json", "login", "status"], &["login", "status", "--json"]),
        (&["--json", "-q", "logout"], &["logout", "--json"]),
        (&["--json", "token"], &["token", "--json"]),
        (&["--json", "sync", "status"], &["sync", "status", "--json"]),
    ] {
        let (before, after) = (run(before), run(after));
        assert_eq!((before.code, &before.out), (after.code, &after.out));
        assert!(before.json()["schema"].is_number(), "{before}");
    }
    let header = run(&["--json", "token", "--header"]).refused(2);
    assert!(header.err.starts_with("error: --json and --header exclude each other\n"), "{header}");
}

#[test]
fn quiet_leaves_data_warnings_and_errors() {
    let home = TestHome::new();
    let run = |words: &[&str]| home.codex(words.iter().copied()).input("sk-1").run();
    let login = run(&["-q", "login", "--with-api-key", "--store", "auto"]).expect(0);
    assert!(login.out.is_empty() && login.err.starts_with("warning: the keychain is not used"), "{login}");
    assert_eq!(login.err.lines().count(), 1, "{login}");
    assert_eq!(run(&["token", "--quiet"]).expect(0).out, "sk-1\n");
    for words in [&["-q", "refresh"][..], &["-q", "migrate", "--to", "file"], &["logout", "-q"]] {
        assert_eq!(run(words).expect(0).to_string(), "exit 0\n--- stdout\n--- stderr\n", "{words:?}");
    }
    assert!(run(&["-q", "token"]).refused(1).err.contains("not logged in"));
}

#[test]
fn the_second_name_is_used_in_messages_help_and_version() {
    let home = TestHome::new();
    let folder = home.beside("own");
    symlink(crate::support::program(), folder.join("codex-auth")).unwrap();
    let run = |words: &[&str]| second(&home, &folder.join("codex-auth"), words).run();
    assert_eq!(run(&["--version"]).expect(0).out, format!("codex-auth {}\n", env!("CARGO_PKG_VERSION")));
    assert!(run(&["status"]).expect(1).err.contains("hint: log in first: codex-auth login\n"));
    assert!(run(&["token", "--foo"]).refused(2).err.ends_with("hint: codex-auth token --help\n"));
    let json = run(&["token", "--json"]).expect(1).json();
    assert_eq!(json["error"]["hints"][0], "log in first: codex-auth login");
    home.write("auth.json", "[]");
    let doctor = run(&["doctor"]).expect(1);
    assert!(doctor.out.contains(": codex-auth login"), "{doctor}");
    home.write("config.toml", "auth_token = \"x\"\n");
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
    let ended = run(&["status"]).expect(0);
    assert!(ended.err.contains("`codex-auth logout` removes it"), "{ended}");
    let json = run(&["status", "--json"]).expect(0).json();
    assert!(json["warnings"][0].as_str().unwrap().contains("`codex-auth logout`"), "{json:#}");
    for command in ["login", "token", "sync"] {
        let page = run(&[command, "--help"]).expect(0).out;
        assert!(!page.contains("codex login") && page.contains(&format!("  codex-auth {command}")), "{page}");
    }
}

#[test]
fn a_usage_error_is_json_where_json_is_asked_for() {
    for (words, message) in [
        (&["status", "--json", "--nope"][..], "unexpected argument '--nope' for `codex status`"),
        (&["--json", "token", "now"], "unexpected argument 'now' for `codex token`"),
        (&["token", "--json", "--min-ttl"], "--min-ttl needs a value"),
        (&["--json", "-c", "foo", "status"], "-c needs KEY=VALUE"),
        (&["hi", "logout", "--json"], "'logout' after a prompt is not passed on to another codex"),
    ] {
        let ended = run(words).refused(2);
        let error = &ended.json()["error"];
        assert_eq!((&error["message"], &error["kind"]), (&message.into(), &"usage".into()), "{ended}");
    }
    assert_eq!(run(&["token", "now", "--", "--json"]).refused(2).out, "");
}
