//! Migrations and logins while another program commits, or `config.toml` cannot be written: no login is lost.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use scripted_authority::{Account, Authority, Endpoint, TokenState};
use serde_json::{Value, json};

use crate::manager::rival::Locks;
use crate::manager::world::{merged, spend};
use crate::support::session::{PrivateSession, inside};
use crate::support::{Flock, Mounted, Run, TestHome, chatgpt, eventually, here, item, items, jwt, now};

const FILE: &str = "cli_auth_credentials_store = \"file\" # mine\n";
const KEYCHAIN: &str = "cli_auth_credentials_store = \"keyring\" # mine\n";
const EPHEMERAL: &str = "cli_auth_credentials_store = \"ephemeral\" # mine\n";

/// One of the two stores, accessed without our library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreSide {
    File,
    Keychain,
}

impl StoreSide {
    const BOTH: [Self; 2] = [Self::File, Self::Keychain];

    fn other(self) -> Self {
        if self == Self::File { Self::Keychain } else { Self::File }
    }

    fn word(self) -> &'static str {
        if self == Self::File { "file" } else { "keychain" }
    }

    fn config(self) -> &'static str {
        if self == Self::File { FILE } else { KEYCHAIN }
    }

    fn read(self, home: &TestHome) -> Option<String> {
        match self {
            Self::File => fs::read_to_string(home.document()).ok(),
            Self::Keychain => item(home).get_secret().ok().map(|bytes| String::from_utf8(bytes).unwrap()),
        }
    }

    fn write(self, home: &TestHome, document: &str) {
        match self {
            Self::File => fs::rename(home.write(".auth-rival", document), home.document()).unwrap(),
            Self::Keychain => item(home).set_secret(document.as_bytes()).unwrap(),
        }
    }
}

/// Returns a home with a login in this store, which `config.toml` selects.
fn world(session: &PrivateSession, place: StoreSide) -> TestHome {
    let home = TestHome::within(session);
    home.write("config.toml", place.config());
    place.write(&home, &chatgpt("acct-1", "rt-0", now(), now() + 7200));
    home
}

/// Commits a new token to `place` every `pause` until `ended`, as Codex does: under its two locks, without a lease, and
/// only while the login is stored. Returns the last token.
fn rotate(home: &TestHome, place: StoreSide, pause: Duration, ended: &AtomicBool) -> String {
    let mut last = "rt-0".to_owned();
    for number in 1.. {
        if ended.load(Ordering::SeqCst) {
            break;
        }
        {
            let _locks = Locks::take(home);
            let Some(document) = place.read(home) else { break };
            let mut document: Value = serde_json::from_str(&document).unwrap();
            last = format!("rt-{number}");
            document["tokens"]["refresh_token"] = json!(last);
            document["tokens"]["access_token"] =
                json!(jwt(&json!({"iat": now() + number, "exp": now() + 7200 + number, "for": "acct-1"})));
            place.write(home, &document.to_string());
        }
        thread::sleep(pause);
    }
    last
}

fn holds(home: &TestHome, place: StoreSide, token: &str) -> bool {
    place.read(home).is_some_and(|document| document.contains(&format!("\"{token}\"")))
}

