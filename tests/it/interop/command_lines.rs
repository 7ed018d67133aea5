//! Command lines given to OpenAI's Codex alone and to this program in front of it: exit code, output and effect.

use std::path::Path;
use std::thread;

use codex_auth::config::{CODEX_COMMANDS, CODEX_OPTIONS, OptionArity, OptionScope};

use super::codex::{codex_0169, codex_0171};
use crate::support::{Run, TestHome};

/// What this program does with a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// As Codex: the same exit code, something or nothing on each stream, and the login stored or removed. If Codex runs
    /// it, the same text on standard output.
    Same,
    /// It exits with this code, and the login is stored, for this reason.
    Stored(i32, &'static str),
    /// It logs out, for this reason.
    LogsOut(&'static str),
}

use Expected::{LogsOut, Same, Stored};

type Line = (&'static [&'static str], Expected);

const THREADS: usize = 4;
const OWN_COMMAND: &str = "a command of codex-auth; to Codex it is a prompt, or unknown";
const OWN_OPTION: &str = "an option of codex-auth; Codex does not have it";
/// The words of a line that this program may run; Codex runs all others.
const SHARED: [&str; 10] =
    ["app-server", "completion", "doctor", "help", "login", "logout", "--help", "-h", "--version", "-V"];
/// Begins a line of Codex about its home in the temporary folder.
const ABOUT_THE_HOME: &str = "WARNING: proceeding, even though we could not create PATH aliases";

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
    (&["completion"], Same),
    (&["completion", "zsh", "-c", "model=x"], Same),
    (&["completion", "--help"], Same),
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
    (&["whoami"], Stored(0, OWN_COMMAND)),
    (&["status"], Stored(0, OWN_COMMAND)),
    (&["-c", "model=x", "status"], Stored(0, OWN_COMMAND)),
    (&["token"], Stored(0, OWN_COMMAND)),
    (&["completions", "bash"], Stored(0, OWN_COMMAND)),
    (&["help", "status"], Stored(0, OWN_COMMAND)),
    (&["login", "status", "--json"], Stored(0, OWN_OPTION)),
    (&["logout", "--json"], LogsOut(OWN_OPTION)),
    (&["logout", "--force"], LogsOut(OWN_OPTION)),
    // Stricter than Codex, which logs out after a prompt, or less strict, because the values are not used.
    (
        &["hi", "logout"],
        Stored(2, "Codex logs out although a prompt stands before it; that is probably a mistake"),
    ),
    (
        &["-", "logout"],
        Stored(2, "Codex logs out although a prompt stands before it; that is probably a mistake"),
    ),
    (&["-c", "model", "logout"], Stored(2, "a usage error, which has another exit code in Codex")),
    (
        &["login", "--with-api-key", "status"],
        Stored(2, "the option does not belong to `status`, and Codex ignores it"),
    ),
    (&["login", "--api-key", "sk-x"], Stored(2, "a usage error, which has another exit code in Codex")),
    (
        &["login", "--with-api-key", "--with-access-token"],
        Stored(2, "a usage error, which has another exit code in Codex"),
    ),
    (&["--enable", "nope", "logout"], LogsOut("Codex refuses an option that a logout does not use")),
    (&["-s", "nope", "logout"], LogsOut("Codex refuses an option that a logout does not use")),
    (&["-m", "x", "-m", "y", "logout"], LogsOut("Codex refuses an option that a logout does not use")),
];

/// What a command line did.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: bool,
    is_stored: bool,
}

