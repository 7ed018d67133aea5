//! Command lines of other programs go unchanged to the next `codex` on PATH, with a fresh login.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Run, TestHome, program, search_path};

/// A program that prints its pid, its arguments and its input.
pub(super) const REPORTS: &str = r#"#!/bin/sh
printf 'next %s\n' "$$"
for word in "$@"; do printf '<%s>\n' "$word"; done
cat
echo said >&2
exit 7
"#;

/// Creates a folder with a program, for PATH.
pub(super) fn folder(home: &TestHome, name: &str, program: &str, text: &str) -> PathBuf {
    let folder = home.beside(name);
    fs::write(folder.join("text"), text).unwrap();
    placed(&folder.join("text"), &folder.join(program));
    folder
}

/// Installs a program by another process: a file that this process or its fork has open for writing cannot be run.
pub(super) fn placed(from: &Path, to: &Path) {
    assert!(Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap().success());
}

/// PATH with these folders before those of the test run.
pub fn path<'a>(folders: impl IntoIterator<Item = &'a Path>) -> OsString {
    let others = search_path();
    let folders = folders.into_iter().map(Path::to_owned).chain(std::env::split_paths(&others));
    std::env::join_paths(folders).unwrap()
}

/// A run with `text` as the next codex on PATH.
pub(super) fn before(home: &TestHome, text: &str, run: Run) -> Run {
    let folder = home.path().with_file_name("next");
    let folder = if folder.exists() { folder } else { self::folder(home, "next", "codex", text) };
    run.env("PATH", path([&*folder]))
}

#[test]
fn other_commands_go_unchanged_to_the_next_codex() {
    let home = TestHome::new();
    let words = ["exec", "--json", "two words", "", "line\nend", "-c", "status", "'\"$HOME`"];
    let child = before(&home, REPORTS, home.codex(words)).input("typed").start();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let each: String = words.iter().map(|word| format!("<{word}>\n")).collect();
    assert_eq!(
        printed,
        format!("next {pid}\n{each}typed"),
        "the same process, the same words, the same streams"
    );
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(7), &b"said\n"[..]));

    let mut command = before(&home, REPORTS, home.codex([])).into_command();
    command.arg(OsStr::from_bytes(b"\xff\xfe"));
    let printed = command.output().unwrap().stdout;
    assert!(printed.ends_with(b"<\xff\xfe>\n"), "{printed:?}");
    assert!(home.names().is_empty(), "nothing is created without a login");
}

#[test]
fn the_first_word_decides_which_program_runs() {
    let home = TestHome::new();
    let run = |words: &[&str]| before(&home, REPORTS, home.codex(words.iter().copied())).run();
    let key = "cli_auth_credentials_store=file";
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["logout", "--help"],
        &["doctor"],
        &["-v", "status"],
        &["-c", key, "status"],
        &["--config", key, "-v", "status"],
        &["-ccli_auth_credentials_store=file", "status"],
        &["--config=forced_login_method=api", "status"],
        &["status", "--what"],
        &["help", "login"],
        &["--json", "-q", "status"],
        &["-c", "model=o3", "status"],
        &["-c", key, "-c", "model=o3", "status"],
        &["whoami"],
        &["completion"],
        &["-c", "model=o3", "completion", "zsh"],
        &["completion", "--help"],
        &["help", "completion"],
    ] {
        let ended = run(words);
        assert_ne!(ended.code, Some(7), "{words:?} is ours\n{ended}");
    }
    for words in [
        &[][..],
        &["stat"],
        &["Status"],
        &["lgoin"],
        &["help", "exec"],
        &["a prompt"],
        &["--model", "o3"],
        &["-c", key],
        &["-c", key, "exec"],
        &["-c"],
        &["--", "status"],
        &["exec", "--help"],
        &["-h", "exec"],
        &["-v"],
        &["completion", "--later"],
    ] {
        let ended = run(words).expect(7);
        let each: String = words.iter().map(|word| format!("<{word}>\n")).collect();
        assert!(ended.out.ends_with(&each) && ended.out.starts_with("next "), "{words:?} goes on\n{ended}");
    }
}

