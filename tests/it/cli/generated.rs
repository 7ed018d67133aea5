//! Completions and manual pages: they match the definition of the arguments, and other programs read them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::shells::{SHELLS, accepted, completed, completed_with, in_zsh, in_zsh_with};
use crate::support::{Run, TestHome, names, program};

/// The options of each command, by the words that call it.
fn definition(home: &TestHome) -> BTreeMap<Vec<String>, Vec<String>> {
    let mut known = BTreeMap::new();
    let mut rest = vec![Vec::new()];
    while let Some(command) = rest.pop() {
        let words = command.iter().map(String::as_str).chain(["--help"]);
        let help = home.codex(words.collect::<Vec<_>>()).run().expect(0).out;
        let mut section = "";
        let mut options = Vec::new();
        for line in help.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            match line {
                "Commands:" | "Options:" | "Arguments:" => section = line,
                _ if line.is_empty() => {}
                _ if !line.starts_with(' ') => section = "",
                _ if section == "Commands:" && line.starts_with("  ") && !line.starts_with("   ") => {
                    rest.push(command.iter().cloned().chain([first.to_owned()]).collect());
                }
                _ if section == "Options:" && first.starts_with('-') => {
                    let long = line.split_whitespace().find(|word| word.starts_with("--")).unwrap();
                    options.push(long.to_owned());
                }
                _ => {}
            }
        }
        assert!(options.contains(&"--help".to_owned()), "{command:?}\n{help}");
        known.insert(command, options);
    }
    known
}

/// Writes the manual pages into a new folder.
fn pages(home: &TestHome) -> PathBuf {
    let folder = home.path().with_file_name("share").join("man1");
    let ended = home.codex(["man", folder.to_str().unwrap()]).run().expect(0);
    let count = names(&folder).len();
    assert_eq!(ended.err, format!("wrote {count} manual pages into {}\n", folder.display()));
    assert!(ended.out.is_empty() && home.names().is_empty());
    folder
}

fn script(home: &TestHome, shell: &str) -> PathBuf {
    let ended = home.codex(["completions", shell]).run().expect(0);
    assert!(ended.err.is_empty(), "{ended}");
    home.write(&format!("codex.{shell}"), ended.out)
}

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let home = TestHome::new();
    let folder = pages(&home);
    let known = definition(&home);
    let page = |words: &Vec<String>| {
        let name: Vec<_> = ["codex".to_owned()].iter().chain(words).cloned().collect();
        format!("{}.1", name.join("-"))
    };
    let mut expected: Vec<_> = known.keys().map(page).collect();
    expected.sort();
    assert_eq!(names(&folder), expected);
    assert!(expected.contains(&"codex-sync-run.1".to_owned()) && expected.len() > 15, "{expected:?}");
    for (words, options) in &known {
        let printed = shown(&folder.join(page(words)));
        for option in options {
            assert!(printed.contains(option), "{words:?} {option}\n{printed}");
        }
    }
}

/// A manual page as mandoc shows it.
fn shown(page: &Path) -> String {
    let typed = accepted(Command::new("mandoc").args(["-T", "utf8", "-O", "width=1000"]).arg(page));
    // mandoc writes a bold letter twice, with a backspace between.
    typed.chars().fold(String::new(), |mut shown, letter| {
        match letter {
            '\u{8}' => drop::<Option<_>>(shown.pop()),
            letter => shown.push(letter),
        }
        shown
    })
}

#[test]
fn groff_and_mandoc_accept_the_manual_pages() {
    let home = TestHome::new();
    let folder = pages(&home);
    for name in names(&folder) {
        let page = folder.join(name);
        accepted(
            Command::new("groff").args(["-Kutf8", "-man", "-Tutf8", "-ww", "-rCHECKSTYLE=1"]).arg(&page),
        );
        accepted(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page));
    }
}

#[test]
fn the_page_of_the_program_has_environment_files_and_exit_codes() {
    let home = TestHome::new();
    let printed = shown(&pages(&home).join("codex.1"));
    for heading in ["COMMANDS", "ENVIRONMENT", "FILES", "EXIT STATUS"] {
        assert!(printed.contains(heading), "{heading}\n{printed}");
    }
    for variable in codex_auth::config::VARIABLES {
        assert!(
            printed.contains(variable.name) && printed.contains(variable.purpose),
            "{}\n{printed}",
            variable.name
        );
    }
    for word in ["auth.json", "codex-auth/rescue", "codex-sync(1)", "130"] {
        assert!(printed.contains(word), "{word}\n{printed}");
    }
    assert!(!printed.contains("transaction"), "{printed}");
}

/// A package that installs only `codex-auth` has no file in common with OpenAI's Codex.
#[test]
fn under_the_second_name_pages_and_completions_are_of_that_name() {
    let home = TestHome::new();
    let folder = home.beside("share");
    let second = home.beside("bin").join("codex-auth");
    std::os::unix::fs::symlink(program(), &second).unwrap();
    let run = |words: &[&str]| Run::of(&second, words.iter().copied()).envs(home.variables()).run().expect(0);
    run(&["man", folder.to_str().unwrap()]);
    let pages = names(&folder);
    assert!(pages.iter().all(|name| name.starts_with("codex-auth")), "{pages:?}");
    assert_eq!(pages.len(), names(&self::pages(&home)).len());
    let program = shown(&folder.join("codex-auth.1"));
    for words in ["codex-auth - ", "codex-auth-sync(1)", "codex-auth login --device-auth"] {
        assert!(program.contains(words), "{words}\n{program}");
    }
    let sync = shown(&folder.join("codex-auth-sync.1"));
    assert!(sync.contains("codex-auth(1)") && sync.contains("codex-auth sync install --now"), "{sync}");
    let completions = shown(&folder.join("codex-auth-completions.1"));
    assert!(completions.contains("completions/codex-auth.fish"), "{completions}");
    assert!(run(&["completions", "zsh"]).out.starts_with("#compdef codex-auth\n"));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let home = TestHome::new();
    let file = home.write("file", "");
    let ended = home.codex(["man", file.to_str().unwrap()]).run().refused(1);
    let printed = format!("error: cannot write manual pages into {}: ", file.display());
    assert!(ended.err.starts_with(&printed) && ended.err.contains("hint: name a folder"), "{ended}");
}

