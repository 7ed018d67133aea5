//! Command lines given to OpenAI's Codex alone and to this program in front of it: exit code, output and effect.

use std::path::Path;
use std::thread;

use codex_auth::config::{CODEX_COMMANDS, CODEX_OPTIONS, OptionArity, OptionScope};

use super::codex::{codex_0169, codex_0171};
use crate::support::{Run, TestHome};

/// What this program does with a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// As Codex: the same exit code, something or nothing on standard output, and the login stored or removed.
    Same,
    /// It exits with this code; the login is stored.
    Stored(i32),
    /// It logs out.
    LogsOut,
}

use Expected::{LogsOut, Same, Stored};

type Line = (&'static [&'static str], Expected);

const THREADS: usize = 4;

const LINES: &[Line] = &[
    // The sessions of Codex, which need a terminal.
    (&[], Same),
    (&["a prompt"], Same),
    (&["-m", "x", "a prompt"], Same),
    (&["--", "logout"], Same),
    (&["-i", "a.png", "logout"], Same),
    (&["-i", "a.png", "--", "logout"], Same),
    (&["-i", "a.png", "login", "status"], Same),
    (&["-m", "logout"], Same),
    (&["logou"], Same),
    (&["-m", "x", "token"], Same),
    (&["exec", "logout"], Same),
    (&["hi", "token"], Same),
    (&["-c"], Same),
    (&["--json"], Same),
    (&["-v"], Same),
    (&["--version"], Same),
    (&["--version", "logout"], Same),
    (&["--help"], Same),
    (&["-h", "logout"], Same),
    (&["exec", "--help"], Same),
    (&["help"], Same),
    (&["help", "exec"], Same),
    (&["help", "nope"], Same),
    (&["help", "login"], Same),
    (&["help", "login", "status"], Same),
    (&["help", "logout"], Same),
    (&["completion", "bash"], Same),
    (&["completion", "nope"], Same),
    (&["features", "list"], Same),
    // The login.
    (&["login", "status"], Same),
    (&["login", "status", "-c", "model=x"], Same),
    (&["login", "status", "-c=model=x"], Same),
    (&["login", "status", "--enable", "web_search"], Same),
    (&["login", "-c", "model=x", "status"], Same),
    (&["-c", "model=x", "login", "status"], Same),
    (&["-c", "cli_auth_credentials_store=file", "login", "status"], Same),
    (&["-m", "x", "login", "status"], Same),
    (&["--search", "login", "status"], Same),
    (&["--no-daemon", "login", "status"], Same),
    (&["--oss", "login", "status"], Same),
    (&["-C", "/tmp", "login", "status"], Same),
    (&["-s", "read-only", "login", "status"], Same),
    (&["--profile", "p", "login", "status"], Same),
    (&["--strict-config", "login", "status"], Same),
    (&["--remote", "unix://", "login", "status"], Same),
    (&["hi", "login", "status"], Same),
    (&["login", "status", "extra"], Same),
    (&["login", "status", "-m", "x"], Same),
    (&["login", "-m", "x", "status"], Same),
    (&["login", "--strict-config", "status"], Same),
    (&["login", "--stat"], Same),
    (&["login", "nope"], Same),
    (&["login", "--nope"], Same),
    (&["login", "--", "status"], Same),
    (&["login", "help"], Same),
    (&["login", "help", "status"], Same),
    (&["login", "--help"], Same),
    (&["login", "status", "--help"], Same),
    (&["login", "--with-api-key"], Same),
    (&["login", "--with-access-token"], Same),
    (&["--with-api-key", "login"], Same),
    // The logout.
    (&["logout"], Same),
    (&["logout", "--"], Same),
    (&["logout", "-c", "model=x"], Same),
    (&["logout", "-c=model=x"], Same),
    (&["logout", "-m", "x"], Same),
    (&["logout", "--nope"], Same),
    (&["logout", "extra"], Same),
    (&["logout", "--help"], Same),
    (&["-m", "x", "logout"], Same),
    (&["-m=x", "logout"], Same),
    (&["--search", "logout"], Same),
    (&["--oss", "--no-daemon", "logout"], Same),
    (&["-c=model=x", "logout"], Same),
    (&["-i=a.png", "logout"], Same),
    (&["-i", "a.png", "-m", "x", "logout"], Same),
    (&["--yolo", "logout"], Same),
    (&["--strict-config", "logout"], Same),
    (&["--profile", "p", "logout"], Same),
    (&["--remote", "unix://", "logout"], Same),
    (&["--worktree", "logout"], Same),
    (&["--mod", "x", "logout"], Same),
    (&["--nope", "logout"], Same),
    (&["-m", "--search", "logout"], Same),
    // The app-server.
    (&["app-server"], Same),
    (&["app-server", "--stdio"], Same),
    (&["-m", "x", "app-server"], Same),
    (&["--strict-config", "app-server"], Same),
    (&["-c", "model=x", "app-server"], Same),
    (&["app-server", "--help"], Same),
    (&["app-server", "nope"], Same),
    (&["app-server", "--nope"], Same),
    (&["app-server", "--listen", "nope"], Same),
    (&["app-server", "-m", "x"], Same),
    (&["-p", "x", "app-server"], Same),
    (&["app-server", "daemon"], Same),
    (&["doctor", "--nope"], Same),
    (&["doctor", "extra"], Same),
    // Ours.
    (&["status"], Stored(0)),
    (&["-c", "model=x", "status"], Stored(0)),
    (&["token"], Stored(0)),
    (&["completions", "bash"], Stored(0)),
    (&["help", "status"], Stored(0)),
    (&["login", "status", "--json"], Stored(0)),
    (&["logout", "--json"], LogsOut),
    (&["logout", "--force"], LogsOut),
    // Stricter than Codex, which logs out after a prompt, or less strict, because the values are not used.
    (&["hi", "logout"], Stored(2)),
    (&["-", "logout"], Stored(2)),
    (&["-c", "model", "logout"], Stored(2)),
    (&["login", "--with-api-key", "status"], Stored(2)),
    (&["login", "--api-key", "sk-x"], Stored(2)),
    (&["login", "--with-api-key", "--with-access-token"], Stored(2)),
    (&["--enable", "nope", "logout"], LogsOut),
    (&["-s", "nope", "logout"], LogsOut),
    (&["-m", "x", "-m", "y", "logout"], LogsOut),
];

