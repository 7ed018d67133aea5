//! `codex run`: a command with a private home, its signals and exit code, and what is left when it ends.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Instant;

use scripted_authority::Account;
use serde_json::Value;

use crate::keeper::process::{AT_WORK, Process};
use crate::manager::world::World;
use crate::support::{
    Ended, Guarded, Lines, Machine, Run, TestHome, chatgpt, eventually, is_alive, names, now,
};

/// A run of the shell script `script`.
fn script<'a>(world: &World<'_>, options: &[&'a str], script: &'a str) -> Run {
    let words = ["run"].into_iter().chain(options.iter().copied());
    world.codex(words.chain(["--", "/bin/sh", "-euc", script]))
}

/// The private homes of runs.
fn runs(home: &TestHome) -> Vec<String> {
    let folder = home.file("codex-auth/runs");
    if folder.exists() { names(&folder) } else { Vec::new() }
}

#[track_caller]
fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_command_has_the_access_token_in_a_private_home_that_is_removed() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.machine.stored_text();
    let show = "stat -c %a $CODEX_HOME $CODEX_HOME/auth.json; cat $CODEX_HOME/auth.json; echo; env; \
        tr '\\0' ' ' < /proc/$PPID/cmdline";
    let ended = script(&world, &[], show).run().expect(0);
    assert!(ended.out.starts_with("700\n600\n"), "{ended}");
    assert_eq!(ended.err, "");
    let document = ended.out.split_once('{').unwrap().1.split_once("\n}\n").unwrap().0;
    let document: Value = serde_json::from_str(&format!("{{{document}}}")).unwrap();
    assert_eq!(document["tokens"]["access_token"], *world.stored_token("access_token"));
    for secret in ["refresh_token", "id_token"] {
        assert!(!ended.out.contains(&world.stored_token(secret)), "{ended}");
    }
    let rest = ended.out.split_once("\n}\n").unwrap().1;
    assert!(rest.contains("CODEX_HOME=") && !rest.contains(&world.stored_token("access_token")), "{rest}");
    assert_eq!((runs(&world.machine.home), world.machine.stored_text()), (Vec::new(), before));
    // What the command leaves there goes with it.
    script(&world, &[], "mkdir $CODEX_HOME/sessions; echo x > $CODEX_HOME/sessions/x").run().expect(0);
    assert_eq!(runs(&world.machine.home), Vec::<String>::new());
    // This program works in there too, and says whose login it is.
    let status = format!("{} status --json", env!("CARGO_BIN_EXE_codex"));
    assert_eq!(script(&world, &[], &status).run().expect(0).json()["handed_in"], true);
    let logout = format!("{} logout", env!("CARGO_BIN_EXE_codex"));
    script(&world, &[], &logout).run().expect(0);
    assert_eq!(world.authority.journal().len(), 0);
}

#[test]
fn a_login_that_would_be_lost_is_refused_before_it_begins() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let program = env!("CARGO_BIN_EXE_codex");
    for words in ["login --device-auth", "login --with-api-key", "account add work --device-auth"] {
        for before in ["true", "rm $CODEX_HOME/auth.json"] {
            let text = format!("{before}; exec {program} {words}");
            let ended = script(&world, &[], &text).input("sk-1").run().refused(1);
            assert!(ended.err.contains("is removed when this run ends"), "{words}: {ended}");
            assert!(ended.err.contains("hint: log in on the machine of the keeper, outside"), "{ended}");
        }
    }
    let text = format!("exec {program} sync export $CODEX_HOME/export");
    let ended = script(&world, &[], &text).run().refused(1);
    assert!(ended.err.contains("the login is handed in by a keeper elsewhere"), "{ended}");
    // The same in any home with such a document.
    let other = TestHome::new();
    let document = script(&world, &[], "cat $CODEX_HOME/auth.json").run().expect(0).out;
    other.write("auth.json", &document);
    for words in [&["login", "--device-auth"][..], &["account", "add", "work", "--device-auth"]] {
        let ended = other.codex(words.iter().copied()).run().refused(1);
        assert!(ended.err.contains("handed in by a keeper elsewhere"), "{words:?}: {ended}");
    }
    assert_eq!(other.read("auth.json"), document);
    assert!(!other.file("codex-auth/accounts.toml").exists());
    assert_eq!(world.authority.journal().len(), 0);
}

