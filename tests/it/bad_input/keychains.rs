//! With a Secret Service that is locked, missing or silent, every command ends in time and names the problem.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::support::session::PrivateSession;
use crate::support::{Flock, TestHome, eventually, snapshot_filters};

/// The time limit of one keychain call.
const CALL_TIMEOUT: &str = "300ms";
/// The time limit of a command with several keychain calls, on a busy machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(4);

/// A service that owns its bus name and never answers.
fn frozen() -> PrivateSession {
    let session = PrivateSession::unlocked();
    session.freeze();
    session
}

/// Creates a session with a keychain in a certain state.
type Condition = fn() -> PrivateSession;

const CONDITIONS: [(&str, Condition); 7] = [
    ("locked", PrivateSession::locked_again),
    ("never unlocked", PrivateSession::never_unlocked),
    ("no bus", PrivateSession::no_bus),
    ("a dead socket", PrivateSession::dead_socket),
    ("no service", PrivateSession::without_service),
    ("a bus that never answers", PrivateSession::never_answers),
    ("a service that never answers", frozen),
];

/// Until the guard is dropped, snapshots replace the path of a bus by a placeholder.
fn socket_filter() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"unix:path=/\S*/bus", "unix:path=[bus]");
    settings.bind_to_scope()
}

#[test]
fn an_unreadable_keychain_is_never_reported_as_logged_out() {
    let mut output = String::new();
    for (name, condition) in CONDITIONS {
        let session = condition();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        let before = home.tree();
        for arguments in [
            &["status"][..],
            &["token"],
            &["migrate", "--to", "file"],
            &["migrate", "--to", "keychain", "--dry-run"],
            &["login", "--with-api-key"],
            &["logout"],
        ] {
            let begun = Instant::now();
            let run = home.codex(arguments.iter().copied()).env("CODEX_AUTH_KEYCHAIN_TIMEOUT", CALL_TIMEOUT);
            let ended = run.input("sk-new").run().refused(5);
            assert!(begun.elapsed() < COMMAND_LIMIT, "{name}: {arguments:?} took {:?}", begun.elapsed());
            assert_eq!(ended.out, "", "{name}: {arguments:?}");
            if arguments == ["status"] {
                output.push_str(&format!("{name}: {}", ended.err));
            }
            if !matches!(arguments[0], "login" | "logout") {
                assert_eq!(home.tree(), before, "{name}: {arguments:?}");
            }
            assert!(!home.document().exists(), "{name}: {arguments:?}");
        }
    }
    let _filter = socket_filter();
    insta::assert_snapshot!(output, @r"
    locked: error: GNOME Keyring is locked; log in to the desktop, or unlock the login keyring in Passwords and Keys, and try again
    hint: unlock the keychain, or store the login in a file: codex login --store file
    never unlocked: error: Secret Service has no default keyring yet; create one, for example by logging in to the desktop, and try again
    hint: without a keychain, store the login in a file: codex login --store file
    no bus: error: Secret Service cannot be reached: Failed to connect to address `unix:path=[bus]`: No such file or directory (os error 2); start it for this session or choose another store
    hint: without a keychain, store the login in a file: codex login --store file
    a dead socket: error: Secret Service cannot be reached: Failed to connect to address `unix:path=[bus]`: Connection refused (os error 111); start it for this session or choose another store
    hint: without a keychain, store the login in a file: codex login --store file
    no service: error: Secret Service cannot be reached: org.freedesktop.DBus.Error.ServiceUnknown: The name org.freedesktop.secrets was not provided by any .service files; start it for this session or choose another store
    hint: without a keychain, store the login in a file: codex login --store file
    a bus that never answers: error: Secret Service did not read an item within 300ms; nothing was changed, try again
    hint: without a keychain, store the login in a file: codex login --store file
    a service that never answers: error: Secret Service did not read an item within 300ms; nothing was changed, try again
    hint: without a keychain, store the login in a file: codex login --store file
    ");
}

#[test]
fn a_selected_keychain_that_is_unusable_leaves_the_login_in_the_file_unchanged() {
    for (name, condition) in CONDITIONS {
        let session = condition();
        let home = TestHome::within(&session);
        home.write("auth.json", r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}"#);
        let document = home.read("auth.json");
        let run = home.codex(["login", "--store", "keychain", "--with-api-key"]);
        run.env("CODEX_AUTH_KEYCHAIN_TIMEOUT", CALL_TIMEOUT).input("sk-new").run().refused(5);
        assert_eq!(home.read("auth.json"), document, "{name}");
        assert!(!home.file("config.toml").exists(), "{name}");
        assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-old\n", "{name}");
    }
}

#[test]
fn without_a_selected_store_a_login_goes_to_the_file_and_the_reason_is_shown() {
    let mut output = String::new();
    for (name, condition) in CONDITIONS {
        let session = condition();
        let home = TestHome::within(&session);
        let codex = |line: &[&'static str]| {
            home.codex(line.iter().copied()).env("CODEX_AUTH_KEYCHAIN_TIMEOUT", CALL_TIMEOUT)
        };
        let ended = codex(&["login", "--with-api-key"]).input("sk-new").run().expect(0);
        let line = ended.err.lines().nth(1).unwrap().replace(home.path().to_str().unwrap(), "[home]");
        output.push_str(&format!("{name}: {line}\n"));
        // From now on the keychain is not used.
        let begun = Instant::now();
        let ended = home.codex(["token"]).run().expect(0);
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("sk-new\n", ""), "{name}");
        assert!(begun.elapsed() < COMMAND_LIMIT, "{name}");
        codex(&["status"]).run().expect(0);
        codex(&["logout"]).run().expect(0);
        assert!(!home.document().exists());
    }
    let _filter = socket_filter();
    insta::assert_snapshot!(output, @r"
    locked: stored in the file store, [home]/auth.json (the keychain cannot be used: GNOME Keyring is locked; log in to the desktop, or unlock the login keyring in Passwords and Keys, and try again)
    never unlocked: stored in the file store, [home]/auth.json (the keychain cannot be used: Secret Service has no default keyring yet; create one, for example by logging in to the desktop, and try again)
    no bus: stored in the file store, [home]/auth.json (the keychain cannot be used: Secret Service cannot be reached: Failed to connect to address `unix:path=[bus]`: No such file or directory (os error 2); start it for this session or choose another store)
    a dead socket: stored in the file store, [home]/auth.json (the keychain cannot be used: Secret Service cannot be reached: Failed to connect to address `unix:path=[bus]`: Connection refused (os error 111); start it for this session or choose another store)
    no service: stored in the file store, [home]/auth.json (the keychain cannot be used: Secret Service cannot be reached: org.freedesktop.DBus.Error.ServiceUnknown: The name org.freedesktop.secrets was not provided by any .service files; start it for this session or choose another store)
    a bus that never answers: stored in the file store, [home]/auth.json (the keychain cannot be used: Secret Service did not read when an item changed within 300ms; nothing was changed, try again)
    a service that never answers: stored in the file store, [home]/auth.json (the keychain cannot be used: Secret Service did not read when an item changed within 300ms; nothing was changed, try again)
    ");
}

#[test]
fn the_auto_store_reads_the_file_with_a_warning_if_the_keychain_is_unusable() {
    for (name, condition) in CONDITIONS {
        let session = condition();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"auto\"\n");
        home.write("auth.json", r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}"#);
        let run =
            |command| home.codex([command]).env("CODEX_AUTH_KEYCHAIN_TIMEOUT", CALL_TIMEOUT).run().expect(0);
        assert_eq!(run("token").out, "sk-old\n", "{name}");
        let ended = run("status");
        assert!(ended.err.starts_with("warning: the keychain is not used: "), "{name}: {ended}");
    }
}

