//! A kill at every step of a command that changes accounts leaves every account whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use scripted_authority::{Account, TokenState};
use serde_json::Value;

use super::world::{World, refresh_token};
use crate::soak::strace::{Call, Fault, calls_under_lease, inject, injected};
use crate::support::Run;

/// Two accounts, the first active, a file to import, and copies of the home.
struct Scene {
    world: World,
    template: PathBuf,
    import: PathBuf,
}

/// How the login of the second account may end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Kept,
    Removed,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::with(&["work", "private"]);
        let third = world.authority.grant(Account::numbered(3));
        let import = world.write_outside("third.json", &third.auth_json());
        world.grants.push(third);
        Self { template: world.home.path(), import, world }
    }

    /// A copy of the home, in which `before` has run.
    fn copy(&self, name: &str, before: &[&str]) -> PathBuf {
        let copy = self.template.with_file_name(name);
        let _ = fs::remove_dir_all(&copy);
        let copied = Command::new("cp").arg("-a").arg(&self.template).arg(&copy).status().unwrap();
        assert!(copied.success());
        if !before.is_empty() {
            self.world.run_at(&copy, before.iter().copied()).run().expect(0);
        }
        copy
    }

    /// Asserts that each grant that is live is in one place of the home, which is its account's, and reachable there.
    /// Returns the report of `codex account list`.
    #[track_caller]
    fn assert_whole(&self, home: &Path, ending: Ending, what: &str) -> Value {
        let report = self.world.run_at(home, ["account", "list", "--json"]).run().expect(0).json();
        let mut places: Vec<PathBuf> = vec![home.join("auth.json")];
        for account in report["accounts"].as_array().unwrap() {
            places.push(PathBuf::from(account["home"].as_str().unwrap()).join("auth.json"));
        }
        for (number, grant) in self.world.grants.iter().take(2).enumerate() {
            let token = &grant.tokens.refresh_token;
            if self.world.authority.state_of(token) != TokenState::Live {
                assert!(ending == Ending::Removed && number == 1, "{what}: {} is gone", grant.account.email);
                continue;
            }
            let found = places.iter().filter(|place| refresh_token(place).as_ref() == Some(token));
            let mut found: Vec<_> = found.map(|place| place.canonicalize().unwrap()).collect();
            found.sort();
            found.dedup();
            // A login that is removed without a revocation is in no place afterwards.
            let expected = if ending == Ending::Removed && number == 1 { found.len().min(1) } else { 1 };
            assert_eq!(
                found.len(),
                expected,
                "{what}: {} is in {found:?} of {places:?}",
                grant.account.email
            );
        }
        let status = self.world.run_at(home, ["status", "--json"]).run();
        assert!(matches!(status.code, Some(0 | 1)), "{what}: {status}");
        report
    }
}

/// Runs `words` with a kill at every changing system call, and then again until it is done.
fn kill_everywhere(before: &[&str], words: &[&str], ending: Ending, is_done: impl Fn(&Value) -> bool) {
    let scene = Scene::new();
    let import = scene.import.to_str().unwrap().to_owned();
    let words: Vec<&str> =
        words.iter().map(|word| if *word == "FILE" { import.as_str() } else { word }).collect();
    let trace = scene.template.with_file_name("trace");
    let run = |home: &Path| -> Run {
        let run = scene.world.run_at(home, words.iter().copied()).input("sk-new");
        // A revoked login would be another state in the next copy.
        if ending == Ending::Removed { run.env("CODEX_AUTH_LOCK_TIMEOUT", "5s") } else { run }
    };
    let calls = calls_under_lease(run(&scene.copy("traced", before)), &trace);
    // A kill between two changes leaves what a kill at the second leaves.
    let calls: Vec<_> = calls.into_iter().filter(Call::changes_files).collect();
    assert!(calls.len() > 5, "{calls:#?}");
    let mut kills = 0;
    for call in &calls {
        let home = scene.copy("killed", before);
        let ended = inject(run(&home), call, Fault::Kill, &trace).run();
        let is_hit = !injected(&trace, Fault::Kill).is_empty();
        kills += usize::from(is_hit);
        let what = format!("{words:?} at {} {}: {}\n{ended}", call.name, call.number, call.line);
        scene.assert_whole(&home, ending, &what);
        let again = run(&home).run();
        assert!(matches!(again.code, Some(0 | 1)), "{what}\nagain: {again}");
        let report = scene.assert_whole(&home, ending, &what);
        assert!(is_done(&report), "{what}\nagain: {again}\n{report:#}");
        // Any change removes the folder of a removed account.
        scene.world.run_at(&home, ["account", "unpin", "/nowhere"]).run().expect(1);
        let left = fs::read_dir(home.join("accounts")).unwrap().count();
        assert_eq!(left, report["accounts"].as_array().unwrap().len(), "{what}");
    }
    println!("{words:?}: {kills} kills at {} calls", calls.len());
    assert!(kills * 2 > calls.len(), "{kills} of {}", calls.len());
}