#[test]
fn a_variable_with_the_token_is_set_only_if_asked_for() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let ended = script(&world, &["--env", "TOKEN"], "echo $TOKEN").run().expect(0);
    assert_eq!(ended.out.trim_end(), world.stored_token("access_token"));
    script(&world, &["--env", "CODEX_ACCESS_TOKEN"], "true").run().expect(0);
    script(&world, &["--env", "A=B"], "true").run().refused(2);
    for name in ["CODEX_HOME", "HOME", "PATH", "CODEX_REFRESH_TOKEN_URL_OVERRIDE", "CODEX_AUTH_X"] {
        let ended = script(&world, &["--env", name], "true").run().refused(2);
        assert!(ended.err.contains(&format!("--env cannot set {name}")), "{ended}");
    }
}

#[test]
fn exit_codes_and_streams_are_those_of_the_command() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    for (text, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(script(&world, &[], text).run().code, Some(code), "{text}");
    }
    let ended = script(&world, &[], "cat; echo to stderr >&2").input("to stdout\n").run().expect(0);
    assert_eq!((&*ended.out, &*ended.err), ("to stdout\n", "to stderr\n"));
    // Options of the command are not read.
    let words = ["run", "--", "/bin/echo", "--env", "-c", "x", "--", "logout", "--json"];
    let ended = world.codex(words).run().expect(0);
    assert_eq!(ended.out, "--env -c x -- logout --json\n");
    assert_eq!(world.codex(["run", "--", "/no/such/program"]).run().code, Some(127));
    let file = world.machine.home.write("no-program", "");
    assert_eq!(world.codex(["run", "--", file.to_str().unwrap()]).run().code, Some(126));
    world.codex(["run"]).run().refused(2);
    assert_eq!(runs(&world.machine.home), Vec::<String>::new());
    let umask = Run::of(Path::new("/bin/sh"), ["-c", "umask; ulimit -c"]).run();
    assert_eq!(script(&world, &[], "umask; ulimit -c").run().out, umask.out);
}

#[test]
fn signals_reach_the_command() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    for (number, signal) in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM"].into_iter().enumerate() {
        let text = format!(
            "trap 'exit {number}' {signal}; echo ready; while :; do read -r x < /dev/zero || :; done"
        );
        let text = text.replace("while :; do read -r x < /dev/zero || :; done", "sleep 60 & wait");
        let mut run = Guarded(script(&world, &[], &text).start());
        let lines = Lines::of(run.0.stdout.take().unwrap());
        assert_eq!(lines.next().as_deref(), Some("ready"));
        kill(&format!("-{signal}"), run.0.id());
        assert_eq!(run.0.wait().unwrap().code(), Some(i32::try_from(number).unwrap()), "{signal}");
    }
    assert_eq!(runs(&world.machine.home), Vec::<String>::new());
}

/// A command that prints its document whenever it reads a line.
struct Reader {
    run: Guarded,
    input: Option<ChildStdin>,
    lines: Lines,
    home: PathBuf,
}

impl Reader {
    fn start(world: &World<'_>) -> Self {
        let text =
            "echo $CODEX_HOME; while read -r x; do cat $CODEX_HOME/auth.json || echo none; echo; echo; done";
        let mut command = script(world, &[], text).into_command();
        let run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut run = Guarded(run);
        let lines = Lines::of(run.0.stdout.take().unwrap());
        let (input, home) = (run.0.stdin.take(), lines.next().unwrap().into());
        Self { run, input, lines, home }
    }

    fn sees(&mut self, token: &str) -> bool {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
        self.lines.until(str::is_empty).iter().any(|line| line.contains(token))
    }
}