#[test]
fn no_command_prompts_to_unlock_a_keychain() {
    for condition in [PrivateSession::locked_again, PrivateSession::never_unlocked] {
        let mut session = condition();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        for arguments in [
            &["status"][..],
            &["token"],
            &["login", "--with-api-key"],
            &["logout"],
            &["migrate", "--to", "file"],
        ] {
            home.codex(arguments.iter().copied()).input("sk-new").run().expect(5);
            // Not even on a terminal.
            home.codex(arguments.iter().copied()).on_a_terminal().run();
        }
        assert_eq!(session.dialogues(), Vec::<String>::new());
    }
}

#[test]
fn a_service_that_stops_answering_during_a_commit_keeps_the_old_login() {
    let session = PrivateSession::unlocked();
    let home = TestHome::within(&session);
    let _filters = snapshot_filters(&home);
    home.codex(["login", "--store", "keychain", "--with-api-key"]).input("sk-old").run().expect(0);
    // The program creates auth.lock just before it writes, and then waits for the other lock.
    std::fs::remove_file(home.file("auth.lock")).unwrap();
    let lock = Flock::hold(&home.file("auth.json.lock"));
    let run = home
        .codex(["login", "--with-api-key"])
        .env("CODEX_AUTH_KEYCHAIN_TIMEOUT", CALL_TIMEOUT)
        .input("sk-new");
    let child = run.start();
    eventually("the program to come to its commit", || home.file("auth.lock").exists());
    session.freeze();
    drop(lock);
    let begun = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < COMMAND_LIMIT, "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(5));
    let output = String::from_utf8(output.stderr).unwrap();
    assert!(output.starts_with("error: Secret Service did not ") && output.contains("\nhint: "), "{output}");
    session.thaw();
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-old\n");
}

#[test]
fn a_failure_to_start_a_thread_is_an_error_and_not_a_crash() {
    let uid = 64_099;
    let home = TestHome::new().owned_by(uid);
    home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
    chown(home.file("config.toml"), Some(uid), Some(uid)).unwrap();
    let socket = home.beside("bus").join("socket");
    // The bus never answers: the threads are started before the first call.
    let _bus = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let address = format!("unix:path={}", socket.display());
    let mut output = String::new();
    for processes in 1..=6 {
        let run = home.codex(["status"]).env("DBUS_SESSION_BUS_ADDRESS", &address);
        let run = run.env("CODEX_AUTH_KEYCHAIN_TIMEOUT", CALL_TIMEOUT).by_user(uid);
        let limit = format!("--nproc={processes}");
        let ended = run.through(["prlimit", &limit]).run().expect(5);
        assert!(
            ended.err.contains("\nerror: ") || ended.err.starts_with("error: Secret Service "),
            "{ended}"
        );
        output.push_str(&ended.err);
    }
    assert_eq!(output.matches("cannot spawn async-io thread").count(), 1, "{output}");
}
