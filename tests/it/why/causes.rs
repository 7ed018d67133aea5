//! Scripted causes: each is the row of the table with its name.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

use scripted_authority::{Account, Ending, Step};

use super::world::World;
use crate::support::{Guarded, eventually};

#[test]
fn no_login_yet() {
    World::empty().explains("no login yet");
}

#[test]
fn a_logout() {
    let world = World::new();
    world.codex(["logout"]).run().expect(0);
    world.explains("`codex logout` of this program");
}

#[test]
fn a_copy_elsewhere_is_not_told_from_a_lost_answer() {
    let world = World::new();
    let copy = world.copy_elsewhere();
    world.codex_at(&copy, ["refresh"]).run().expect(0);
    world.refresh().expect(3);
    world.explains("a copy elsewhere, refreshed by this program");
}

#[test]
fn a_copy_in_the_default_home_is_known_by_its_history() {
    let world = World::new();
    let copy = world.copy_to_default_home();
    world.codex_at(&copy, ["refresh"]).run().expect(0);
    world.refresh().expect(3);
    world.explains("a copy in the default home, refreshed by this program");
}

#[test]
fn a_copy_in_the_default_home_with_another_token_is_inferred() {
    let world = World::new();
    let (copy, elsewhere) = (world.copy_to_default_home(), world.copy_elsewhere());
    world.codex_at(&elsewhere, ["refresh"]).run().expect(0);
    fs::copy(elsewhere.join("auth.json"), copy.join("auth.json")).unwrap();
    world.refresh().expect(3);
    world.explains("a copy in the default home, refreshed by another program");
}