#[test]
fn a_running_command_gets_every_new_token_with_and_without_a_keeper() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut reader = Reader::start(&world);
    assert!(reader.sees(&world.stored_token("access_token")));
    // The run is the keeper while there is no other, and is asked as one.
    eventually("the run to keep the login fresh", || world.codex(["sync", "status"]).run().code == Some(0));
    let keeper = Process::start(world.codex(["sync", "run"]));
    for _ in 0..3 {
        world.codex(["refresh"]).run().expect(0);
        let token = world.stored_token("access_token");
        eventually("the new token", || reader.sees(&token));
    }
    // A login with another account is not handed in.
    world.log_in(&world.authority.grant(Account::numbered(2)));
    eventually("no token", || reader.sees("none"));
    drop(reader.input.take());
    assert_eq!(reader.run.0.wait().unwrap().code(), Some(0));
    keeper.until(AT_WORK);
    assert_eq!(runs(&world.machine.home), Vec::<String>::new());
}

#[test]
fn a_token_that_is_due_during_the_run_is_refreshed() {
    let mut machine = Machine::with_file();
    let mut world = World::empty(&mut machine);
    // Nine minutes are left: Codex would not refresh, and a keeper does.
    world.log_in_as(Account::numbered(1), 540);
    let old = world.stored_token("access_token");
    let mut reader = Reader::start(&world);
    eventually("the refresh", || world.stored_token("access_token") != old);
    let token = world.stored_token("access_token");
    eventually("the new token", || reader.sees(&token));
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_killed_run_leaves_its_home_to_the_command_and_then_to_the_next_run_or_keeper() {
    for sweeper in ["the next run", "a keeper that starts later", "a keeper that runs"] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let mut reader = Reader::start(&world);
        let command = crate::support::children(reader.run.0.id())[0];
        let running = (sweeper == "a keeper that runs").then(|| Process::start(world.codex(["sync", "run"])));
        kill("-KILL", reader.run.0.id());
        reader.run.0.wait().unwrap();
        running.iter().for_each(|keeper| drop(keeper.until(AT_WORK)));
        // The command lives on, and its home is in use.
        script(&world, &[], "true").run().expect(0);
        assert!(reader.sees(&world.stored_token("access_token")));
        drop(reader.input.take());
        eventually("the command to end", || !is_alive(command));
        let ended = Instant::now();
        let later = (sweeper == "a keeper that starts later").then(|| {
            assert!(reader.home.exists());
            Process::of(&world)
        });
        if sweeper == "the next run" {
            script(&world, &[], "true").run().expect(0);
            assert!(!reader.home.exists());
        }
        eventually("the home to be removed", || runs(&world.machine.home).is_empty());
        println!("removed by {sweeper} {:.0?} after the command has ended", ended.elapsed());
        drop((running, later));
    }
}

#[test]
fn without_a_login_that_can_be_handed_in_nothing_is_run() {
    let home = TestHome::new();
    let run = |home: &TestHome| -> Ended { home.codex(["run", "--", "/bin/echo", "run"]).run() };
    assert!(run(&home).refused(1).err.contains("hint: log in first: codex login"));
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
    assert!(run(&home).refused(1).err.contains("only the login of a ChatGPT account"));
    home.write("auth.json", chatgpt("acct-1", "", now() - 7_200, now() - 3_600));
    assert_eq!(run(&home).refused(3).out, "");
    assert_eq!(runs(&home), Vec::<String>::new());
}

/// Ctrl-Z stops the run with its command, `fg` continues both, and Ctrl-C ends the command.
#[test]
fn a_shell_can_stop_and_continue_a_run() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let shell = Run::of(Path::new("/bin/bash"), ["--norc", "--noprofile", "-i"]).on_a_terminal();
    let codex = world.codex([
        "run",
        "--",
        "/bin/sh",
        "-c",
        "trap 'echo the end; exit 3' INT; echo begun; sed -u s/^/read:/",
    ]);
    let codex = codex.into_command();
    let mut shell = shell.into_command();
    let set = codex.get_envs().filter_map(|(name, value)| Some((name, value?)));
    shell
        .envs(set)
        .env("PS1", "")
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut shell = Guarded(shell.spawn().unwrap());
    let lines = Lines::of(shell.0.stdout.take().unwrap());
    let mut input = shell.0.stdin.take().unwrap();
    let quoted = codex.get_args().map(|word| format!("\"{}\"", word.to_str().unwrap())).collect::<Vec<_>>();
    writeln!(input, "{} {}", env!("CARGO_BIN_EXE_codex"), quoted.join(" ")).unwrap();
    lines.until(|line| line.trim_end().ends_with("begun"));
    writeln!(input, "one").unwrap();
    lines.until(|line| line.trim_end().ends_with("read:one"));
    input.write_all(b"\x1a").unwrap();
    lines.until(|line| line.contains("Stopped"));
    writeln!(input, "fg").unwrap();
    // The shell shows what goes on. It holds the terminal for a moment after that, so only the answer of the command shows
    // that Ctrl-C would reach it.
    lines.until(|line| line.contains("trap"));
    writeln!(input, "two").unwrap();
    lines.until(|line| line.trim_end().ends_with("read:two"));
    assert_eq!(runs(&world.machine.home).len(), 1);
    input.write_all(b"\x03").unwrap();
    lines.until(|line| line.trim_end().ends_with("the end"));
    writeln!(input, "echo code $?").unwrap();
    lines.until(|line| line.trim_end().ends_with("code 3"));
    assert_eq!(runs(&world.machine.home), Vec::<String>::new());
    fs::metadata(world.machine.home.document()).unwrap();
}

