//! A login that a keeper elsewhere hands in: no command sends, poisons or revokes the dummy or the access token.

use codex_auth::{AuthDocument, Timestamp};
use jiff::SignedDuration;
use scripted_authority::{Account, Endpoint};
use serde_json::{Value, json};

use super::world::World;
use crate::app_server::client::Client;
use crate::keeper::process::Process;
use crate::support::{Ended, Machine, over_both_stores};

over_both_stores!(
    no_command_uses_the_dummy,
    a_logout_removes_the_copy_and_revokes_nothing,
    an_expired_login_says_that_its_keeper_has_not_replaced_it,
);

const SAYING: &str = "this login is handed in by a keeper elsewhere";

/// Stores what a keeper elsewhere hands in for the grant of `world`.
fn hand_in(world: &World<'_>) -> String {
    let login = AuthDocument::parse(world.grant.auth_json().as_bytes()).unwrap();
    let exported = login.exported(Timestamp::now()).unwrap();
    let text = String::from_utf8(exported.to_pretty().to_vec()).unwrap();
    world.machine.store_text(&text);
    text
}

/// Asserts that the authority got neither a refresh nor a revocation, and that nothing was recorded about one.
#[track_caller]
fn assert_untouched(world: &World<'_>) {
    let counters = world.authority.counters();
    let sent = (counters.of(Endpoint::Refresh), counters.of(Endpoint::Revoke));
    assert_eq!(sent, (0, 0), "{:#?}", world.authority.journal());
    if world.machine.home.file("codex-auth/state.json").exists() {
        let state = world.state();
        assert_eq!((&state["poison"], &state["spent"]), (&Value::Null, &json!([])), "{state:#}");
    }
}

