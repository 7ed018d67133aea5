//! The files of a history, by the library.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use codex_auth::Clock;
use codex_auth::config::HistorySetting;
use codex_auth::history::{History, HistoryContent, HistoryCursor, HistoryEvent};

use crate::support::{HelperProcess, TestHome, here, read_word, report, role, wait_for_input};

const WRITERS: usize = 4;
const EVENTS: u64 = 10_000;
const KILLS: usize = 12;

fn history(home: &TestHome) -> History {
    fs::create_dir_all(home.file("codex-auth")).unwrap();
    History::open(&home.home().own_records(), HistorySetting::On, Clock::system())
}

/// The history of the home that the variables name, in a helper process.
fn history_of_helper() -> History {
    let home = codex_auth::Home::at(std::env::var_os("CODEX_HOME").unwrap()).unwrap();
    History::open(&home.own_records(), HistorySetting::On, Clock::system())
}

fn numbered(number: u64) -> HistoryEvent {
    serde_json::from_value(serde_json::json!({"event": "clock_stepped", "seconds": number})).unwrap()
}

fn number(event: &HistoryEvent) -> u64 {
    serde_json::to_value(event).unwrap()["seconds"].as_u64().unwrap()
}

/// Checks that the events of each process are in order, by number and by time, and that exactly the counted ones are
/// missing since its first.
fn check_order(content: &HistoryContent) -> u64 {
    let mut last = BTreeMap::new();
    for record in &content.records {
        let now = (number(&record.event), record.at);
        if let Some((before, at)) = last.insert(record.pid, now) {
            assert_eq!(now.0, before + 1 + record.dropped, "of process {}", record.pid);
            assert!(now.1 >= at, "{now:?} after {at}");
        }
    }
    content.dropped()
}