#[test]
fn a_migration_loses_no_token_while_another_program_commits() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let mut ends = Vec::new();
        for (from, pause) in
            StoreSide::BOTH.into_iter().flat_map(|from| [5, 20, 50, 100].map(|pause| (from, pause)))
        {
            let home = world(&session, from);
            let ended = AtomicBool::new(false);
            let (run, last) = thread::scope(|scope| {
                let rival = scope.spawn(|| rotate(&home, from, Duration::from_millis(pause), &ended));
                let run = home.codex(["migrate", "--to", from.other().word()]).run();
                ended.store(true, Ordering::SeqCst);
                (run, rival.join().unwrap())
            });
            let context = format!("{from:?} every {pause} ms, last {last}: {run}");
            assert!(holds(&home, from, &last) || holds(&home, from.other(), &last), "lost: {context}");
            if run.code == Some(0) {
                assert!(holds(&home, from.other(), &last) && from.read(&home).is_none(), "{context}");
            } else {
                // A program that commits without a pause may keep the lock busy.
                assert!(matches!(run.code, Some(4 | 6)), "{context}");
                assert!(holds(&home, from, &last) && from.other().read(&home).is_none(), "{context}");
                assert_eq!(home.read("config.toml"), from.config(), "{context}");
                assert_eq!(
                    home.codex(["status", "--json"]).run().expect(0).json()["store"],
                    from.word(),
                    "{context}"
                );
            }
            ends.push(context.lines().next().unwrap().to_owned());
            home.codex(["logout", "--local"]).run().expect(0);
        }
        println!("{}", ends.join("\n"));
        assert!(
            ends.iter().any(|context| context.contains("exit 4")),
            "no migration was disturbed: {ends:#?}"
        );
        assert!(ends.iter().any(|context| context.contains("exit 0")), "no migration succeeded: {ends:#?}");
    });
}

#[test]
fn a_newer_copy_in_the_other_store_is_moved_and_never_removed() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for to in StoreSide::BOTH {
            let home = world(&session, to);
            to.other().write(&home, &chatgpt("acct-1", "rt-newer", now() + 60, now() + 7260));
            let ended = home.codex(["migrate", "--to", to.word()]).run().expect(0);
            assert!(holds(&home, to, "rt-newer"), "{to:?}: {ended}");
            assert_eq!(to.other().read(&home), None, "{to:?}: {ended}");
            home.codex(["logout", "--local"]).run().expect(0);
        }
    });
}

#[test]
fn a_copy_that_another_program_refreshes_during_a_migration_is_not_lost() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for (to, pause) in StoreSide::BOTH.into_iter().flat_map(|to| [2, 10, 30].map(|pause| (to, pause))) {
            let home = world(&session, to);
            to.other().write(&home, &chatgpt("acct-1", "rt-0", now() - 60, now() + 7140));
            let ended = AtomicBool::new(false);
            let (run, last) = thread::scope(|scope| {
                let rival = scope.spawn(|| rotate(&home, to.other(), Duration::from_millis(pause), &ended));
                let run = home.codex(["migrate", "--to", to.word()]).run();
                ended.store(true, Ordering::SeqCst);
                (run, rival.join().unwrap())
            });
            // Of two copies of one login the one with the later token is used.
            let kept = holds(&home, to, &last) || holds(&home, to.other(), &last);
            assert!(kept, "{to:?} every {pause} ms, last {last}: {run}");
            home.codex(["logout", "--local"]).run().expect(0);
        }
    });
}

#[test]
fn an_ephemeral_store_setting_deletes_nothing_and_is_never_written() {
    for by_option in [false, true] {
        let home = TestHome::new();
        let codex = |arguments: &[&str]| {
            let option: &[&str] =
                if by_option { &["-c", "cli_auth_credentials_store=\"ephemeral\""] } else { &[] };
            home.codex(option.iter().chain(arguments).copied()).input("sk-new")
        };
        let document = chatgpt("acct-1", "rt-1", now(), now() + 3600);
        home.write("auth.json", &document);
        home.write("config.toml", if by_option { FILE } else { EPHEMERAL });
        for arguments in [
            &["login", "--with-api-key"][..],
            &["login", "--device-auth"],
            &["login", "--no-browser"],
            &["status"],
            &["token"],
            &["refresh"],
            &["migrate", "--to", "file"],
        ] {
            let ended = codex(arguments).run();
            assert_ne!(ended.code, Some(101), "{arguments:?}: {ended}");
            let context = format!("{by_option} {arguments:?}: {ended}");
            assert!(
                arguments[0] != "login" || ended.code == Some(1) && ended.err.contains("ephemeral"),
                "{context}"
            );
            assert_eq!(home.read("auth.json"), document, "{context}");
            assert_eq!(home.read("config.toml").contains("ephemeral"), !by_option, "{context}");
        }
        codex(&["login", "--store", "file", "--with-api-key"]).run().expect(0);
        assert!(home.read("auth.json").contains("sk-new"));
        assert!(!home.read("config.toml").contains("ephemeral"), "{}", home.read("config.toml"));
    }
}

