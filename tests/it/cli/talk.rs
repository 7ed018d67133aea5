//! The program as a whole: help, version, usage errors and colour.

use super::COMMANDS;
use crate::support::{TestHome, snapshot_filters};

const API_KEY: &str = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#;

#[test]
fn help_is_short_and_names_every_command() {
    let home = TestHome::new();
    insta::assert_snapshot!(home.codex(["--help"]).run(), @r"
    exit 0
    --- stdout
    Keeps one login alive for every program on this machine

    Usage: codex [OPTIONS] <COMMAND>

    Commands:
      login        Log in: store a credential for every program on this machine
      logout       Log out: revoke the tokens and remove the login from this machine
      status       Show the account, the store, the expiry and whether the login is usable
      token        Print an access token, refreshed if it is about to expire
      refresh      Get a new access token now
      migrate      Move the login to another store
      watch        Print every change of the login, by any program, until interrupted
      log          Print what happened to the login on this machine
      why          Explain why the login does not work, or why it was lost the last time
      top          Show all logins and every change on the whole screen; log in and out there
      run          Run a command with a private home that holds an access token, and no refresh token
      sync         Keep the login fresh in the background
      fleet        Share one login between several hosts, through etcd
      account      Keep several logins, and choose between them
      doctor       Find what is wrong with a login, and print how to fix it
      app-server   Answer an editor's requests about the account, and pass on the others
      completions  Print a completion script for a shell
      man          Write the manual pages into a folder

    Options:
          --json            Report as JSON
          --account <NAME>  Use this account, whichever is active
      -q, --quiet           Print only data, warnings and errors
      -v, --verbose         Show what caused an error, down to the message of the operating system
      -h, --help            Print help
      -V, --version         Print version

    codex help COMMAND prints the help of a command. Before a command, -c KEY=VALUE sets a key of
    config.toml that concerns the login, for one run.

    Examples:
      codex login                  log in with a browser
      codex login --device-auth    log in on a remote or headless machine
      codex status                 show the account, the store and the expiry
      codex token                  print an access token

    In front of OpenAI's Codex, under the name codex:
      app-server  over stdio, this program for the account and Codex for the rest; else Codex
      completion  this program; the script knows the commands of both
      doctor      this program, then Codex
      help        this program for its own commands, Codex for the others
      login       this program, or Codex with an option that only Codex has
      logout      this program, never Codex, which removes a login that it could not revoke
      account, completions, fleet, log, man, migrate, refresh, run, status, sync,
        token, top, watch, whoami, why
                  this program; for Codex alone, prompts of one word
      anything else
                  Codex, after a refresh if the command uses a stale login

    Exit codes:
        0  done
        1  failed, or not logged in
        2  wrong usage
        3  log in again: the login is expired, revoked, refused or of another account
        4  try again: the network or the server failed
        5  the store is unavailable: no keychain, a locked one, or a folder that cannot be written
        6  gave up waiting for a lock that another process holds
      130  interrupted

    More: https://github.com/codex-auth/codex-auth
    --- stderr
    ");
    for command in COMMANDS {
        let ended = home.codex([command, "--help"]).run().expect(0);
        assert!(ended.out.contains("Usage: codex ") && ended.err.is_empty(), "{ended}");
    }
    assert!(home.names().is_empty());
}

#[test]
fn the_version_is_that_of_the_package() {
    for flag in ["-V", "--version"] {
        let ended = TestHome::new().codex([flag]).run().expect(0);
        assert_eq!(ended.out, format!("codex {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_usage_error_exits_with_2_and_is_on_stderr() {
    let home = TestHome::new();
    insta::assert_snapshot!(home.codex(["lgoin"]).run(), @r"
    exit 2
    --- stdout
    --- stderr
    error: unknown command 'lgoin', and no other codex was found on PATH to pass it to

    hint: did you mean `codex login`?
    hint: install OpenAI's Codex in a folder on PATH, before or after this program
    hint: codex --help
    ");
    for line in [&[][..], &["status", "--yaml"], &["token", "now"], &["completions", "cmd"]] {
        let ended = home.codex(line.iter().copied()).run().expect(2);
        assert!(ended.out.is_empty() && !ended.err.is_empty(), "{ended}");
    }
}

#[test]
fn there_is_no_colour_where_there_is_no_terminal() {
    let home = TestHome::new();
    let plain = |arguments: &[&str]| {
        let ended = home.codex(arguments.iter().copied()).env("CLICOLOR", "1").run();
        assert!(!ended.to_string().contains('\u{1b}'), "{ended}");
    };
    plain(&["status"]);
    plain(&["token"]);
    home.write("auth.json", API_KEY);
    plain(&["status"]);
    plain(&["migrate", "--to", "file"]);
}

#[test]
fn a_terminal_shows_colour_unless_its_user_wants_none() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.write("auth.json", API_KEY);
    let coloured = home.codex(["status"]).on_a_terminal().run();
    insta::assert_snapshot!(coloured.to_string().replace('\u{1b}', "ESC"), @r"
    exit 0
    --- stdout
      ESC[2mmethod     ESC[0m  apikey
      ESC[2mfingerprintESC[0m  f3abf2a6cc4f0098
      ESC[2mstored in  ESC[0m  file store, [home]/auth.json (it is the default)
      ESC[2musable     ESC[0m  ESC[32myesESC[0m
    --- stderr
    ");
    let plain = home.codex(["status"]).env("NO_COLOR", "1").on_a_terminal().run();
    insta::assert_snapshot!(plain.out, @r"
    method       apikey
    fingerprint  [fingerprint]
    stored in    file store, [home]/auth.json (it is the default)
    usable       yes
    ");
    // An empty variable counts as unset (no-color.org).
    let coloured = home.codex(["status"]).env("NO_COLOR", "").on_a_terminal().run();
    assert!(coloured.out.contains('\u{1b}'), "{coloured}");
}

#[test]
fn errors_are_coloured_on_a_terminal_unless_its_user_wants_none() {
    let home = TestHome::new();
    let missing = home.file("missing");
    // Errors before and after the environment is read, and while it is read.
    let mut printed = String::new();
    for arguments in
        [&["token"][..], &["login", "--api-key", "sk-x"], &["login", "--with-api-key"], &["lgoin"]]
    {
        let coloured = home.codex(arguments.iter().copied()).on_a_terminal().run();
        assert!(coloured.out.contains("\u{1b}["), "{coloured}");
        let plain = home.codex(arguments.iter().copied()).env("NO_COLOR", "1").on_a_terminal().run();
        if plain.out.contains('\u{1b}') {
            printed.push_str(&format!("{arguments:?}\n"));
        }
    }
    let plain = home.codex(["status"]).env("CODEX_HOME", &missing).env("NO_COLOR", "1").on_a_terminal().run();
    assert!(!plain.out.contains('\u{1b}'), "{plain}");
    assert_eq!(printed, "", "coloured all the same");
}

#[test]
fn verbose_shows_the_cause_of_an_error() {
    let home = TestHome::new();
    let _filters = snapshot_filters(&home);
    home.write("auth.json", "{\"OPENAI_API_KEY\": \"sk-mark");
    insta::assert_snapshot!(home.codex(["status"]).run(), @r"
    exit 1
    --- stdout
    --- stderr
    error: cannot parse [home]/auth.json: it is not valid JSON
    hint: log in again to replace it: codex login
    ");
    for line in [&["-v", "status"], &["status", "--verbose"]] {
        let ended = home.codex(line.iter().copied()).run();
        insta::allow_duplicates!(insta::assert_snapshot!(ended, @r"
        exit 1
        --- stdout
        --- stderr
        error: cannot parse [home]/auth.json: it is not valid JSON
          caused by: EOF while parsing a string at line 1 column 27
        hint: log in again to replace it: codex login
        "));
    }
}

#[test]
fn an_invalid_time_limit_is_refused_with_its_variable() {
    let home = TestHome::new();
    let ended = home.codex(["status"]).env("CODEX_AUTH_KEYCHAIN_TIMEOUT", "soon").run();
    insta::assert_snapshot!(ended, @r"
    exit 1
    --- stdout
    --- stderr
    error: CODEX_AUTH_KEYCHAIN_TIMEOUT must be a duration such as 5s, 500ms or 2m
    ");
}