impl Outcome {
    /// Without the text of standard output, which is another one if this program runs the line.
    fn in_kind(self) -> Self {
        Self { out: if self.out.is_empty() { String::new() } else { "…".to_owned() }, ..self }
    }
}

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
    let err = ended.err.lines().any(|line| !line.starts_with(ABOUT_THE_HOME));
    Outcome { code: ended.code, out: ended.out, err, is_stored: home.document().exists() }
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
                let is_shared = words.iter().any(|word| SHARED.contains(word));
                let in_kind = |of: Outcome| if is_shared { of.in_kind() } else { of };
                let theirs =
                    || outcome(words, |home| Run::of(codex, words.iter().copied()).envs(home.variables()));
                let (ours, theirs) = (in_kind(ours), [(); 3].map(|()| in_kind(theirs())));
                // On a loaded machine Codex may end before it has warned of something.
                if !theirs.contains(&ours) {
                    differences.push(format!("{words:?}: {ours:?}, Codex {:?}", theirs[0]));
                }
                continue;
            }
            Stored(code, _) => (ours.code, ours.is_stored) == (Some(*code), true),
            LogsOut(_) => (ours.code, ours.is_stored) == (Some(0), false),
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

/// The part of the README about these command lines.
fn documented() -> String {
    let same = LINES.iter().filter(|(_, expected)| *expected == Same).count();
    let mut reasons: Vec<&str> = Vec::new();
    let mut rows = String::new();
    for (_, expected) in LINES {
        let (Stored(_, reason) | LogsOut(reason)) = expected else { continue };
        if reasons.contains(reason) {
            continue;
        }
        reasons.push(reason);
        let alike = LINES.iter().filter(|(_, other)| match other {
            Stored(_, other) | LogsOut(other) => other == reason,
            Same => false,
        });
        let alike: Vec<_> = alike.map(|(words, _)| format!("`{}`", words.join(" "))).collect();
        let effect = match expected {
            Stored(0, _) | Same => "runs",
            Stored(..) => "exits with 2, and the login stays",
            LogsOut(_) => "logs out",
        };
        rows.push_str(&format!("| {} | {effect} | {reason} |\n", alike.join(", ")));
    }
    format!(
        "{} command lines are given to Codex 0.169 and 0.171 alone, and to codex-auth in front of them: {same} have the\n\
         same exit code, streams and effect. These {} differ on purpose:\n\n\
         | after `codex` | codex-auth | why |\n|---|---|---|\n{rows}",
        LINES.len(),
        LINES.len() - same
    )
}

#[test]
fn the_readme_has_every_command_line_that_differs_with_its_reason() {
    let readme = std::fs::read_to_string(crate::structure::root().join("README.md")).unwrap();
    let documented = documented();
    assert!(readme.contains(&documented), "the README lacks:\n{documented}");
}

#[test]
fn the_readme_says_who_runs_a_command_as_the_help_does() {
    let readme = std::fs::read_to_string(crate::structure::root().join("README.md")).unwrap();
    let help = TestHome::new().codex(["--help"]).run().expect(0).out;
    let (_, section) = help.split_once("\nIn front of OpenAI's Codex, under the name codex:\n").unwrap();
    let (section, _) = section.split_once("\n\n").unwrap();
    let section = section.replace("\n              ", "  ").replace(",\n    ", ", ");
    assert_eq!(section.lines().count(), 8, "{section}");
    for line in section.lines() {
        let (names, who) = line.trim_start().split_once("  ").unwrap();
        let names = match names {
            "anything else" => names.to_owned(),
            names => names.split(", ").map(|name| format!("`codex {name}`")).collect::<Vec<_>>().join(", "),
        };
        let row = format!("| {names} | {} |\n", who.trim());
        assert!(readme.contains(&row), "the README lacks:\n{row}");
    }
}

#[test]
fn the_table_of_options_is_that_of_the_help_of_codex() {
    let mut seen_commands = std::collections::BTreeSet::new();
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
        for command in &commands {
            assert!(CODEX_COMMANDS.contains(command), "{command} is not in the table");
        }
        seen_commands.extend(commands.iter().map(|command| (*command).to_owned()));
    }
    // Another name of `cloud`, which the script does not have.
    seen_commands.insert("cloud-tasks".to_owned());
    assert_eq!(seen_commands.iter().map(String::as_str).collect::<Vec<_>>(), CODEX_COMMANDS);
}