#[test]
fn a_request_without_an_answer_is_inferred() {
    let world = World::new();
    world.script(Step::closed_after());
    world.script(Step::closed_after());
    world.refresh().expect(4);
    world.refresh().expect(3);
    world.explains("a request without an answer");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_process_killed_before_its_answer_was_saved_is_inferred() {
    let world = World::new();
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "answered=kill").run().expect(4);
    world.refresh().expect(3);
    world.explains("a process killed before its answer was saved");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_rescue_that_is_pending() {
    let world = World::new();
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    world.explains("new tokens that are only in the rescue");
    world.refresh().expect(0);
    let events: Vec<_> = world.events().iter().map(|event| event["event"].to_string()).collect();
    assert!(events.contains(&"\"rescue_recovered\"".to_owned()), "{events:?}");
    assert!(world.why()["causes"].as_array().unwrap().is_empty());
}

/// The event of a refresh that was committed is lost; nothing may be said about it as known.
#[cfg(feature = "failpoints")]
#[test]
fn a_kill_between_a_commit_and_its_event_makes_nothing_false_known() {
    for step in ["committed", "recorded", "cleared"] {
        let world = World::new();
        world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run().expect(4);
        let why = world.why();
        assert!(
            why["causes"].as_array().unwrap().is_empty() || step == "committed" || step == "recorded",
            "{why:#}"
        );
        world.refresh().expect(0);
        let events = world.events();
        let foreign =
            events.iter().filter(|event| event["event"] == "adopted" && event["change"] != "appeared");
        assert_eq!(foreign.count(), 0, "{step}: {events:#?}");
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_logout_that_was_killed() {
    let world = World::new();
    world.codex(["logout", "--local"]).run().expect(0);
    let world = World::new();
    world.codex(["logout"]).env("CODEX_AUTH_FAILPOINT", "revoked=kill").run().expect(4);
    // The login is removed, as by the next command that is killed after that.
    fs::remove_file(world.home.document()).unwrap();
    world.explains("a logout that was killed after it removed the login");
}

#[test]
fn a_revocation_at_the_authority_is_not_told_from_a_logout_elsewhere() {
    let world = World::new();
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    world.refresh().expect(3);
    world.explains("a revocation at the authority");
}

#[test]
fn a_logout_elsewhere_is_not_told_from_a_revocation() {
    let world = World::new();
    let copy = world.copy_elsewhere();
    world.codex_at(&copy, ["logout"]).run().expect(0);
    world.refresh().expect(3);
    world.explains("a logout of a copy elsewhere");
}

#[test]
fn a_logout_in_the_default_home_is_known() {
    let world = World::new();
    let copy = world.copy_to_default_home();
    world.codex_at(&copy, ["logout"]).run().expect(0);
    world.refresh().expect(3);
    world.explains("a logout of a copy in the default home");
}

#[test]
fn an_expired_refresh_token() {
    let world = World::new();
    world.authority.end(world.grant.id, Ending::RefreshExpired);
    world.refresh().expect(3);
    world.explains("a refresh token that has expired");
}

#[test]
fn a_restored_backup_is_inferred_by_the_time_of_its_file() {
    let world = World::new();
    let old = fs::read(world.home.document()).unwrap();
    world.refresh().expect(0);
    fs::write(world.home.document(), old).unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    File::options().write(true).open(world.home.document()).unwrap().set_modified(hour_ago).unwrap();
    world.refresh().expect(3);
    world.explains("a backup restored with the time of its file");
}

#[test]
fn an_old_document_that_was_written_back_is_inferred_beside_a_running_program_only() {
    let world = World::new();
    let old = fs::read(world.home.document()).unwrap();
    world.refresh().expect(0);
    fs::write(world.home.document(), &old).unwrap();
    world.explains("an old document written back");

    let world = World::new();
    let old = fs::read(world.home.document()).unwrap();
    world.refresh().expect(0);
    let folder = world.home.beside("bin");
    fs::copy("/bin/sleep", folder.join("codex")).unwrap();
    let mut running = Command::new(folder.join("codex"));
    running.arg("120").env_clear().env("CODEX_HOME", world.home.path());
    let running = Guarded(running.spawn().unwrap());
    let cmdline = format!("/proc/{}/exe", running.0.id());
    eventually("the program is running", || {
        fs::read_link(&cmdline).is_ok_and(|path| path.ends_with("bin/codex"))
    });
    fs::write(world.home.document(), old).unwrap();
    world.refresh().expect(3);
    world.explains("an old document written back beside a running Codex");
}

#[test]
fn another_account_by_another_program_is_inferred() {
    let world = World::new();
    let other = world.authority.grant(Account::numbered(2));
    world.home.write("auth.json", other.auth_json());
    world.refresh().expect(0);
    world.explains("another program logged in to another account");
}

#[test]
fn another_account_by_this_program_is_known() {
    let world = World::empty();
    for (number, name) in [(1, "one"), (2, "two")] {
        let file = world.user.join(format!("{name}.json"));
        fs::write(&file, world.authority.grant(Account::numbered(number)).auth_json()).unwrap();
        world.codex(["account", "import", file.to_str().unwrap(), name]).run().expect(0);
    }
    world.codex(["account", "use", "two", "--yes"]).run().expect(0);
    world.explains("another account activated");
    let log = world.codex(["log"]).run().expect(0).out;
    assert!(log.contains("account switched") && log.contains("account one"), "{log}");
    let one = world.codex(["log", "--account", "one"]).run().expect(0).out;
    assert!(one.contains("login") && !one.contains("account two"), "{one}");
}

#[test]
fn a_wrong_clock_is_known_by_the_token_of_a_refresh() {
    let world = World::new();
    world.authority.adjust(|policy| policy.clock_offset = 86_400);
    world.refresh().expect(0);
    world.explains("a clock that is a day behind");
}

#[test]
fn a_document_that_is_no_login() {
    let world = World::new();
    world.home.write("auth.json", "not a login");
    world.explains("a document that is no login");
}

#[test]
fn an_authority_that_cannot_be_reached() {
    let world = World::new();
    world.script(Step::status(503, "unavailable"));
    world.refresh().expect(4);
    world.explains("an authority that cannot be reached");
}

#[test]
fn the_last_sign_out_is_explained_after_a_new_login() {
    let world = World::new();
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    world.refresh().expect(3);
    let key = world.codex(["login", "--with-api-key", "--store", "file"]).input("sk-new").run();
    key.expect(0);
    let why = world.why();
    assert_eq!((&why["condition"], &why["explained"]), (&"working".into(), &"revoked".into()), "{why:#}");
    assert!(why["next"].as_array().unwrap().is_empty());
}

#[test]
fn a_history_with_a_part_missing_is_said_beside_a_cause_that_is_not_known() {
    let world = World::new();
    world.script(Step::closed_after());
    world.script(Step::closed_after());
    world.refresh().expect(4);
    world.refresh().expect(3);
    let says = |part: &str| {
        let words = world.codex(["why"]).run().expect(0).out;
        assert!(words.contains("a part of the history is missing: ") && words.contains(part), "{words}");
    };
    let events = world.home.file("codex-auth/history/events.jsonl");
    fs::write(&events, [&fs::read(&events).unwrap()[..], b"{torn\n"].concat()).unwrap();
    says("1 damaged line");
    fs::remove_file(&events).unwrap();
    fs::create_dir(&events).unwrap();
    says("events.jsonl");
    assert!(!world.codex(["why", "--report"]).run().expect(0).out.contains("events.jsonl"));
}