#[test]
fn four_processes_lose_only_their_oldest_events() {
    if let Some(writer) = role() {
        let history = history_of_helper();
        report("ready");
        wait_for_input();
        (0..EVENTS).for_each(|number| history.record(numbered(number)));
        report(&writer);
        return;
    }
    let home = TestHome::new();
    let history = history(&home);
    let test = here!();
    let mut writers: Vec<_> =
        (0..WRITERS).map(|at| HelperProcess::until(test, &format!("writer{at}"), &home, "ready")).collect();
    let began = Instant::now();
    writers.iter_mut().for_each(|writer| writer.send("go"));
    writers.iter_mut().enumerate().for_each(|(at, writer)| writer.await_word(&format!("writer{at}")));
    let took = began.elapsed();
    writers.into_iter().for_each(HelperProcess::finish);
    let content = history.read();
    assert_eq!((content.skipped, content.unreadable.len()), (0, 0));
    let dropped = check_order(&content);
    // A full file is kept whatever the size of the newest one.
    let older = fs::metadata(history.older_file()).unwrap().len();
    assert!(older > codex_auth::history::SEGMENT_BYTES - 1_024, "{older}");
    for file in [history.current_file(), history.older_file()] {
        let found = fs::metadata(file).unwrap();
        assert!(found.len() <= codex_auth::history::SEGMENT_BYTES);
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
    println!("{} of 40000 are kept, {dropped} of these were dropped, {took:?}", content.records.len());
}

#[test]
fn a_killed_writer_leaves_at_most_one_torn_line() {
    if role().is_some() {
        let history = history_of_helper();
        report("ready");
        for number in 0.. {
            history.record(numbered(number));
            if number % 500 == 0 {
                report("more");
            }
        }
        return;
    }
    let home = TestHome::new();
    let history = history(&home);
    let mut cursor = HistoryCursor::at_end(history.clone());
    for round in 0..KILLS {
        let mut writer = HelperProcess::until(here!(), "writer", &home, "ready");
        // A different number of events in each round, so that the kills are at different places of a file.
        (0..=round).for_each(|_| writer.await_word("more"));
        drop(writer);
        let content = history.read();
        assert!(content.skipped <= round + 1, "{} after {round} kills", content.skipped);
        let lengths = [history.current_file(), history.older_file()]
            .map(|file| fs::metadata(file).map(|file| file.len()));
        assert!(lengths.iter().flatten().all(|length| *length <= codex_auth::history::SEGMENT_BYTES));
        // The lock of the killed process is free.
        history.record(HistoryEvent::KeeperStarted);
        assert_eq!(history.read().records.last().unwrap().event, HistoryEvent::KeeperStarted);
        assert!(!cursor.new_records().is_empty());
    }
}

#[test]
fn a_cursor_misses_no_event_while_the_files_rotate() {
    if role().is_some() {
        let history = history_of_helper();
        report("ready");
        let mut next = 0;
        // One word for each thousand events, so that no file is rotated twice between two reads.
        while read_word().is_some() {
            (next..next + 1_000).for_each(|number| history.record(numbered(number)));
            next += 1_000;
            report("done");
        }
        return;
    }
    let home = TestHome::new();
    let history = history(&home);
    let mut cursor = HistoryCursor::at_end(history);
    let mut writer = HelperProcess::until(here!(), "writer", &home, "ready");
    let (mut expected, mut dropped) = (0, 0);
    for _ in 0..20 {
        writer.send("more");
        writer.await_word("done");
        for record in cursor.new_records() {
            expected += record.dropped;
            dropped += record.dropped;
            assert_eq!(number(&record.event), expected);
            expected += 1;
        }
    }
    writer.finish();
    assert!(expected > 19_000, "{expected}, {dropped} dropped");
}

#[test]
fn what_cannot_be_written_is_counted_and_hurts_nobody() {
    let home = TestHome::new();
    let history = history(&home);
    // A file in the place of the folder.
    fs::write(home.file("codex-auth/history"), "").unwrap();
    history.record(numbered(1));
    history.record(numbered(2));
    assert_eq!(history.read().records.len(), 0);
    fs::remove_file(home.file("codex-auth/history")).unwrap();
    history.record(numbered(3));
    let content = history.read();
    assert_eq!((content.records.len(), content.dropped()), (1, 2));

    // A broken segment is skipped, and a torn line does not end the history.
    fs::write(history.older_file(), b"\xff\xfe not JSON\n{}\n").unwrap();
    let mut text = fs::read(history.current_file()).unwrap();
    text.extend(b"{\"v\":1,\"at\":");
    fs::write(history.current_file(), text).unwrap();
    assert_eq!((history.read().records.len(), history.read().skipped), (1, 3));
    history.record(numbered(4));
    assert_eq!((history.read().records.len(), history.read().skipped), (2, 3));

    // A link is not followed.
    fs::remove_file(history.current_file()).unwrap();
    std::os::unix::fs::symlink(home.file("elsewhere"), history.current_file()).unwrap();
    history.record(numbered(5));
    assert!(!home.file("elsewhere").exists());
    assert_eq!(history.read().unreadable.len(), 1);
}

#[test]
fn an_event_waits_for_another_process_for_milliseconds_only() {
    let home = TestHome::new();
    let history = history(&home);
    history.record(numbered(1));
    let lock = crate::support::Flock::hold(&home.file("codex-auth/history/history.lock"));
    let began = Instant::now();
    history.record(numbered(2));
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(lock);
    history.record(numbered(4));
    let content = history.read();
    assert_eq!((content.records.len(), content.dropped()), (2, 1));
}

#[test]
fn an_event_of_a_newer_version_is_read_as_unknown() {
    let home = TestHome::new();
    let history = history(&home);
    history.record(numbered(1));
    let line = fs::read_to_string(history.current_file()).unwrap();
    let newer = line.replace("clock_stepped", "of_tomorrow").replace("\"v\":1", "\"v\":2,\"new\":[]");
    fs::write(history.current_file(), newer).unwrap();
    assert_eq!(history.read().records[0].event, HistoryEvent::Other);
}
