//! The output of `codex watch`, and how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::time::{Duration, Instant};

use scripted_authority::{Account, Ending, Endpoint, Step};

use super::watcher::{WatchMode, Watcher};
use crate::manager::world::World;
use crate::support::{Guarded, Lines, Machine, over_both_stores, snapshot_filters};

over_both_stores!(no_line_contains_a_secret_at_any_verbosity);

#[test]
fn it_can_be_interrupted_from_its_first_line_on() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    for _ in 0..10 {
        let (watcher, first) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
        assert_eq!((&first["account"]["id"], &first["usable"]), (&"acct-1".into(), &true.into()));
        assert_eq!(watcher.interrupt(), Vec::<String>::new());
    }
}

#[test]
fn it_ends_when_its_reader_ends_even_without_changes() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut child = Guarded(world.codex(["watch"]).start());
    let begun = Instant::now();
    let mut reader = BufReader::new(child.0.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    // Sooner than the fallback poll.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(Lines::of(child.0.stderr.take().unwrap()).rest(), Vec::<String>::new());
}

/// Ten changes in a row: at a poll each second they would take about five seconds.
// Linux: inotify.
#[cfg(target_os = "linux")]
#[test]
fn changes_are_noticed_in_tenths_of_a_second_where_events_have_run_out() {
    for (mode, limit) in
        [(WatchMode::Polling, "max_user_instances"), (WatchMode::FewWatches, "max_user_watches")]
    {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let (watcher, _) = Watcher::start(world.codex(["watch", "--json"]), mode);
        let begun = Instant::now();
        for account in 2..12 {
            world.machine.store_text(world.authority.grant(Account::numbered(account)).auth_json());
            assert_eq!(watcher.next_event()["account"]["id"], format!("acct-{account}"));
        }
        let took = begun.elapsed();
        println!("{mode:?}: {took:.0?}");
        assert!(took < Duration::from_millis(2_500), "{mode:?}: {took:.0?}");
        // A folder on the way, which no watch is left for.
        let other = world.machine.home.beside("another home");
        fs::write(other.join("auth.json"), world.grant.auth_json()).unwrap();
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        let home = world.machine.home.path();
        rustix::fs::renameat_with(rustix::fs::CWD, home, rustix::fs::CWD, other, exchange).unwrap();
        let begun = Instant::now();
        assert_eq!(watcher.next_event()["account"]["id"], "acct-1");
        assert!(begun.elapsed() < Duration::from_secs(5), "{mode:?}: {:?}", begun.elapsed());
        let notes = watcher.interrupt();
        assert!(notes.len() == 1 && notes[0].contains(limit), "{notes:#?}");
    }
}

#[test]
fn it_ends_when_the_home_is_deleted() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let (watcher, _) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
    let home = world.machine.home.path();
    fs::remove_dir_all(&home).unwrap();
    watcher.expect_event("logout");
    let (code, output, stderr) = watcher.wait();
    let gone = format!("{} was deleted; nothing is left to watch", home.display());
    assert_eq!((code, output.len(), stderr), (Some(0), 0, vec![gone]));
}

#[test]
fn a_half_written_document_is_unreadable_and_not_a_logout() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let (watcher, _) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
    let whole = world.machine.stored_text().unwrap();
    let mut file =
        fs::OpenOptions::new().write(true).truncate(true).open(world.machine.home.document()).unwrap();
    let output = watcher.expect_event("unreadable");
    assert_eq!((&output["logged_in"], &output["usable"]), (&true.into(), &false.into()), "{output}");
    let (one, other) = whole.split_at(whole.len() / 2);
    file.write_all(one.as_bytes()).unwrap();
    file.write_all(other.as_bytes()).unwrap();
    let output = watcher.expect_event("readable");
    assert_eq!((&output["logged_in"], &output["usable"]), (&true.into(), &true.into()), "{output}");
    world.codex(["logout", "--local"]).run().expect(0);
    watcher.expect_event("logout");
}

#[test]
fn a_document_that_is_unreadable_at_the_start_is_neither_logged_in_nor_logged_out() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.machine.store_text("{bad");
    let (watcher, first) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
    assert!(first["logged_in"].is_null() && first["usable"] == false, "{first}");
    assert!(first["reason"].as_str().unwrap().contains("cannot parse "), "{first}");
    world.machine.store_text(world.grant.auth_json());
    watcher.expect_event("login");
    let mut child = Guarded(world.codex(["watch"]).start());
    world.machine.store_text("{bad");
    let lines = Lines::of(child.0.stdout.take().unwrap());
    let output = lines.until(|line| line.contains("cannot parse "));
    assert!(!output.join(" ").contains("not logged in"), "{output:?}");
}