#[test]
fn without_a_next_codex_an_unknown_command_is_a_usage_error() {
    let home = TestHome::new();
    insta::assert_snapshot!(home.codex(["exec", "hello"]).run(), @r"
    exit 2
    --- stdout
    --- stderr
    error: unknown command 'exec', and no other codex was found on PATH to pass it to

    hint: install OpenAI's Codex in a folder on PATH, before or after this program
    hint: codex --help
    ");
    let nothing = home.codex([]).run().expect(2);
    assert!(nothing.err.contains("Usage: codex") && nothing.out.is_empty(), "{nothing}");
}

#[test]
fn programs_that_other_users_can_write_are_skipped() {
    let home = TestHome::new();
    let (good, loose) = (folder(&home, "good", "codex", REPORTS), folder(&home, "loose", "codex", REPORTS));
    fs::set_permissions(loose.join("codex"), fs::Permissions::from_mode(0o757)).unwrap();
    let plain = folder(&home, "plain", "codex", REPORTS);
    fs::set_permissions(plain.join("codex"), fs::Permissions::from_mode(0o644)).unwrap();
    let exec = |path: &OsStr| {
        let mut command = home.codex(["exec"]).env("PATH", path).into_command();
        // Relative entries are relative to this folder.
        command.current_dir(&good).output().unwrap()
    };
    for planted in [loose.as_os_str(), plain.as_os_str(), OsStr::new("."), OsStr::new(":::"), OsStr::new("")]
    {
        let output = exec(planted);
        assert_eq!(output.status.code(), Some(2), "{}", planted.display());
    }
    // The working folder, also by its absolute path, and what npm installed there.
    let output = exec(&path([&*loose, &*plain, Path::new(""), &*good]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let (good, loose) = (good.display(), loose.display());
    for skipped in [
        format!("hint: {loose}/codex is not run: its mode 757 lets other users write to it"),
        format!("hint: {good}/codex is not run: {good} belongs to the working folder"),
        "hint: codex is not run: its folder on PATH is relative to the working folder".to_owned(),
    ] {
        assert!(stderr.contains(&skipped), "{skipped}\n{stderr}");
    }
}

#[test]
fn a_script_that_starts_this_program_again_leads_to_the_real_codex() {
    let home = TestHome::new();
    let next = folder(&home, "next", "codex", REPORTS);
    let ours = program();
    let ours = ours.parent().unwrap();
    let wrapper = format!("#!/bin/sh\nexec {}/codex \"$@\"\n", ours.display());
    let wrapper = folder(&home, "wrapper", "codex", &wrapper);
    let path = path([&*wrapper, ours, &*next]);
    for run in [home.codex(["exec"]), Run::of(&wrapper.join("codex"), ["exec"]).envs(home.variables())] {
        let ended = run.env("PATH", &path).run().expect(7);
        assert_eq!(ended.out.matches("next").count(), 1, "{ended}");
    }
    // Alone, it is no next program.
    let alone = home.codex(["exec"]).env("PATH", self::path([&*wrapper])).run().refused(2);
    assert!(alone.err.contains("no other codex was found on PATH"), "{alone}");
}

#[test]
fn a_script_that_starts_this_program_as_a_child_leads_to_the_real_codex() {
    let home = TestHome::new();
    let next = folder(&home, "next", "codex", REPORTS);
    let ours = program();
    let folder_of_ours = ours.parent().unwrap();
    let ours = ours.display();
    for (name, text) in [
        ("plain", format!("#!/bin/sh\n{ours} \"$@\"\n")),
        ("group", format!("#!/bin/sh\n({ours} \"$@\"; exit $?)\n")),
        ("later", format!("#!/bin/sh\ntimeout 60 {ours} \"$@\"\nexit $?\n")),
        (
            "python",
            format!(
                "#!/usr/bin/python3\nimport subprocess, sys\nsys.exit(subprocess.call(['{ours}', *sys.argv[1:]]))\n"
            ),
        ),
        (
            "node",
            format!(
                "#!/usr/bin/env node\nconst {{ spawnSync }} = require('child_process');\n\
                 process.exit(spawnSync('{ours}', process.argv.slice(2), {{ stdio: 'inherit' }}).status);\n"
            ),
        ),
    ] {
        let wrapper = folder(&home, name, "codex", &text);
        // Where the script comes after this program, or this program is not on PATH, the loop is detected. Other
        // interpreters take long to start.
        let is_quick = text.starts_with("#!/bin/sh");
        let paths = [
            path([&*wrapper, folder_of_ours, &*next]),
            path([folder_of_ours, &*wrapper, &*next]),
            path([&*wrapper, &*next]),
        ];
        for path in paths.iter().take(if is_quick { 3 } else { 1 }) {
            let begun = Instant::now();
            let run = Run::of(&wrapper.join("codex"), ["exec"]).envs(home.variables());
            let ended = run.env("PATH", path).run().expect(7);
            assert_eq!(ended.out.matches("next").count(), 1, "{name}\n{ended}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{name}: {:?}", begun.elapsed());
        }
        if is_quick {
            let alone = Run::of(&wrapper.join("codex"), ["exec"]).envs(home.variables());
            let alone = alone.env("PATH", path([&*wrapper])).run().refused(1);
            assert!(alone.err.contains("start one another again and again"), "{name}\n{alone}");
        }
    }
}

#[test]
fn agents_that_start_one_another_are_not_cut() {
    let home = TestHome::new();
    let ours = program();
    let ours = ours.parent().unwrap();
    let nests = r#"#!/bin/sh
[ "$1" = 0 ] && { echo the last; exit; }
sh -c "codex $(($1 - 1))"
"#;
    let next = folder(&home, "next", "codex", nests);
    let wrapper = format!("#!/bin/sh\n{}/codex \"$@\"\n", ours.display());
    let wrapper = folder(&home, "wrapper", "codex", &wrapper);
    for path in [path([ours, &*next]), path([ours, &*wrapper, &*next]), path([&*wrapper, &*next])] {
        let ended = home.codex(["12"]).env("PATH", &path).run().expect(0);
        assert_eq!(ended.out, "the last\n", "{ended}");
    }
}

#[test]
fn two_copies_of_this_program_do_not_run_each_other_endlessly() {
    let home = TestHome::new();
    let copies = ["one", "other"].map(|name| {
        let folder = home.beside(name);
        placed(&program(), &folder.join("codex"));
        folder
    });
    let next = folder(&home, "next", "codex", REPORTS);
    let [one, other] = copies.each_ref().map(PathBuf::as_path);
    let exec = |path: OsString| home.codex(["exec"]).env("PATH", path).run();
    let ended = exec(path([one, other, &next])).expect(7);
    assert_eq!(ended.out.matches("next").count(), 1, "{ended}");
    exec(path([one, other])).refused(2);
    exec(path([other, one, one])).refused(2);
}

#[test]
fn a_codex_that_calls_codex_again_works_and_an_endless_loop_ends() {
    let home = TestHome::new();
    let ours = program();
    let ours = ours.parent().unwrap();
    let twice = r#"#!/bin/sh
echo "called with $*"
[ "$1" = inner ] || codex inner
"#;
    let next = folder(&home, "twice", "codex", twice);
    let ended = home.codex(["outer"]).env("PATH", path([ours, &next])).run().expect(0);
    assert_eq!(ended.out, "called with outer\ncalled with inner\n");
    let next = folder(&home, "endless", "codex", "#!/bin/sh\ncodex \"$@\"\n");
    let ended = home.codex(["exec"]).env("PATH", path([ours, &next])).run().refused(1);
    assert!(ended.err.contains("start one another again and again"), "{ended}");
}

#[test]
fn a_key_of_the_login_can_be_set_for_one_run() {
    let home = TestHome::new();
    let config = "cli_auth_credentials_store = \"keyring\" # mine\n";
    home.write("config.toml", config);
    let with = |value: &'static str, words: &[&'static str]| {
        home.codex(["-c", value].into_iter().chain(words.iter().copied()).collect::<Vec<_>>())
    };
    home.codex(["login", "--with-api-key"]).input("sk-1").run().refused(5);
    let file = "cli_auth_credentials_store = 'file'";
    with(file, &["login", "--with-api-key"]).input("sk-1").run().expect(0);
    assert_eq!(with(file, &["token"]).run().expect(0).out, "sk-1\n");
    assert_eq!(home.read("config.toml"), config);
    with(file, &["logout", "--local"]).run().expect(0);
    assert!(!home.document().exists(), "the child that logs out was printed as well");
    insta::assert_snapshot!(with("cli_auth_credentials_store=floppy", &["status"]).run(), @r#"
    exit 2
    --- stdout
    --- stderr
    error: -c: cli_auth_credentials_store must be one of "file", "keyring", "auto", "ephemeral"

    hint: codex status --help
    "#);
    let broken = home.codex(["status"]).env("CODEX_AUTH_CONFIG", "a = = 1").run().refused(1);
    assert!(broken.err.contains("CODEX_AUTH_CONFIG is invalid: line 1"), "{broken}");
}

#[test]
fn help_and_version_are_those_of_both() {
    let home = TestHome::new();
    let next = "#!/bin/sh\ncase $1 in --version|-V) echo 'codex-cli 9.9.9'; echo more;; *) echo \"help by $1\";; esac\n";
    let run = |word: &str| before(&home, next, home.codex([word])).run().expect(0);
    for word in ["--version", "-V"] {
        let printed = run(word);
        assert_eq!(
            printed.out,
            format!("codex-cli 9.9.9\ncodex-auth {}\n", env!("CARGO_PKG_VERSION")),
            "{printed}"
        );
    }
    for word in ["--help", "-h", "help"] {
        let printed = run(word).out;
        let (ours, theirs) = printed.split_once("\nAny other command goes to ").unwrap();
        assert!(ours.contains("  login ") && theirs.contains(&format!("help by {word}\n")), "{printed}");
    }
    let printed = before(&home, next, home.codex(["doctor"])).run().out;
    let untested = "warning  next codex    codex-cli 9.9.9 (";
    assert!(
        printed.contains(untested)
            && printed.contains("is not a tested version; tested are 0.169.0 and 0.171.0"),
        "{printed}"
    );
    assert!(home.codex(["doctor"]).run().out.contains("next codex    none on PATH"));
}

// Linux: procfs.
#[cfg(target_os = "linux")]
#[test]
fn the_next_program_has_unchanged_limits_signals_and_variables() {
    let home = TestHome::new();
    let reports = "#!/bin/sh\nulimit -a; ulimit -Ha; grep ^Sig /proc/self/status; umask; env | sort\n";
    let with_core_dumps = |run: Run| {
        let run = run.env("LD_LIBRARY_PATH", "/nowhere");
        run.through(["sh", "-c", "ulimit -Sc \"$(ulimit -Hc)\"; exec \"$0\" \"$@\""]).run().expect(0).out
    };
    let through = with_core_dumps(before(&home, reports, home.codex(["exec"])));
    let next = home.path().with_file_name("next");
    let variables = home.codex([]).into_command();
    let variables = variables
        .get_envs()
        .map(|(name, value)| (name.to_str().unwrap().to_owned(), value.unwrap().to_owned()));
    let direct = Run::of(&next.join("codex"), ["exec"]).envs(variables).env("PATH", path([&*next]));
    let direct = with_core_dumps(direct);
    // The C library reserves two signals for its threads.
    let plain = |line: &str| match line.split_once(":\t") {
        Some((set, mask)) if set.starts_with("Sig") && set != "SigQ" => {
            format!("{set} {:x}", u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff)
        }
        _ => line.to_owned(),
    };
    let lines = |printed: &str| -> Vec<_> {
        let lines = printed
            .lines()
            .filter(|line| !line.starts_with("CODEX_AUTH_VISITED=") && !line.starts_with("SigQ"));
        lines.map(plain).collect()
    };
    assert_eq!(lines(&through), lines(&direct));
    assert!(direct.contains("SigIgn") && direct.contains("LD_LIBRARY_PATH=/nowhere"), "{direct}");
}
