//! The accounts of a home: one keeper keeps them all, each with its own lock and socket.

use std::fs;
use std::path::{Path, PathBuf};

use scripted_authority::{Account, Ending, Endpoint};
use serde_json::Value;

use super::exports::exported_token;
use super::process::{AT_WORK, Process, STANDING_BY};
use super::socket::{get, response_to, status};
use crate::accounts::world::World;
use crate::support::{eventually, names};

/// The keeper of an account logs this when it holds the lock.
const ACCOUNT_KEPT: &str = "keeping the account fresh";
/// The offset of the authority's clock with which tokens that live for an hour expire in a minute.
const STALE: i64 = -3_540;

/// Accounts whose tokens expire in a minute; later ones are valid for an hour.
fn stale(names: &[&str]) -> World {
    let world = World::with_policy(names, |policy| policy.clock_offset = STALE);
    world.authority.adjust(|policy| policy.clock_offset = 0);
    world
}

/// Starts the keeper of the home, and waits until it keeps `accounts` accounts.
fn keep(world: &World, accounts: usize) -> Process {
    let keeper = Process::start(world.run(["sync", "run"]));
    keeper.until(AT_WORK);
    (0..accounts).for_each(|_| drop(keeper.until(ACCOUNT_KEPT)));
    keeper
}

fn home(world: &World, name: &str) -> PathBuf {
    world.document(name).parent().unwrap().to_owned()
}

fn socket(home: &Path) -> PathBuf {
    home.join("codex-auth/keeper/sock")
}

/// The access token that a socket returns.
fn served(socket: &Path) -> Option<String> {
    let answer = response_to(socket, &get("/v1/token"));
    let body = answer.split_once("\r\n\r\n")?.1;
    serde_json::from_str::<Value>(body).ok()?["token"].as_str().map(str::to_owned)
}

/// The newest access token of each account.
fn latest(world: &World, at: usize) -> String {
    world.authority.latest(world.grants[at].id).unwrap().tokens.access_token
}

fn report(world: &World, arguments: &[&str]) -> Value {
    let words = ["sync", "status", "--json"];
    world.run(words.iter().chain(arguments).copied()).run().json()
}

/// The entry of an account in the report about all.
fn entry(world: &World, name: &str) -> Value {
    let all = report(world, &[]);
    all["accounts"].as_array().unwrap().iter().find(|account| account["name"] == name).unwrap().clone()
}

/// The number of watchers of the operating system that a process has.
// Linux: procfs.
#[cfg(target_os = "linux")]
fn watchers(pid: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let is_watcher =
        |file: &PathBuf| fs::read_link(file).is_ok_and(|it| it == Path::new("anon_inode:inotify"));
    files.map(|file| file.unwrap().path()).filter(is_watcher).count()
}

#[test]
fn one_process_refreshes_each_account_once_and_serves_each_at_its_own_socket() {
    let world = stale(&["a", "b", "c"]);
    let keeper = keep(&world, 3);
    eventually("three refreshes", || world.requests() == 3);
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        eventually("the new token", || served(&socket(&home(&world, name))) == Some(latest(&world, at)));
        let status = entry(&world, name);
        assert_eq!((&status["running"], &status["pid"]), (&true.into(), &keeper.pid().into()), "{status:#}");
        assert_eq!((&status["usable"], &status["active"]), (&true.into(), &(at == 0).into()), "{status:#}");
        assert!(status["next_refresh_at"].is_string(), "{status:#}");
        let own = report(&world, &["--account", name]);
        assert_eq!(own["socket"], status["socket"]);
        assert_eq!(own["account"]["email"], status["identity"]["email"]);
    }
    // The socket of the home follows a switch.
    let own = socket(&world.home.path());
    assert_eq!(served(&own), Some(latest(&world, 0)));
    world.run(["account", "use", "b"]).run().expect(0);
    assert_eq!(served(&own), Some(latest(&world, 1)));
    let shown = world.run(["sync", "status"]).run().expect(0).out;
    let line = |name: &str| shown.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(line("* b").contains("refresh in") && line("  c").contains("refresh in"), "{shown}");
    // Linux: procfs.
    #[cfg(target_os = "linux")]
    assert_eq!(watchers(keeper.pid()), 2, "all accounts share them");
    keeper.signal("-TERM");
    assert_eq!(keeper.wait().0, Some(0));
    assert_eq!(names(&home(&world, "c").join("codex-auth/keeper")), Vec::<String>::new());
    assert_eq!(world.requests(), 3, "{:#?}", world.authority.journal());
    world.assert_whole();
}