fn no_line_contains_a_secret_at_any_verbosity(machine: &mut Machine) {
    let world = World::fresh(machine);
    let verbose = |arguments: [&'static str; 2]| {
        world.codex(arguments).env("CODEX_AUTH_LOG", "trace").env("RUST_LOG", "trace")
    };
    let mut child = Guarded(verbose(["watch", "--verbose"]).start());
    let lines = Lines::of(child.0.stdout.take().unwrap());
    let stderr = Lines::of(child.0.stderr.take().unwrap());
    let mut seen = lines.until(|line| line.contains("now"));
    let (json, first) = Watcher::start(verbose(["watch", "--json"]), WatchMode::Native);
    seen.push(first.to_string());
    let mut hears = |word: &str, event: &str| {
        seen.extend(lines.until(|line| line.contains(word)));
        seen.push(json.expect_event(event).to_string());
    };
    world.codex(["refresh"]).run().expect(0);
    hears("refreshed", "refreshed");
    let again = world.authority.grant(Account::numbered(2));
    world.sign_in(&again);
    hears("account changed", "account_changed");
    world.authority.end(again.id, Ending::RefreshInvalidated);
    world.codex(["refresh"]).run().expect(3);
    hears("poisoned", "poisoned");
    world.codex(["login", "--with-api-key"]).input("sk-of-the-test").run().expect(0);
    hears("healed", "healed");
    world.codex(["logout", "--local"]).run().expect(0);
    hears("logout", "logout");
    child.0.kill().unwrap();
    seen.extend(stderr.rest());
    seen.extend(json.interrupt());
    for secret in world.authority.issued_secrets().iter().map(String::as_str).chain(["sk-of-the-test"]) {
        assert!(!seen.iter().any(|line| line.contains(secret)), "{seen:#?}");
    }
}

#[test]
fn a_line_has_the_time_event_account_store_and_author() {
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let mut child = Guarded(world.codex(["watch"]).start());
    let lines = Lines::of(child.0.stdout.take().unwrap());
    let mut seen = lines.until(|line| line.contains("now"));
    let mut hears = |word: &str| seen.extend(lines.until(|line| line.contains(word)));
    world.sign_in(&world.grant);
    hears("login");
    world.machine.store_text(world.authority.grant(Account::numbered(2)).auth_json());
    hears("account changed");
    world.codex(["refresh"]).run().expect(0);
    hears("refreshed");
    world.authority.script(Endpoint::Refresh, Step::status(401, "refresh_token_invalidated"));
    world.codex(["refresh"]).run().expect(3);
    hears("poisoned");
    world.codex(["login", "--with-api-key"]).input("sk-heals").run().expect(0);
    hears("healed");
    world.codex(["logout", "--local"]).run().expect(0);
    hears("logout");
    child.0.kill().unwrap();
    seen.extend(lines.rest());
    let _filters = snapshot_filters(&world.machine.home);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\bit-[0-9a-f]{16}\b", "it");
    let _more = settings.bind_to_scope();
    insta::assert_snapshot!(seen.join("\n"), @r"
    [moment]  now              not logged in
    [moment]  login            person1@example.com · file store · expires in [time] · by it (pid [pid])
    [moment]  account changed  person2@example.com · file store · expires in [time] · by another program
    [moment]  refreshed        person2@example.com · file store · expires in [time] · by codex (pid [pid])
    [moment]  poisoned         person2@example.com · file store · expires in [time] · the refresh token was revoked · by codex (pid [pid])
    [moment]  healed           apikey · file store · by codex (pid [pid])
    [moment]  logout           not logged in · by codex (pid [pid])
    ");
}

#[test]
fn a_change_of_any_link_or_folder_on_the_way_to_the_document_is_noticed_at_once() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let elsewhere = world.machine.home.beside("elsewhere");
    let document = |account| world.authority.grant(Account::numbered(account)).auth_json();
    for (folder, account) in [("real/a/b", 2), ("real/a/c", 3), ("other/a/c", 4), ("third/a/c", 5)] {
        fs::create_dir_all(elsewhere.join(folder)).unwrap();
        fs::write(elsewhere.join(folder).join("login.json"), document(account)).unwrap();
    }
    fs::create_dir(elsewhere.join("links")).unwrap();
    let link = |target: &str, name: &str| {
        let new = elsewhere.join("new");
        std::os::unix::fs::symlink(elsewhere.join(target), &new).unwrap();
        fs::rename(new, elsewhere.join(name)).unwrap();
    };
    link("real", "current");
    link("current/a/b/login.json", "links/middle.json");
    fs::remove_file(world.machine.home.document()).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("links/middle.json"), world.machine.home.document()).unwrap();

    let (watcher, first) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
    assert_eq!(first["account"]["id"], "acct-2");
    let noticed = |account: &str, begun: Instant| {
        let event = watcher.next_event();
        assert_eq!(event["account"]["id"], account, "{event}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{account}: {:?}", begun.elapsed());
    };
    let begun = Instant::now();
    link("current/a/c/login.json", "links/middle.json");
    noticed("acct-3", begun);
    let begun = Instant::now();
    link("other", "current");
    noticed("acct-4", begun);
    let begun = Instant::now();
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let at = |name: &str| elsewhere.join(name);
    rustix::fs::renameat_with(rustix::fs::CWD, at("other"), rustix::fs::CWD, at("third"), exchange).unwrap();
    noticed("acct-5", begun);
}
