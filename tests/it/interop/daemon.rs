//! The shared daemon of OpenAI's Codex 0.171: found, compared with the stored login, and restarted.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use scripted_authority::Account;
use serde_json::{Value, json};

use super::shared_daemon::{PROMPTLY, SharedDaemon, signal};
use crate::store::order::calls;
use crate::support::{Ended, Guarded, Machine, Run, TestHome, children, eventually};

/// A variable of the daemon's starter, which no report may show.
const PLANTED: (&str, &str) = ("PLANTED_BY_STARTER", "marked-value");

/// The daemon in the report of a command.
fn reported(run: Run) -> Value {
    let report = run.run().json();
    assert!(!report.to_string().contains(PLANTED.1), "{report}");
    report["codex_daemon"].clone()
}

fn status(scene: &SharedDaemon<'_>) -> Value {
    reported(scene.world.codex(["status", "--json"]))
}

/// Asserts what all reports say of the daemon; `named` is in those that may name an account.
#[track_caller]
fn assert_reported(scene: &SharedDaemon<'_>, serves: &str, warning: &str, named: &str) {
    let daemon = status(scene);
    assert_eq!(daemon["serves"], serves, "{daemon}");
    assert_eq!(daemon["pid"], scene.pid());
    let (status, sync) =
        (scene.world.codex(["status"]).run(), scene.world.codex(["sync", "status"]).run().expect(1));
    for ended in [&status, &sync] {
        let warned = ended.err.lines().find(|line| line.contains("Codex's daemon")).unwrap_or_default();
        assert_eq!((warned.contains(warning), warned.contains(named)), (true, true), "{ended}");
        assert_eq!(warned.is_empty(), warning.is_empty(), "{ended}");
    }
    let doctor = scene.world.codex(["doctor", "--json"]).run().json();
    let findings = doctor["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == "daemon").unwrap();
    let standing = match serves {
        "stored-login" => "ok",
        "other-login" => "problem",
        _ => "warning",
    };
    assert_eq!(finding["standing"], standing, "{finding}");
    assert!(!finding.to_string().contains('@'), "{finding}");
    for text in [status.out, status.err, sync.err, doctor.to_string()] {
        assert!(!text.contains(PLANTED.1), "{text}");
    }
}

#[test]
fn a_login_to_another_account_reaches_open_terminals_and_keeps_the_environment() {
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    let terminal = scene.terminal();
    assert_eq!(scene.turn(&terminal).0, scene.world.stored_token("access_token"));
    // Without what Codex adds itself.
    let environment = |scene: &SharedDaemon<'_>| {
        let mut lines = scene.environment();
        lines.retain(|line| !line.starts_with("PATH="));
        lines.sort();
        lines
    };
    let before = environment(&scene);
    let path_length = || scene.environment().iter().find(|line| line.starts_with("PATH=")).unwrap().len();
    let length = path_length();
    for (account, old) in [(2, 1), (3, 2)] {
        let daemon = &scene.log_in_as(account, &[])["codex_daemon"];
        assert_eq!((&daemon["restart"], &daemon["turns_cut"]), (&json!("restarted"), &json!(0)), "{daemon}");
        assert_eq!(daemon["serves"], "stored-login");
        assert!(daemon["served"].as_str().unwrap().contains(&Account::numbered(old).email), "{daemon}");
        let (bearer, took) = scene.turn(&terminal);
        assert_eq!(bearer, scene.world.stored_token("access_token"));
        assert!(took < PROMPTLY, "{took:?}");
        assert_eq!(scene.exec(), bearer);
        assert_eq!(environment(&scene), before);
        // Each start adds a folder with a random name of one length.
        assert_eq!(path_length(), length);
    }
    let daemon = &scene.log_in_as(3, &[])["codex_daemon"];
    assert_eq!(daemon["restart"], "not-needed", "the same account");
    let daemon = reported(scene.world.codex(["logout", "--json"]));
    assert_eq!((&daemon["restart"], &daemon["serves"]), (&json!("restarted"), &json!("stored-login")));
    let ended = scene.world.codex(["login", "--with-api-key"]).input("sk-1").run().expect(0);
    assert!(ended.err.contains("restarted Codex's daemon, which served no login\n"), "{ended}");
    assert_eq!(status(&scene)["method"], "apikey");
}