#[test]
fn a_command_has_the_login_of_the_run_whatever_else_the_environment_names() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let program = env!("CARGO_BIN_EXE_codex");
    let text = format!("env | grep -E '^CODEX_(AUTH_)?(ACC|API|SOCKET)' || :; exec {program} token");
    let run =
        script(&world, &[], &text).env("CODEX_ACCESS_TOKEN", "at-other").env("CODEX_API_KEY", "sk-other");
    let ended = run.env("CODEX_AUTH_SOCKET", "/nowhere/sock").run().expect(0);
    assert_eq!(ended.out.trim_end(), world.stored_token("access_token"));
}

/// The account of a run by option, variable and pinned folder; `account run` and `codex run` are one in the other too.
#[test]
fn a_run_has_the_login_of_the_account_that_is_named_or_pinned() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let document = |number| world.authority.grant(Account::numbered(number)).auth_json();
    let token = |document: &str| {
        let document: Value = serde_json::from_str(document).unwrap();
        document["tokens"]["access_token"].as_str().unwrap().to_owned()
    };
    for number in [2, 3] {
        let file = world.machine.home.write(&format!("import-{number}"), document(number));
        let name = format!("account{number}");
        world.codex(["account", "import", file.to_str().unwrap(), &name]).run().expect(0);
    }
    let stored = |number: u32| token(&world.machine.home.read(&format!("import-{number}")));
    let program = env!("CARGO_BIN_EXE_codex");
    let inner = format!("exec {program} token");
    let command = ["--", "/bin/sh", "-euc", &*inner];
    let run = |words: &[&str]| world.codex(words.iter().chain(&command).copied());
    let has = |run: Run, number: u32| {
        let ended = run.run().expect(0);
        assert_eq!((ended.out.trim_end(), &*ended.err), (&*stored(number), ""));
    };
    for number in [2, 3] {
        let name = format!("account{number}");
        has(run(&["run", "--account", &name]), number);
        has(run(&["--account", &name, "run"]), number);
        has(run(&["run"]).env("CODEX_AUTH_ACCOUNT", &name), number);
        let folder = world.machine.home.beside(&name);
        let there = |run: Run| run.through(["env", &format!("--chdir={}", folder.display())]);
        there(world.codex(["account", "pin", &name])).run().expect(0);
        has(there(run(&["run"])), number);
        has(there(run(&["run", "--account", "account2"])), 2);
    }
    assert_eq!(run(&["run", "--account", "nobody"]).run().refused(1).out, "");
    // Its private home is below the account's, and is removed with the run.
    let accounts = world.machine.home.file("accounts");
    let left = crate::support::tree(&accounts).into_iter().filter(|(path, ..)| path.ends_with("runs"));
    for (runs, ..) in left {
        assert_eq!(names(&accounts.join(runs)), Vec::<String>::new());
    }
    // An account that is made inside would be lost.
    let other = world.machine.home.write("import-4", document(4));
    let text = format!("exec {program} account import {} other", other.display());
    let ended = script(&world, &["--account", "account2"], &text).run().refused(1);
    assert!(ended.err.contains("is removed when this run ends"), "{ended}");
    assert_eq!(world.requests(), 0);
}
