//! The program as a whole: help, misuse, what goes to which stream, and colour.

use crate::support::{TestHome, snapshot_filters};

const API_KEY: &str = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#;

#[test]
fn help_is_short_and_names_every_command() {
    let home = TestHome::new();
    insta::assert_snapshot!(home.codex(["--help"]).run(), @r"
    exit 0
    --- stdout
    Keeps one login alive and in one place for everything on this machine that uses it

    Usage: codex [OPTIONS] <COMMAND>

    Commands:
      login        Log in: keep a credential for everything on this machine
      logout       Log out: remove the login from this machine
      status       Show who is logged in, how, where it is kept and until when
      token        Print one valid access token
      refresh      Get a new access token now
      migrate      Move the login to another store
      watch        Show every change of the login, by whichever program, until interrupted
      sync         Keep the login fresh ahead of time, so that no program ever waits for it
      doctor       Look for what is wrong with a login, and say what mends it
      app-server   Answer an editor's questions about the account, and pass its other requests on
      completions  Print a completion script for a shell
      man          Write the manual pages into a folder

    Options:
      -v, --verbose  Show what caused an error, down to the system's own words
      -h, --help     Print help
      -V, --version  Print version

    Before a command, -c KEY=VALUE sets a key of config.toml that concerns the login, for one run.
    --- stderr
    ");
    for command in [
        "login",
        "logout",
        "status",
        "token",
        "migrate",
        "watch",
        "sync",
        "doctor",
        "app-server",
        "completions",
        "man",
    ] {
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
fn misuse_exits_with_2_and_says_so_on_stderr() {
    let home = TestHome::new();
    insta::assert_snapshot!(home.codex(["lgoin"]).run(), @r"
    exit 2
    --- stdout
    --- stderr
    error: unrecognized subcommand 'lgoin'

      tip: a similar subcommand exists: 'login'

    Usage: codex [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    for line in [&[][..], &["status", "--yaml"], &["token", "now"], &["completions"], &["completions", "cmd"]]
    {
        let ended = home.codex(line.iter().copied()).run().expect(2);
        assert!(ended.out.is_empty() && !ended.err.is_empty(), "{ended}");
    }
}

#[test]
fn there_is_no_colour_where_there_is_no_terminal() {
    let home = TestHome::new();
    let plain = |arguments: &[&str]| {
        let ended = home.codex(arguments.iter().copied()).env("CLICOLOR_FORCE", "1").run();
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
      ESC[2mkept in    ESC[0m  file store, [home]/auth.json (it is the default)
      ESC[2musable     ESC[0m  ESC[32myesESC[0m
    --- stderr
    ");
    let plain = home.codex(["status"]).env("NO_COLOR", "1").on_a_terminal().run();
    insta::assert_snapshot!(plain.out, @r"
    method       apikey
    fingerprint  [fingerprint]
    kept in      file store, [home]/auth.json (it is the default)
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
    // Before and after the settings are known, and while they are read.
    let mut told = String::new();
    for arguments in
        [&["token"][..], &["login", "--api-key", "sk-x"], &["login", "--with-api-key"], &["lgoin"]]
    {
        let coloured = home.codex(arguments.iter().copied()).on_a_terminal().run();
        assert!(coloured.out.contains("\u{1b}["), "{coloured}");
        let plain = home.codex(arguments.iter().copied()).env("NO_COLOR", "1").on_a_terminal().run();
        if plain.out.contains('\u{1b}') {
            told.push_str(&format!("{arguments:?}\n"));
        }
    }
    let plain = home.codex(["status"]).env("CODEX_HOME", &missing).env("NO_COLOR", "1").on_a_terminal().run();
    assert!(!plain.out.contains('\u{1b}'), "{plain}");
    assert_eq!(told, "", "coloured all the same");
}

#[test]
fn what_caused_an_error_is_told_to_those_who_ask() {
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
fn a_time_limit_that_is_none_is_refused_by_the_name_of_its_variable() {
    let home = TestHome::new();
    let ended = home.codex(["status"]).env("CODEX_AUTH_KEYCHAIN_TIMEOUT", "soon").run();
    insta::assert_snapshot!(ended, @r"
    exit 1
    --- stdout
    --- stderr
    error: CODEX_AUTH_KEYCHAIN_TIMEOUT must be a duration such as 5s, 500ms or 2m
    ");
}