#[test]
fn accounts_that_are_added_renamed_logged_out_and_removed_are_taken_up_without_a_restart() {
    let world = World::with(&["a"]);
    let keeper = keep(&world, 1);
    let grant = world.authority.grant(Account::numbered(2));
    let file = world.write_outside("b.json", &grant.auth_json());
    world.run(["account", "import", file.to_str().unwrap(), "b"]).run().expect(0);
    keeper.until(ACCOUNT_KEPT);
    let folder = home(&world, "b");
    assert_eq!(served(&socket(&folder)), Some(grant.tokens.access_token.clone()));
    world.run(["account", "rename", "b", "c"]).run().expect(0);
    keeper.until("account b is now named c");
    fs::remove_file(socket(&folder)).unwrap();
    let line = keeper.until("listening").pop().unwrap();
    assert!(line.contains("account{name=c}"), "{line}");
    world.run(["logout", "--account", "c"]).run().expect(0);
    assert_eq!(served(&socket(&folder)), None);
    assert_eq!(entry(&world, "c")["usable"], false);
    let again = world.authority.grant(Account::numbered(2));
    fs::write(folder.join("auth.json"), again.auth_json()).unwrap();
    eventually("the login", || served(&socket(&folder)).as_ref() == Some(&again.tokens.access_token));
    world.run(["account", "remove", "c"]).run().expect(0);
    keeper.until("account c was removed");
    eventually("the folder to be gone", || !folder.exists());
    assert_eq!(report(&world, &[])["accounts"].as_array().unwrap().len(), 1);
    keeper.signal("-TERM");
    let (code, rest) = keeper.wait();
    assert_eq!(code, Some(0), "{rest:#?}");
    assert!(!rest.iter().any(|line| line.contains("WARN") || line.contains("ERROR")), "{rest:#?}");
    assert!(!folder.exists());
}

/// The list of its exports goes with the account, so no keeper could remove the token later.
#[test]
fn an_account_that_is_removed_leaves_no_token_in_its_exports() {
    let world = World::with(&["a", "b"]);
    let keeper = keep(&world, 2);
    let folder = world.home.beside("export").join("b");
    world.run(["sync", "export", folder.to_str().unwrap(), "--account", "b"]).run().expect(0);
    eventually("the export", || folder.join("auth.json").exists());
    keeper.signal("-KILL");
    keeper.wait();
    world.run(["account", "remove", "b", "--yes"]).run().expect(0);
    assert!(!folder.join("auth.json").exists());
}

#[test]
fn a_failed_account_does_not_stop_the_others() {
    let world = stale(&["a", "b", "c", "d", "e"]);
    world.authority.end(world.grants[1].id, Ending::WholeGrant);
    let [bad, blocked] = ["c", "d"].map(|name| home(&world, name));
    fs::write(bad.join("auth.json"), "{").unwrap();
    let ours = blocked.join("codex-auth");
    if ours.exists() {
        fs::remove_dir_all(&ours).unwrap();
    }
    fs::write(&ours, "a file").unwrap();
    let keeper = keep(&world, 4);
    for at in [0, 4] {
        let path = socket(&home(&world, ["a", "b", "c", "d", "e"][at]));
        eventually("a refreshed token", || {
            let now = latest(&world, at);
            now != world.grants[at].tokens.access_token && served(&path) == Some(now)
        });
    }
    eventually("the poison", || entry(&world, "b")["usable"] == false);
    assert_eq!(status(&response_to(&socket(&bad), &get("/v1/token"))), "503");
    assert_eq!(entry(&world, "d")["running"], false);
    // It is kept as soon as that is possible.
    fs::remove_file(&ours).unwrap();
    eventually("the blocked account to be kept", || entry(&world, "d")["running"] == true);
    drop(keeper);
}