/// Shell scripts after which `config.toml` cannot be written, although the rest of the home can.
const OBSTACLES: [&str; 3] = [
    "mount --bind \"$home/config.toml\" \"$home/config.toml\"; mount -o remount,bind,ro \"$home/config.toml\"",
    "mkdir \"$home/../store\"; mv \"$home/config.toml\" \"$home/../store\"; ln -s ../store/config.toml \"$home/config.toml\"
     mount --bind \"$home/../store\" \"$home/../store\"; mount -o remount,bind,ro \"$home/../store\"",
    "mkdir \"$home/../ours\"; mount -t tmpfs none \"$home/../ours\"; mv \"$home/config.toml\" \"$home/../ours\"
     chattr +i \"$home/../ours/config.toml\"; ln -s ../ours/config.toml \"$home/config.toml\"",
];

#[test]
fn a_login_that_cannot_edit_the_configuration_fails_before_any_request() {
    for obstacle in OBSTACLES {
        let authority = Authority::start().unwrap();
        let grant = authority.grant(Account::numbered(1));
        let home = TestHome::new();
        home.write("config.toml", FILE);
        home.write("auth.json", grant.auth_json());
        let mounted = Mounted::by(home, obstacle);
        let before = mounted.home.tree();
        for way in [&["--with-api-key"][..], &["--device-auth"], &["--no-browser"], &[]] {
            let run = mounted.codex(["login", "--store", "auto"].into_iter().chain(way.iter().copied()));
            let ended = with_authority(run, &authority).input("sk-new").run();
            assert!(ended.err.contains("config.toml"), "{obstacle}: {ended}");
            ended.refused(5);
        }
        assert_eq!(mounted.home.tree(), before, "{obstacle}");
        assert!(authority.journal().is_empty(), "{:#?}", authority.journal());
    }
}

fn with_authority(run: Run, authority: &Authority) -> Run {
    let run = run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", authority.token_url());
    let run = run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", authority.revoke_url());
    run.env("CODEX_APP_SERVER_LOGIN_ISSUER", authority.url())
}

#[test]
fn a_migration_that_cannot_edit_the_configuration_changes_nothing() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for (from, obstacle) in
            StoreSide::BOTH.into_iter().flat_map(|from| OBSTACLES.map(|obstacle| (from, obstacle)))
        {
            let home = world(&session, from);
            let mounted = Mounted::by(home, obstacle);
            let (before, kept) = (mounted.home.tree(), items(&mounted.home));
            let ended = mounted.codex(["migrate", "--to", from.other().word()]).run();
            assert!(ended.err.contains("config.toml"), "{ended}");
            ended.refused(5);
            assert_eq!((mounted.home.tree(), items(&mounted.home)), (before, kept), "{from:?} {obstacle}");
        }
    });
}

/// Returns `auth.json` and `config.toml` of a home with their content, and the keychain items.
fn picture(home: &TestHome) -> (Vec<(String, String)>, Vec<Vec<u8>>) {
    let files = ["auth.json", "config.toml"];
    let files = files
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(home.file(name)).ok()?)));
    (files.collect(), items(home))
}

/// The rename of the new `config.toml`, as a call to fail.
const CONFIG: (&str, &str) = ("config.toml", "rename,renameat,renameat2");
/// The removal of `auth.json`, as a call to fail.
const REMOVAL: (&str, &str) = ("auth.json", "unlink,unlinkat");

/// Makes these system calls on this file fail in `run`.
fn with_failing(run: Run, (file, calls): (&str, &str)) -> Run {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error=EIO"));
    run.through(["strace", "-f", "-o", "/dev/null", "-P", file, "-e", &trace, "-e", &inject])
}

