//! Command lines of other programs go unchanged to the next `codex` on PATH, with a fresh login.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use scripted_authority::{Ending, Endpoint, Moment, Step};

use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Ended, Machine, Run, TestHome, eventually, program, search_path};

/// A program that prints its pid, its arguments and its input.
pub(super) const REPORTS: &str = r#"#!/bin/sh
printf 'next %s\n' "$$"
for word in "$@"; do printf '<%s>\n' "$word"; done
cat
echo said >&2
exit 7
"#;

/// A program that prints the stored access token.
const READS: &str = r#"#!/bin/sh
sed -n 's/.*"access_token": "\(.*\)".*/\1/p' "$CODEX_HOME/auth.json"
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
pub(super) fn path<'a>(folders: impl IntoIterator<Item = &'a Path>) -> OsString {
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
        &["-c", "model=o3", "status"],
        &["-c", key],
        &["-c", key, "exec"],
        &["-c", key, "-c", "model=o3", "status"],
        &["-c"],
        &["--", "status"],
        &["exec", "--help"],
        &["-h", "exec"],
        &["-v"],
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
    fs::set_permissions(loose.join("codex"), fs::Permissions::from_mode(0o775)).unwrap();
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
    assert_eq!(exec(&path([&*loose, &*plain, Path::new(""), &*good])).status.code(), Some(7));
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
    assert!(ended.err.contains("starts this program again and again"), "{ended}");
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

fn is_refreshed_once(world: &World<'_>) {
    let read = || before(&world.machine.home, READS, world.codex(["exec"])).run().expect(0);
    let old = world.stored_token("access_token");
    let printed = read();
    assert_ne!(printed.out.trim_end(), old);
    assert_eq!((printed.out.trim_end(), printed.err.as_str()), (&*world.stored_token("access_token"), ""));
    assert_eq!(world.requests(), 1);
    assert_eq!(read().out, printed.out);
    assert_eq!(world.requests(), 1, "it is fresh now");
}

#[test]
fn a_stale_login_is_refreshed_before_and_a_fresh_one_left_alone() {
    is_refreshed_once(&World::stale(&mut Machine::with_file()));
    is_refreshed_once(&World::expired(&mut Machine::with_file()));
}

#[test]
fn the_next_program_runs_also_if_the_refresh_fails() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let home = &world.machine.home;
    let reads = || -> Ended { before(home, READS, world.codex(["exec"])).run().expect(0) };
    let old = world.stored_token("access_token");
    world.authority.script(Endpoint::Refresh, Step::status(503, "busy"));
    assert_eq!((reads().out.trim_end(), reads().err.as_str()), (&*old, ""));
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    fs::remove_file(home.file("codex-auth/state.json")).unwrap();
    assert_eq!((reads().out.trim_end(), reads().err.as_str()), (&*old, ""));
    let requests = world.requests();
    assert_eq!(reads().out.trim_end(), old);
    assert_eq!(world.requests(), requests, "a dead token is tried once");
    home.write("auth.json", "no document");
    assert_eq!((reads().out.as_str(), reads().err.as_str()), ("", ""));
    home.write("config.toml", "a = = 1");
    assert_eq!(reads().err, "");
    let lost = before(home, READS, world.codex(["exec"])).env("CODEX_AUTH_LOCK_TIMEOUT", "soon").run();
    assert_eq!(lost.expect(0).err, "");
}

#[test]
fn a_slow_refresh_is_not_waited_for_and_not_lost() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let begun = Instant::now();
    let child = before(&world.machine.home, READS, world.codex(["exec"])).start();
    hold.arrived(TEST_TIMEOUT).unwrap();
    let old = world.stored_token("access_token");
    let output = child.wait_with_output().unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(25), "{took:?}");
    assert_eq!((String::from_utf8_lossy(&output.stdout).trim_end(), output.status.code()), (&*old, Some(0)));
    hold.release();
    eventually("the child to commit", || {
        Some(world.stored_token("refresh_token")) == world.live_refresh_token()
    });
    eventually("the child to leave", || !world.has_rescue());
    assert_eq!(world.requests(), 1);
}

#[test]
fn eight_programs_at_once_find_one_refreshed_login() {
    for _ in 0..5 {
        let mut machine = Machine::with_file();
        let world = World::expired(&mut machine);
        let home = &world.machine.home;
        let children: Vec<_> = (0..8).map(|_| before(home, READS, world.codex(["exec"])).start()).collect();
        let printed: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let token = format!("{}\n", world.stored_token("access_token"));
        for output in printed {
            assert_eq!(String::from_utf8_lossy(&output.stdout), token);
            assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        }
        assert_eq!(world.requests(), 1);
    }
}