fn names(report: &Value) -> Vec<&str> {
    report["accounts"].as_array().unwrap().iter().map(|account| account["name"].as_str().unwrap()).collect()
}

#[test]
fn a_killed_switch_leaves_every_account_whole() {
    kill_everywhere(&[], &["account", "use", "private"], Ending::Kept, |report| {
        report["active"] == "private"
    });
}

#[test]
fn a_killed_switch_away_from_a_plain_login_leaves_every_account_whole() {
    kill_everywhere(&["account", "unlink"], &["account", "use", "private"], Ending::Kept, |report| {
        report["active"] == "private" && names(report).len() == 2
    });
}

#[test]
fn a_killed_rename_leaves_every_account_whole() {
    kill_everywhere(&[], &["account", "rename", "work", "office"], Ending::Kept, |report| {
        names(report) == ["office", "private"]
    });
}

#[test]
fn a_killed_addition_leaves_every_account_whole() {
    kill_everywhere(&[], &["account", "add", "new", "--with-api-key"], Ending::Kept, |report| {
        names(report) == ["work", "private", "new"]
    });
}

#[test]
fn a_killed_first_addition_leaves_the_login_whole() {
    let before = ["account", "unlink"];
    kill_everywhere(&before, &["account", "add", "new", "--with-api-key"], Ending::Kept, |report| {
        names(report).contains(&"new")
    });
}

#[test]
fn a_killed_import_leaves_every_account_whole() {
    kill_everywhere(&[], &["account", "import", "FILE", "third"], Ending::Kept, |report| {
        names(report) == ["work", "private", "third"]
    });
}

#[test]
fn a_killed_unlink_leaves_every_account_whole() {
    kill_everywhere(&[], &["account", "unlink"], Ending::Kept, |report| names(report) == ["private"]);
}

#[test]
fn a_killed_removal_leaves_the_other_account_whole() {
    kill_everywhere(&[], &["account", "remove", "private", "--local"], Ending::Removed, |report| {
        names(report) == ["work"]
    });
}

#[test]
fn a_removal_that_is_killed_at_a_failpoint_is_completed() {
    for step in ["logging out", "revoked", "account link removed", "account forgotten"] {
        let scene = Scene::new();
        let home = scene.copy("killed", &["account", "use", "private"]);
        let run = || scene.world.run_at(&home, ["account", "remove", "private"]);
        let killed = run().env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run();
        assert_ne!(killed.code, Some(0), "{step}: {killed}");
        scene.assert_whole(&home, Ending::Removed, step);
        let again = run().run();
        assert!(matches!(again.code, Some(0 | 1)), "{step}: {again}");
        scene.world.run_at(&home, ["account", "use", "work"]).run().expect(0);
        assert_eq!(names_at(&scene, &home), ["work"], "{step}");
        assert_eq!(fs::read_dir(home.join("accounts")).unwrap().count(), 1, "{step}");
        let private = &scene.world.grants[1].tokens.refresh_token;
        assert_eq!(scene.world.authority.state_of(private), TokenState::Revoked, "{step}");
    }
}

fn names_at(scene: &Scene, home: &Path) -> Vec<String> {
    scene.world.list_at(home).iter().map(|account| account["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_move_that_is_killed_at_a_failpoint_is_undone_or_completed() {
    for (words, steps) in [
        (
            ["account", "use", "private"],
            &[
                "move announced",
                "document copied",
                "link placed",
                "move recorded",
                "switch announced",
                "switch locked",
            ][..],
        ),
        (
            ["account", "unlink", "--quiet"],
            &["move announced", "document copied", "link replaced", "copy removed"],
        ),
    ] {
        for step in steps {
            let scene = Scene::new();
            let before: &[&str] = if words[1] == "use" { &["account", "unlink"] } else { &[] };
            let home = scene.copy("killed", before);
            let run = || scene.world.run_at(&home, words);
            let killed = run().env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run();
            assert_eq!(killed.code, None, "{words:?} {step}: {killed}");
            scene.assert_whole(&home, Ending::Kept, step);
            // A program that knows nothing of accounts refreshes the login meanwhile.
            scene.world.run_at(&home, ["token"]).run().expect(0);
            let again = run().run();
            assert!(matches!(again.code, Some(0 | 1)), "{words:?} {step}: {again}");
            scene.assert_whole(&home, Ending::Kept, step);
        }
    }
}