/// The exit code, whether there was standard output, and whether the login is stored.
type Outcome = (Option<i32>, bool, bool);

fn outcome(words: &[&str], run: impl FnOnce(&TestHome) -> Run) -> Outcome {
    let home = TestHome::new();
    home.write("auth.json", r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test-1234567890"}"#);
    let user = home.beside("user");
    // Without a network, and not in a repository, where `codex exec` would begin to work.
    let here = user.to_str().unwrap().to_owned();
    let run = run(&home).env("HOME", user).env("TERM", "dumb");
    let run = run.through(["unshare", "-n", "env", "-C", &here]);
    let ended = run.run();
    assert!(!ended.err.contains("panicked"), "{words:?}\n{ended}");
    (ended.code, !ended.out.is_empty(), home.document().exists())
}

/// Compares every line, a few at a time, because Codex waits for the network in some.
fn compare(codex: &Path) {
    let parts = thread::scope(|scope| {
        let parts: Vec<_> = (0..THREADS)
            .map(|first| scope.spawn(move || differences(codex, LINES.iter().skip(first).step_by(THREADS))))
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).collect::<Vec<_>>()
    });
    let differences = parts.concat();
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), LINES.len(), differences.join("\n"));
}

fn differences<'a>(codex: &Path, lines: impl Iterator<Item = &'a Line>) -> Vec<String> {
    let mut differences = Vec::new();
    for (words, expected) in lines {
        let ours = outcome(words, |home| {
            let next = home.beside("next");
            std::os::unix::fs::symlink(codex, next.join("codex")).unwrap();
            home.codex(words.iter().copied()).env("PATH", crate::cli::hand_over::path([&*next]))
        });
        let is_expected = match expected {
            Same => {
                let theirs =
                    outcome(words, |home| Run::of(codex, words.iter().copied()).envs(home.variables()));
                if ours != theirs {
                    differences.push(format!("{words:?}: {ours:?}, Codex {theirs:?}"));
                }
                continue;
            }
            Stored(code) => (ours.0, ours.2) == (Some(*code), true),
            LogsOut => (ours.0, ours.2) == (Some(0), false),
        };
        if !is_expected {
            differences.push(format!("{words:?}: {ours:?}, expected {expected:?}"));
        }
    }
    differences
}

#[test]
fn command_lines_behave_as_with_codex_0169_alone() {
    compare(&codex_0169());
}

#[test]
fn command_lines_behave_as_with_codex_0171_alone() {
    compare(&codex_0171());
}

#[test]
fn the_table_of_options_is_that_of_the_help_of_codex() {
    for codex in [codex_0169(), codex_0171()] {
        let home = TestHome::new();
        let help = |words: &[&str]| {
            Run::of(&codex, words.iter().copied()).envs(home.variables()).run().expect(0).out
        };
        let page = help(&["--help"]);
        let mut seen = Vec::new();
        for line in
            page.lines().map(str::trim_start).filter(|line| line.starts_with('-') && !line.starts_with("- "))
        {
            let (short, line) = match line.split_once(", ") {
                Some((short, long)) => (short.chars().nth(1), long),
                None => (None, line),
            };
            let end = line.find([' ', '\n']).unwrap_or(line.len());
            let (long, value) = line.split_at(end);
            let arity = match (long, value.trim_start()) {
                ("--help" | "--version", _) => OptionArity::Exits,
                (_, value) if value.starts_with('<') && value.contains("...") => OptionArity::Many,
                (_, value) if value.starts_with('<') => OptionArity::One,
                _ => OptionArity::None,
            };
            let known = CODEX_OPTIONS.iter().find(|option| option.long == long);
            let known = known.unwrap_or_else(|| panic!("{long} is not in the table"));
            assert_eq!((known.short, known.arity), (short, arity), "{long}");
            seen.push(long.to_owned());
        }
        // Not on the page.
        seen.push("--yolo".to_owned());
        let missing = CODEX_OPTIONS.iter().filter(|option| option.scope != OptionScope::Ours);
        let missing: Vec<_> =
            missing.map(|option| option.long).filter(|long| !seen.iter().any(|seen| seen == long)).collect();
        assert_eq!(missing, [""; 0], "the page does not have these");
        // The completion script has the hidden commands too.
        let script = help(&["completion", "bash"]);
        let commands =
            script.lines().filter_map(|line| line.trim().strip_prefix("codex,")?.strip_suffix(')'));
        let commands: Vec<_> = commands.collect();
        assert!(commands.len() > 20, "{commands:?}");
        for command in commands {
            assert!(CODEX_COMMANDS.contains(&command), "{command} is not in the table");
        }
    }
}