fn no_command_uses_the_dummy(machine: &mut Machine) {
    let world = World::empty(machine);
    let text = hand_in(&world);
    let access_token = world.stored_token("access_token");
    let run = |words: &[&'static str]| world.codex(words.iter().copied()).run();

    let status = run(&["status"]).expect(0);
    assert!(status.out.contains(SAYING), "{status}");
    assert_eq!(run(&["status", "--json"]).json()["handed_in"], true);
    let refresh = run(&["refresh"]).expect(0);
    assert!(
        refresh.err.starts_with(&format!("nothing to refresh: {SAYING}; the token expires")),
        "{refresh}"
    );
    let refresh = run(&["refresh", "--json"]).expect(0).json();
    assert_eq!((&refresh["refreshed"], &refresh["handed_in"]), (&false.into(), &true.into()));
    assert_eq!(run(&["token"]).expect(0).out.trim_end(), access_token);
    let short = run(&["token", "--min-ttl", "2h"]).expect(0);
    assert!(short.err.starts_with("warning: the token expires"), "{short}");
    let doctor = run(&["doctor"]).out;
    assert!(doctor.contains(SAYING), "{doctor}");
    let migration = run(&["migrate", "--to", world.machine.other_store()]).expect(1);
    assert!(migration.err.contains("is handed in by a keeper elsewhere"), "{migration}");

    let mut client = Client::from_run(world.codex(["app-server"]));
    assert_eq!(client.new_token(), access_token);
    assert_eq!(client.call("account/read", json!({"refreshToken": true}))["account"]["type"], "chatgpt");
    drop(client);

    let keeper = Process::of(&world);
    assert_eq!(run(&["token", "--min-ttl", "2h"]).expect(0).out.trim_end(), access_token);
    keeper.signal("-TERM");
    assert_eq!(keeper.wait().0, Some(0));

    assert_eq!(world.machine.stored_text(), Some(text));
    assert_untouched(&world);
}

#[track_caller]
fn warned(ended: &Ended) {
    let warning = format!("warning: {SAYING}, which keeps it: its tokens were not revoked\n");
    assert!(ended.err.contains(&warning), "{ended}");
}

fn a_logout_removes_the_copy_and_revokes_nothing(machine: &mut Machine) {
    let world = World::empty(machine);
    for options in [&["logout"][..], &["logout", "--force"]] {
        hand_in(&world);
        warned(&world.codex(options.iter().copied()).run().expect(0));
        assert_eq!(world.machine.stored_text(), None);
    }
    hand_in(&world);
    let report = world.codex(["logout", "--json"]).run().expect(0).json();
    assert_eq!((&report["handed_in"], &report["revoked"]), (&true.into(), &false.into()));
    // Also where the document cannot be parsed any more.
    let text = hand_in(&world);
    world.machine.store_text(text + "}");
    world.codex(["logout"]).run().refused(5);
    world.codex(["logout", "--force"]).run().expect(0);
    hand_in(&world);
    Client::from_run(world.codex(["app-server"])).call("account/logout", json!({}));
    assert_eq!(world.machine.stored_text(), None);
    assert_untouched(&world);
}

#[test]
fn a_login_over_it_is_refused_and_one_after_a_logout_revokes_nothing() {
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    for options in [&["login", "--with-api-key"][..], &["login", "--with-api-key", "--revoke-old"]] {
        let text = hand_in(&world);
        let login = || world.codex(options.iter().copied()).input("sk-1").run();
        let ended = login().refused(1);
        assert!(ended.err.contains("hint: log in on the machine of the keeper, outside"), "{ended}");
        assert_eq!(world.machine.stored_text(), Some(text));
        world.codex(["logout"]).run().expect(0);
        login().expect(0);
        assert!(world.machine.stored_text().unwrap().contains("sk-1"));
    }
    assert_untouched(&world);
}

fn an_expired_login_says_that_its_keeper_has_not_replaced_it(machine: &mut Machine) {
    let world = World::empty(machine);
    world.authority.adjust(|policy| policy.clock_offset = -4_000);
    let ended = world.authority.grant(Account::numbered(1));
    let login = AuthDocument::parse(ended.auth_json().as_bytes()).unwrap();
    let exported = login.exported(Timestamp::now() - SignedDuration::from_hours(2)).unwrap();
    world.machine.store_text(&exported.to_pretty()[..]);
    for command in ["token", "refresh"] {
        let ended = world.codex([command]).run().refused(4);
        let message = format!("error: the access token has expired; {SAYING}, which has not replaced it\n");
        assert!(ended.err.starts_with(&message), "{ended}");
        assert!(
            ended.err.contains("hint: check the keeper on the machine that exports this login"),
            "{ended}"
        );
    }
    let status = world.codex(["status"]).run().expect(4);
    assert!(status.out.contains(SAYING), "{status}");
    assert_untouched(&world);
}

// Linux: mounts.
#[cfg(target_os = "linux")]
#[test]
fn a_linked_export_in_a_read_only_mount_says_where_to_log_out() {
    use crate::support::{Mounted, TestHome};

    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let text = hand_in(&world);
    let home = TestHome::new();
    let export = home.beside("export");
    std::fs::write(export.join("auth.json"), &text).unwrap();
    std::os::unix::fs::symlink(export.join("auth.json"), home.document()).unwrap();
    let mount = format!("mount --bind {0} {0}; mount -o remount,bind,ro {0}", export.display());
    let mounted = Mounted::by(home, &mount);
    assert_eq!(mounted.codex(["token"]).run().expect(0).out.trim_end(), world.stored_token("access_token"));
    for options in [&["logout"][..], &["logout", "--force"]] {
        let ended = mounted.codex(options.iter().copied()).run().refused(5);
        assert!(ended.err.starts_with(&format!("error: {SAYING} and cannot be removed here: ")), "{ended}");
        assert!(ended.err.contains("hint: on the machine of that keeper, log out"), "{ended}");
    }
    // A login inside could not be saved; it ends before the user approves anything.
    let ended = mounted.codex(["login", "--device-auth"]).run().refused(1);
    assert!(ended.err.contains("hint: log in on the machine of the keeper, outside"), "{ended}");
}