#[test]
fn every_login_that_is_not_the_stored_one_is_reported() {
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    let person = |number| Account::numbered(number).email;
    let danger = "a /logout there would revoke and remove the stored login";
    scene.theirs(["app-server", "daemon", "start"]).env(PLANTED.0, PLANTED.1).run().expect(0);
    assert_reported(&scene, "stored-login", "", "");
    scene.world.log_in(1);
    assert_reported(&scene, "stored-login", "", "");
    scene.world.log_in(2);
    assert_reported(&scene, "other-login", danger, &person(1));
    scene.world.machine.store_text(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-1"}"#);
    assert_reported(&scene, "other-login", danger, &person(1));
    fs::remove_file(scene.world.machine.home.document()).unwrap();
    assert_reported(&scene, "other-login", "Codex in a terminal\n".trim_end(), &person(1));
    assert!(!status(&scene)["warning"].as_str().unwrap().contains("/logout"));

    scene.command("restart");
    assert_reported(&scene, "stored-login", "", "");
    scene.world.log_in(1);
    assert_reported(&scene, "other-login", danger, "is logged out and does not see the stored login");

    scene.world.machine.store_text(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-1"}"#);
    scene.command("restart");
    assert_reported(&scene, "stored-login", "", "");
    let pid_file = scene.world.machine.home.file("app-server-daemon/daemon.pid");
    let earlier = SystemTime::now() - Duration::from_secs(10);
    File::options().write(true).open(pid_file).unwrap().set_modified(earlier).unwrap();
    scene.world.machine.store_text(r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-2"}"#);
    assert_reported(&scene, "older-credential", danger, "may serve another one");
    scene.world.log_in(1);
    assert_reported(&scene, "other-login", danger, "still serves an API key");
}

#[test]
fn a_daemon_that_an_environment_token_rules_is_reported_and_left() {
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    let token = scene.world.authority.personal_access_token(Account::numbered(7));
    let start = scene.theirs(["app-server", "daemon", "start"]).env("CODEX_ACCESS_TOKEN", &token);
    start.run().expect(0);
    let warning = "uses the CODEX_ACCESS_TOKEN of the program that started it";
    assert_reported(&scene, "environment-token", warning, "/logout");
    let pid = scene.pid();
    assert_eq!(scene.log_in_as(2, &["--restart-daemon", "yes"])["codex_daemon"]["restart"], "left");
    assert_eq!(scene.pid(), pid);
    let ended = scene.world.codex(["status"]).run().expect(0);
    assert!(!ended.err.contains(&token), "{ended}");
    let (_, command) = ended.err.split_once("hint: restart it: ").unwrap();
    Run::of(Path::new("sh"), ["-c", command.lines().next().unwrap()])
        .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", scene.world.authority.token_url())
        .env("CODEX_ACCESS_TOKEN", token)
        .run()
        .expect(0);
    assert_reported(&scene, "stored-login", "", "");
}

/// Waits until the program has started Codex's restart command.
fn restart_begun(run: &Child) {
    eventually("the restart to begin", || !children(run.id()).is_empty());
}

fn ended(run: Child) -> Ended {
    let output = run.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_busy_daemon_is_restarted_only_on_request_and_turns_that_are_cut_are_counted() {
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    let terminal = scene.terminal();
    scene.turn(&terminal);
    scene.provider.hold(true);
    scene.turn(&terminal);
    let pid = scene.pid();
    let daemon = &scene.log_in_as(2, &[])["codex_daemon"];
    assert_eq!((&daemon["restart"], &daemon["serves"]), (&json!("busy"), &json!("other-login")), "{daemon}");
    assert_eq!(daemon["reason"], "1 turn is in progress");
    let again = |options: &[&'static str]| {
        scene.world.codex(["migrate", "--to", "file"].into_iter().chain(options.iter().copied()))
    };
    let told = again(&[]).run().expect(0);
    assert!(told.err.contains("it was not restarted: 1 turn is in progress\nhint: restart it: "), "{told}");
    assert!(!again(&["--restart-daemon", "no"]).run().expect(0).err.contains("in progress"));
    let refused = again(&[]).on_a_terminal().input("n\n").run();
    assert!(
        refused.out.contains("Restart it? [y/N]") && refused.out.contains("was not restarted"),
        "{refused}"
    );
    assert_eq!(scene.pid(), pid);

    // A turn that ends while the daemon waits for it is not cut.
    let run = again(&["--restart-daemon", "yes", "--json"]).start();
    restart_begun(&run);
    scene.provider.hold(false);
    let daemon = ended(run).expect(0).json()["codex_daemon"].clone();
    assert_eq!((&daemon["restart"], &daemon["turns_cut"]), (&json!("restarted"), &json!(0)), "{daemon}");
    assert_ne!(scene.pid(), pid);
    eventually("the terminal to reconnect", || !terminal.screen().contains("Reconnecting"));

    scene.provider.hold(true);
    assert_eq!(scene.turn(&terminal).0, scene.world.stored_token("access_token"));
    scene.world.log_in(3);
    let run = again(&["--restart-daemon", "yes"]).start();
    restart_begun(&run);
    signal(scene.pid(), "KILL");
    let told = ended(run).expect(0);
    assert!(told.err.contains("; 1 turn in progress was cut\n"), "{told}");
    assert_eq!(status(&scene)["serves"], "stored-login");
}

#[test]
fn a_daemon_that_codex_does_not_manage_is_reported_and_not_restarted() {
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    let server = Guarded(scene.theirs(["app-server", "--listen", "unix://"]).start());
    let finds =
        || scene.world.codex(["status", "--json"]).run().json()["codex_daemon"]["pid"] == server.0.id();
    eventually("the app-server", finds);
    let daemon = &scene.log_in_as(2, &[])["codex_daemon"];
    assert_eq!((&daemon["restart"], &daemon["serves"]), (&json!("failed"), &json!("other-login")));
    assert!(daemon["reason"].as_str().unwrap().contains("was not started as Codex's daemon"), "{daemon}");
}

#[test]
fn a_stopped_daemon_is_reported_within_its_second() {
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    scene.command("start");
    signal(scene.pid(), "STOP");
    let start = Instant::now();
    let told = scene.world.codex(["status"]).run();
    let took = start.elapsed();
    signal(scene.pid(), "CONT");
    assert!(told.expect(0).err.contains("warning: Codex's daemon at /tmp/codex-daemon-"));
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");
    assert_reported(&scene, "stored-login", "", "");
}

/// A socket of the daemon in a home, whose clients get the bytes that a script in Python sends.
struct Imposter {
    home: TestHome,
    _server: Guarded,
}

impl Imposter {
    /// `program` is the name of the program that listens.
    fn start(program: &str, answer: &str) -> Self {
        let home = TestHome::new();
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
        let socket = home.file("app-server-control/app-server-control.sock");
        fs::create_dir(socket.parent().unwrap()).unwrap();
        let python = home.beside("bin").join(program);
        fs::copy(fs::canonicalize("/usr/bin/python3").unwrap(), &python).unwrap();
        let script = format!(
            "import socket, time\n\
             s = socket.socket(socket.AF_UNIX)\n\
             s.bind({:?})\n\
             s.listen()\n\
             while True:\n\
             \x20   c, _ = s.accept()\n\
             \x20   try:\n\
             \x20       {answer}\n\
             \x20   except OSError: pass\n",
            socket.display().to_string()
        );
        let server = Guarded(Run::of(&python, ["-c", &script]).start());
        eventually("the socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Self { home, _server: server }
    }

    /// The warning of `codex status`, and how long that took.
    fn warning(&self) -> (String, Duration) {
        let start = Instant::now();
        let told = self.home.codex(["status"]).run().expect(0);
        (
            told.err.lines().find(|line| line.contains("Codex's daemon")).unwrap_or_default().to_owned(),
            start.elapsed(),
        )
    }
}

#[test]
fn a_hostile_socket_is_reported_and_not_awaited() {
    let upgraded = "c.sendall(b'HTTP/1.1 101 S\\r\\nupgrade: websocket\\r\\nconnection: Upgrade\\r\\n'\
                    b'sec-websocket-accept: x\\r\\n\\r\\n')";
    for (answer, expected) in [
        ("time.sleep(9)", "does not respond"),
        (
            "c.send(b'HTTP/1.1 101 S\r\nx: '), [(c.send(b'x'), time.sleep(.05)) for _ in range(100)]",
            "does not respond",
        ),
        ("[c.send(b'x' * 65536) for _ in range(100)]", "invalid response"),
        ("c.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')", "invalid response"),
        (upgraded, "invalid response"),
        ("c.close()", "cannot connect"),
    ] {
        let (warning, took) = Imposter::start("codex", answer).warning();
        assert!(warning.contains(expected), "{answer}: {warning}");
        assert!(took < Duration::from_secs(3), "{answer}: {took:?}");
    }
    // Nothing is sent to another program.
    let (warning, _) = Imposter::start("other", "c.close()").warning();
    assert!(warning.contains("/bin/other (pid ") && warning.contains("listens at"), "{warning}");
}

#[test]
fn a_socket_without_a_listener_is_no_daemon() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
    let before = home.codex(["status", "--json"]).run().expect(0).out;
    let folder = home.file("app-server-control");
    fs::create_dir(&folder).unwrap();
    let socket = folder.join("app-server-control.sock");
    symlink(home.file("missing"), &socket).unwrap();
    assert_eq!(home.codex(["status", "--json"]).run().expect(0).out, before);
    fs::remove_file(&socket).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(home.codex(["status", "--json"]).run().expect(0).out, before);
    assert!(!before.contains("daemon"));
}

#[test]
fn without_a_daemon_one_system_call_looks_for_it_and_none_for_a_token() {
    for (words, times) in [(&["status"][..], 1), (&["logout", "--local"], 1), (&["token"], 0)] {
        let home = TestHome::new();
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
        let calls = calls(&home, home.codex(words.iter().copied()), "");
        let about: Vec<_> = calls.iter().filter(|call| call.contains("app-server-")).collect();
        assert_eq!(about.len(), times, "{words:?}: {about:#?}");
        assert!(about.iter().all(|call| call.contains("readlink")), "{about:#?}");
    }
}

/// Several commands at once restart a daemon once too often at most, and none fails.
#[test]
fn concurrent_commands_leave_one_daemon_with_the_stored_login() {
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    scene.command("start");
    scene.world.log_in(2);
    let start = || scene.world.codex(["migrate", "--to", "file"]).start();
    for run in [start(), start(), start()] {
        ended(run).expect(0);
    }
    assert_eq!(status(&scene)["serves"], "stored-login");
}