#[test]
fn a_keeper_of_one_account_is_named_and_keeps_it_until_it_ends() {
    let world = World::with(&["a", "b"]);
    let single = Process::start(world.run(["sync", "run", "--account", "b"]));
    single.until(AT_WORK);
    assert_eq!(report(&world, &[])["running"], false);
    // The two accounts are taken up in any order.
    let keeper = Process::start(world.run(["sync", "run"]));
    let mut lines = keeper.until(ACCOUNT_KEPT);
    if !lines.iter().any(|line| line.contains(STANDING_BY)) {
        lines = keeper.until(STANDING_BY);
    }
    let line = lines.iter().find(|line| line.contains(STANDING_BY)).unwrap();
    let pid = format!("pid {}", single.pid());
    assert!(line.contains(&pid) && line.contains("name=b"), "{line}");
    assert_eq!(entry(&world, "b")["pid"], single.pid());
    single.signal("-TERM");
    assert_eq!(single.wait().0, Some(0));
    keeper.until(ACCOUNT_KEPT);
    assert_eq!(entry(&world, "b")["pid"], keeper.pid());
    // The other way round.
    let single = Process::start(world.run(["sync", "run", "--account", "b"]));
    let lines = single.until(STANDING_BY);
    assert!(lines.last().unwrap().contains(&format!("pid {}", keeper.pid())), "{lines:#?}");
}

#[test]
fn each_account_has_its_exports() {
    let world = World::with(&["a", "b", "c"]);
    let _keeper = keep(&world, 3);
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        let folder = world.home.path().with_file_name(format!("export-{name}"));
        let words = ["sync", "export", folder.to_str().unwrap(), "--account", name];
        let ended = world.run(words).run().expect(0);
        assert!(!ended.err.contains("warning"), "{ended}");
        assert_eq!(exported_token(&folder), Some(world.grants[at].tokens.access_token.clone()));
        assert_eq!(served(&folder.join("sock")), Some(world.grants[at].tokens.access_token.clone()));
        world.run(["refresh", "--account", name]).run().expect(0);
        eventually("the new token", || exported_token(&folder) == Some(latest(&world, at)));
        assert_eq!(served(&folder.join("sock")), Some(latest(&world, at)));
    }
    world.assert_whole();
}

#[test]
fn the_keeper_and_its_status_ignore_pinned_folders() {
    let world = World::with(&["a", "b"]);
    let folder = world.home.path().with_file_name("project");
    fs::create_dir(&folder).unwrap();
    world.run(["account", "pin", "b", folder.to_str().unwrap()]).run().expect(0);
    let keeper = Process::start(world.run(["sync", "run"]).through(["env", "-C", folder.to_str().unwrap()]));
    keeper.until(AT_WORK);
    keeper.until(ACCOUNT_KEPT);
    keeper.until(ACCOUNT_KEPT);
    let status = world
        .run(["sync", "status", "--json"])
        .through(["env", "-C", folder.to_str().unwrap()])
        .run()
        .expect(0)
        .json();
    assert_eq!(
        (&status["running"], &status["account"]["email"]),
        (&true.into(), &report(&world, &[])["account"]["email"])
    );
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 0);
}

#[test]
fn a_keeper_that_is_stopped_is_said_not_to_respond_and_named_by_its_process() {
    let world = World::with(&["a", "b", "c"]);
    let keeper = keep(&world, 3);
    keeper.signal("-STOP");
    let ended = world.run(["sync", "status"]).run().expect(1);
    let silent = format!("the keeper (pid {}) does not respond", keeper.pid());
    assert_eq!(ended.out.matches(&silent).count(), 4, "{ended}");
    let hint = format!(
        "hint: if it was stopped, continue it: kill -CONT {0}; or end it: kill -KILL {0}",
        keeper.pid()
    );
    assert!(ended.err.contains(&hint), "{ended}");
    let report = report(&world, &[]);
    for part in std::iter::once(&report).chain(report["accounts"].as_array().unwrap()) {
        assert_eq!((&part["running"], &part["responding"]), (&true.into(), &false.into()), "{part:#}");
        assert_eq!(part["pid"], keeper.pid(), "{part:#}");
    }
    let ended = world.run(["doctor"]).run();
    assert!(ended.out.contains(&format!("pid {} does not respond", keeper.pid())), "{ended}");
    // A socket of another home names no process.
    let socket = socket(&world.home.path());
    let ended = world.run(["sync", "status"]).env("CODEX_AUTH_SOCKET", &socket).run().expect(1);
    assert!(ended.out.contains("the keeper does not respond"), "{ended}");
    keeper.signal("-CONT");
    world.run(["sync", "status"]).run().expect(0);
}