#[test]
fn a_failure_to_write_the_configuration_after_the_copy_rolls_everything_back() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for from in StoreSide::BOTH {
            let authority = Authority::start().unwrap();
            let grant = authority.grant(Account::numbered(1));
            let home = world(&session, from);
            from.write(&home, &grant.auth_json());
            // What a broken program left there is no login, and not ours to lose.
            if from == StoreSide::Keychain {
                from.other().write(&home, "{\"tokens\": half");
            }
            let before = picture(&home);
            for arguments in [
                &["migrate", "--to", from.other().word()][..],
                &["login", "--store", from.other().word(), "--with-api-key"],
            ] {
                let run = with_authority(home.codex(arguments.iter().copied()), &authority).input("sk-new");
                let ended = with_failing(run, CONFIG).run();
                assert!(ended.err.contains("config.toml"), "{from:?} {arguments:?}: {ended}");
                ended.refused(5);
                assert_eq!(picture(&home), before, "{from:?} {arguments:?}");
                assert_eq!(authority.state_of(&grant.tokens.refresh_token), TokenState::Live);
                let report = home.codex(["status", "--json"]).run().expect(0).json();
                assert_eq!(report["store"], from.word(), "{report:#}");
            }
            assert_eq!(authority.counters().of(Endpoint::Revoke), 0);
            home.codex(["logout", "--local"]).run().expect(0);
        }
    });
}

/// After a failed sync the file has changed, but may not be durable.
#[test]
fn a_failed_sync_at_any_step_never_hides_the_login() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let mut failed = 0;
        for (number, from) in (1..8).flat_map(|number| StoreSide::BOTH.map(|from| (number, from))) {
            let authority = Authority::start().unwrap();
            let grant = authority.grant(Account::numbered(1));
            let home = world(&session, from);
            from.write(&home, &grant.auth_json());
            let run = with_authority(home.codex(["migrate", "--to", from.other().word()]), &authority);
            let inject = format!("inject=fsync:error=EIO:when={number}");
            let ended =
                run.through(["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", &inject]).run();
            failed += u32::from(ended.code != Some(0));
            let report = home.codex(["status", "--json"]).run();
            assert_eq!(report.code, Some(0), "{from:?}, {number}: {ended}\n{report}");
            home.codex(["token"]).run().expect(0);
            home.codex(["logout", "--local"]).run().expect(0);
        }
        assert!(failed > 3, "{failed}");
    });
}

#[test]
fn a_failure_to_remove_the_old_copy_rolls_everything_back() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for config in [None, Some(""), Some("model = \"o5\" # mine\n"), Some(FILE)] {
            let home = world(&session, StoreSide::File);
            match config {
                Some(text) => drop(home.write("config.toml", text)),
                None => fs::remove_file(home.file("config.toml")).unwrap(),
            }
            let before = picture(&home);
            let run = home.codex(["migrate", "--to", "keychain"]);
            let ended = with_failing(run, REMOVAL).run();
            assert!(ended.err.contains("auth.json"), "{config:?}: {ended}");
            ended.refused(5);
            assert_eq!(picture(&home), before, "{config:?}");
            home.codex(["migrate", "--to", "keychain"]).run().expect(0);
            home.codex(["logout", "--local"]).run().expect(0);
        }
    });
}

#[test]
fn a_login_revokes_the_token_that_it_replaced_and_not_an_earlier_one() {
    let authority = Authority::start().unwrap();
    let grant = authority.grant(Account::numbered(1));
    let home = TestHome::new();
    let read = grant.auth_json();
    home.write("auth.json", &read);
    let lock = Flock::hold(&home.file("auth.lock"));
    let run = home.codex(["login", "--revoke-old", "--store", "file", "--with-api-key"]);
    let mut child = with_authority(run, &authority).input("sk-new").start();
    let lease = home.file("codex-auth/refresh.lock");
    // The login has read the store and waits for the commit lock.
    eventually("the lease", || lease.exists() && !Flock::is_free(&lease));
    let answer = spend(&authority, &grant.tokens.refresh_token);
    let live = authority.live_refresh_token(grant.id).unwrap();
    StoreSide::File.write(&home, &merged(&read, &answer));
    drop(lock);
    assert!(child.wait().unwrap().success());
    assert!(home.read("auth.json").contains("sk-new"));
    assert_ne!(authority.state_of(&live), TokenState::Live, "{:#?}", authority.journal());
}
