//! Another account becomes the active one, also while a refresh is in flight.

use std::fs;
use std::path::Path;

use scripted_authority::Endpoint;

use super::world::World;
use crate::store::homes::link_to;

#[test]
fn a_switch_sends_nothing_and_changes_no_document() {
    let world = World::with(&["work", "private"]);
    let [work, private] = ["work", "private"].map(|name| world.token(&["token", "--account", name]));
    assert_ne!(work, private);
    assert_eq!(world.token(&["token"]), work);
    for (name, token) in [("private", &private), ("work", &work), ("work", &work), ("PRIVATE", &private)] {
        world.run(["account", "use", name]).run().expect(0);
        assert_eq!(&world.token(&["token"]), token);
    }
    let report = world.run(["account", "use", "work", "--json"]).run().expect(0).json();
    assert_eq!((&report["switched"], &report["before"]), (&true.into(), &"private".into()));
    let report = world.run(["account", "use", "work", "--json"]).run().expect(0).json();
    assert_eq!(report["switched"], false);
    world.assert_whole();
    assert_eq!(world.requests(), 0);
}

#[test]
fn a_token_that_expires_soon_is_refreshed_before_its_account_is_switched_away_from() {
    let mut world = World::with(&[]);
    world.authority.adjust(|policy| policy.access_lifetime = 480);
    for number in [1, 2] {
        let grant = world.authority.grant(scripted_authority::Account::numbered(number));
        let file = world.write_outside("import.json", &grant.auth_json());
        world.run(["account", "import", file.to_str().unwrap(), &format!("a{number}")]).run().expect(0);
        world.grants.push(grant);
    }
    world.run(["account", "use", "a2"]).run().expect(0);
    assert_eq!(world.requests(), 1);
    world.assert_live(&world.document("a1"), &world.grants[0]);
    world.assert_live(&world.document("a2"), &world.grants[1]);
    // A server that is down prevents no switch.
    world.authority.script_always(Endpoint::Refresh, scripted_authority::Step::status(503, "busy"));
    let ended = world.run(["account", "use", "a1"]).run().expect(0);
    assert!(ended.err.contains("warning: the token of the active account was not refreshed"), "{ended}");
    assert_eq!(world.active(), "a1");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_link_that_is_moved_at_any_step_of_a_refresh_puts_no_token_into_another_account() {
    use crate::support::Pause;

    for step in ["reserved", "sending", "answered", "rescued", "committed", "recorded"] {
        let world = World::with(&["work", "private"]);
        let (work, private) = (world.document("work"), world.document("private"));
        let pause = Pause::at(step);
        let child = pause.apply_to(world.run(["refresh"])).start();
        let standing = pause.wait();
        link_to(&private, &world.home.document());
        drop(standing);
        let output = child.wait_with_output().unwrap();
        println!("{step}: {output:?}");
        for (document, grant) in [(&work, &world.grants[0]), (&private, &world.grants[1])] {
            world.assert_live(document, grant);
        }
        assert_eq!(world.requests(), 1, "{step}");
        assert_eq!(world.authority.counters().of(Endpoint::Revoke), 0, "{step}");
        for name in ["private", "work"] {
            world.run(["account", "use", name]).run().expect(0);
            world.run(["refresh"]).run().expect(0);
        }
        world.assert_whole();
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_switch_waits_for_a_refresh_and_loses_nothing() {
    use crate::support::Pause;

    for step in ["leased", "reserved", "sending", "answered", "rescued", "committed", "recorded", "cleared"] {
        let world = World::with(&["work", "private"]);
        let pause = Pause::at(step);
        let refresh = pause.apply_to(world.run(["refresh"])).start();
        let standing = pause.wait();
        let mut switch = world.run(["account", "use", "private", "--now"]).start();
        assert_eq!(world.active(), "work", "{step}");
        assert!(switch.try_wait().unwrap().is_none(), "{step}");
        drop(standing);
        assert!(refresh.wait_with_output().unwrap().status.success(), "{step}");
        assert!(switch.wait_with_output().unwrap().status.success(), "{step}");
        assert_eq!(world.active(), "private", "{step}");
        world.assert_whole();
        assert_eq!(world.requests(), 1, "{step}");
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_refresh_that_was_killed_is_completed_before_the_switch() {
    let world = World::with(&["work", "private"]);
    world.run(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let kill = world.run(["refresh", "--account", "private"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill");
    kill.run().expect(4);
    world.run(["account", "use", "private"]).run().expect(0);
    world.assert_whole();
    assert_eq!(world.requests(), 2);
}

#[test]
fn switches_and_refreshes_of_many_processes_mix_no_tokens() {
    let world = World::with(&["one", "two", "three"]);
    for round in 0..6 {
        let runs = [
            &["account", "use", "two", "--now"][..],
            &["refresh"],
            &["account", "use", "three", "--now"],
            &["refresh", "--account", "one"],
            &["account", "use", "one", "--now"],
            &["refresh", "--account", "three"],
        ];
        let running = runs.map(|words| (words, world.run(words.iter().copied()).start()));
        for (words, child) in running {
            let output = child.wait_with_output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            // A refresh through the link stays with the account that it began with.
            let is_fine =
                output.status.success() || (words == ["refresh"] && output.status.code() == Some(4));
            assert!(is_fine, "{round} {words:?}: {err}");
        }
        world.assert_whole();
    }
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 0);
}

#[test]
fn use_replaces_a_link_that_leads_nowhere_and_with_consent_one_that_leads_elsewhere() {
    let world = World::with(&["work", "private"]);
    let gone = Path::new("accounts/0123456789abcdef/auth.json");
    link_to(gone, &world.home.document());
    let ended = world.run(["token"]).run();
    assert!(ended.err.contains("with accounts, replace it: codex account use NAME"), "{ended}");
    let ended = world.run(["doctor"]).run();
    assert!(ended.out.contains("with accounts, replace it: codex account use NAME"), "{ended}");
    world.run(["account", "use", "private"]).run().expect(0);
    world.run(["token"]).run().expect(0);
    assert_eq!(world.active(), "private");
    let elsewhere = world.write_outside("elsewhere.json", r#"{"OPENAI_API_KEY":"sk-1"}"#);
    for target in [&*elsewhere, Path::new("/nowhere/at/all/auth.json")] {
        link_to(target, &world.home.document());
        let ended = world.run(["account", "use", "work"]).run();
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.err.contains("codex account use NAME --yes"), "{ended}");
        assert_eq!(fs::read_link(world.home.document()).unwrap(), target);
        let ended = world.run(["account", "use", "work", "--yes"]).run().expect(0);
        assert!(ended.err.contains(&format!("was a link to {}, which stays", target.display())), "{ended}");
        assert_eq!(world.active(), "work");
    }
    assert!(elsewhere.exists());
    world.assert_whole();
}