#[test]
fn completions_have_every_command_and_option_and_nothing_hidden() {
    let home = TestHome::new();
    let known = definition(&home);
    for shell in ["bash", "zsh", "fish"] {
        let text = std::fs::read_to_string(script(&home, shell)).unwrap();
        for (words, options) in &known {
            for word in words {
                assert!(text.contains(word), "{shell} {word}");
            }
            for option in options {
                let option = if shell == "fish" { option.trim_start_matches("--") } else { option };
                assert!(text.contains(option), "{shell} {words:?} {option}");
            }
        }
        let hidden = ["transaction", "api-key"];
        let text = text.replace("with-api-key", "").replace("with__api__key", "");
        assert!(!hidden.iter().any(|word| text.contains(word)), "{shell} knows what is hidden");
        accepted(Command::new(shell).arg("-n").arg(script(&home, shell)));
    }
}

#[test]
fn shells_complete_commands_options_and_stores() {
    let home = TestHome::new();
    for shell in SHELLS {
        let script = script(&home, shell);
        for (line, expected) in [
            ("codex lo", &["log", "login", "logout"][..]),
            ("codex token --min", &["--min-ttl"]),
            ("codex login --store ", &["auto", "file", "keychain"]),
            ("codex migrate --to ", &["file", "keychain"]),
            ("codex sync un", &["uninstall"]),
            ("codex tran", &[]),
        ] {
            assert_eq!(completed(shell, &script, line), expected, "{shell} {line}");
        }
        assert_eq!(in_zsh(&self::script(&home, "zsh"), "codex sync un"), "codex sync uninstall");
    }
}

#[test]
fn a_next_codex_without_a_script_delays_a_shell_for_seconds_at_most() {
    let home = TestHome::new();
    for (name, text) in [("hangs", "#!/bin/sh\nexec sleep 1000\n"), ("fails", "#!/bin/sh\necho no; exit 1\n")]
    {
        let next = super::hand_over::folder(&home, name, "codex", text);
        let begun = Instant::now();
        let ended = home.codex(["completion"]).env("PATH", super::hand_over::path([&*next])).run().expect(0);
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}: {:?}", begun.elapsed());
        let script = home.write(name, ended.out);
        // Codex's commands by name, and ours.
        assert_eq!(completed("bash", &script, "codex feat"), ["features"], "{name}");
        assert_eq!(completed("bash", &script, "codex token --min"), ["--min-ttl"], "{name}");
        let left = Command::new("pgrep").args(["-fx", "sleep 1000"]).output().unwrap();
        assert!(name == "fails" || left.stdout.is_empty(), "it still runs");
    }
}

#[test]
fn the_second_name_is_completed_too() {
    let home = TestHome::new();
    let second = home.beside("bin").join("codex-auth");
    std::os::unix::fs::symlink(program(), &second).unwrap();
    let run =
        |shell: &str| Run::of(&second, ["completions", shell]).envs(home.variables()).run().expect(0).out;
    assert!(run("bash").contains(" codex-auth\n"), "{}", run("bash"));
    assert!(run("zsh").starts_with("#compdef codex-auth\n"), "{}", run("zsh"));
    assert!(run("fish").contains("complete -c codex-auth "), "{}", run("fish"));
}

#[test]
fn manual_pages_follow_the_umask() {
    let home = TestHome::new();
    let folder = home.path().with_file_name("open");
    let run = home.codex(["man", folder.to_str().unwrap()]);
    run.through(["sh", "-c", "umask 022; exec \"$0\" \"$@\""]).run().expect(0);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("codex.1"))), (0o755, 0o644));
}

#[test]
fn shells_complete_the_names_of_accounts() {
    let home = TestHome::new();
    for name in ["work", "private"] {
        home.codex(["account", "add", name, "--with-api-key"]).input(name).run().expect(0);
    }
    let bin = home.beside("bin");
    std::os::unix::fs::symlink(program(), bin.join("codex")).unwrap();
    let path = super::hand_over::path([&*bin]);
    let variables = [("CODEX_HOME", home.path().into_os_string()), ("PATH", path)];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_os_str()));
    for shell in SHELLS {
        let script = script(&home, shell);
        for line in [
            "codex account use w",
            "codex account remove w",
            "codex account rename w",
            "codex account pin w",
            "codex account run w",
            "codex --account w",
            "codex token --account w",
        ] {
            assert_eq!(completed_with(&variables, shell, &script, line), ["work"], "{shell} {line}");
        }
        assert!(
            !completed_with(&variables, shell, &script, "codex account add w").contains(&"work".to_owned())
        );
        // Without a home there are no names, and no error.
        let nowhere = [("CODEX_HOME", std::ffi::OsStr::new("/nowhere")), variables[1]];
        assert_eq!(completed_with(&nowhere, shell, &script, "codex --account w"), [""; 0], "{shell}");
    }
    let zsh = script(&home, "zsh");
    for (line, expected) in [
        ("codex account use w", "codex account use work"),
        ("codex --account p", "codex --account private"),
        ("codex token --account p", "codex token --account private"),
    ] {
        assert_eq!(in_zsh_with(&variables, &zsh, line), expected);
    }
}
