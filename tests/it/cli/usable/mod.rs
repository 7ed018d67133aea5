//! Whether a login is usable: `status`, `doctor`, the keeper and `token` give the same answer.

mod keeper;
mod obstacles;
mod scene;

use serde_json::{Value, json};

use self::obstacles::{Change, EVERYWHERE, HARMLESS, OF_A_FILE, Obstacle, UNREADABLE};
use self::scene::{Scene, Token};
use crate::support::session::inside;
use crate::support::{Ended, Machine, here, tree};

/// The reports, which change nothing and send nothing.
struct Said {
    status: Ended,
    doctor: Value,
}

impl Said {
    fn of(scene: &Scene) -> Self {
        let (before, requests) = (tree(&scene.mounted.path()), scene.requests());
        let status = scene.codex(&["status", "--json"]).run();
        let prose = scene.codex(&["status"]).run();
        assert_eq!(status.code, prose.code, "{prose}");
        let doctor = scene.codex(&["doctor", "--json"]).run().json();
        assert_eq!(tree(&scene.mounted.path()), before, "looking has changed something");
        assert_eq!(scene.requests(), requests, "looking has asked for a token");
        let report = status.json();
        if let Some(usable) = report["usable"].as_bool() {
            let said =
                if usable { "yes".to_owned() } else { format!("no: {}", report["reason"].as_str().unwrap()) };
            let line = prose.out.lines().find(|line| line.starts_with("  usable ")).unwrap();
            let (line, said) = (without_numbers(line), without_numbers(&said));
            assert!(line.contains(said.split(" before ").next().unwrap()), "{prose}\n{status}");
        }
        Self { status, doctor }
    }

    fn finding(&self, check: &str, message: &str) -> Option<&Value> {
        let findings = self.doctor["findings"].as_array().unwrap();
        findings.iter().find(|finding| {
            finding["check"] == check && finding["message"].as_str().unwrap().contains(message)
        })
    }
}

/// The text without its digits: a number of seconds is another one a moment later.
fn without_numbers(text: &str) -> String {
    text.replace(|letter: char| letter.is_ascii_digit(), "")
}

#[track_caller]
fn is_in_the_way(obstacle: &Obstacle, machine: Machine) {
    let name = obstacle.name;
    let mut scene = Scene::of(machine, Token::Expired);
    (obstacle.put)(&mut scene);
    let said = Said::of(&scene);
    let requests = scene.requests();
    let token = scene.codex(&["token"]).run();
    let printed = format!("{name}\n{}\n{:#}\n{token}", said.status, said.doctor);
    assert_eq!(token.code, Some(obstacle.code), "{printed}");
    assert_eq!(scene.requests(), requests, "{printed}");
    assert_eq!(said.status.code, token.code, "{printed}");
    let report = said.status.json();
    assert_eq!(report["usable"], false, "{printed}");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains(obstacle.reason), "{printed}");
    let line = token.err.lines().find_map(|line| line.strip_prefix("error: ")).unwrap();
    let until = |text: &str| without_numbers(text.split(" before ").next().unwrap());
    assert_eq!(until(line), until(reason), "{printed}");
    let finding = said.finding("login", obstacle.reason).unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(finding["standing"], "problem", "{printed}");
    let remedy = finding["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains(obstacle.remedy), "{printed}");
}

/// As [`is_in_the_way`], while the token is valid: it is used, and the doctor warns.
#[track_caller]
fn will_be_in_the_way(obstacle: &Obstacle, machine: Machine) {
    let name = obstacle.name;
    let mut scene = Scene::of(machine, Token::Fresh);
    (obstacle.put)(&mut scene);
    let said = Said::of(&scene);
    let token = scene.codex(&["token"]).run();
    let printed = format!("{name}\n{}\n{:#}\n{token}", said.status, said.doctor);
    let report = said.status.json();
    assert_eq!(report["usable"], token.code == Some(0), "{printed}");
    assert_eq!(said.status.code, token.code, "{printed}");
    // A permanent failure is reported at once.
    let expected = if name == "a revoked token" { Some(3) } else { Some(0) };
    assert_eq!(token.code, expected, "{printed}");
    let standing = if obstacle.code == 3 { "problem" } else { "warning" };
    // A user may try again at once; the last failure is reported too.
    let reason = if obstacle.code == 4 { "the last refresh" } else { obstacle.reason };
    let finding = said.finding("login", reason).unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(finding["standing"], standing, "{printed}");
}

#[track_caller]
fn is_not_in_the_way(name: &str, put: Change, machine: Machine) {
    let mut scene = Scene::of(machine, Token::Expired);
    put(&mut scene);
    let said = Said::of(&scene);
    let token = scene.codex(&["token"]).run();
    let printed = format!("{name}\n{}\n{:#}\n{token}", said.status, said.doctor);
    assert_eq!(token.code, Some(0), "{printed}");
    assert_eq!(scene.requests(), 1, "{printed}");
    let report = said.status.json();
    assert_eq!((&report["usable"], &report["reason"]), (&json!(true), &Value::Null), "{printed}");
    assert_eq!(said.status.code, Some(0), "{printed}");
    assert_eq!(said.finding("login", "is refreshed when needed").unwrap()["standing"], "ok", "{printed}");
}

#[test]
fn every_command_reports_an_obstacle_to_a_refresh_in_the_file() {
    for obstacle in EVERYWHERE.iter().chain(OF_A_FILE) {
        is_in_the_way(obstacle, Machine::with_file());
        will_be_in_the_way(obstacle, Machine::with_file());
    }
}

#[test]
fn every_command_reports_an_obstacle_to_a_refresh_in_a_keychain() {
    inside(here!(), || {
        for obstacle in EVERYWHERE {
            is_in_the_way(obstacle, Machine::with_keychain());
            will_be_in_the_way(obstacle, Machine::with_keychain());
        }
    });
}

#[test]
fn every_command_reports_an_unreadable_state() {
    for (name, put) in UNREADABLE {
        for token in [Token::Fresh, Token::Expired] {
            let mut scene = Scene::of(Machine::with_file(), token);
            put(&mut scene);
            let said = Said::of(&scene);
            let message = said.status.json()["error"]["message"].as_str().unwrap().to_owned();
            let token = scene.codex(&["token"]).run().refused(5);
            assert_eq!(
                (said.status.code, token.err.lines().next()),
                (Some(5), Some(&*format!("error: {message}"))),
                "{name}"
            );
            let finding = ["store", "accounts"].iter().find_map(|check| said.finding(check, &message));
            let finding = finding.unwrap_or_else(|| panic!("{name}: {:#}", said.doctor));
            assert_eq!(finding["standing"], "problem", "{name}");
        }
    }
}

#[test]
fn harmless_conditions_of_a_file_are_not_reported() {
    for (name, put) in HARMLESS {
        is_not_in_the_way(name, *put, Machine::with_file());
    }
}

/// The keychain has no sealing key: the refresh makes one.
#[test]
fn harmless_conditions_of_a_keychain_are_not_reported() {
    inside(here!(), || {
        for (name, put) in HARMLESS
            .iter()
            .filter(|(name, _)| !["a home of one's own", "locks of others that can be read"].contains(name))
        {
            is_not_in_the_way(name, *put, Machine::with_keychain());
        }
    });
}

#[test]
fn a_locked_keychain_is_never_said_to_be_usable() {
    inside(here!(), || {
        let mut scene = Scene::of(Machine::with_keychain(), Token::Expired);
        scene.machine.session.as_mut().unwrap().lock_again();
        let status = scene.codex(&["status", "--json"]).run().expect(5);
        assert_ne!(status.json()["usable"], true, "{status}");
        let doctor = scene.codex(&["doctor", "--json"]).run().expect(1).json();
        let keychain = |finding: &&Value| finding["check"] == "keychain" && finding["standing"] == "problem";
        let found = doctor["findings"].as_array().unwrap().iter().find(keychain).unwrap();
        assert!(found["remedy"].as_str().unwrap().contains("unlock"), "{found:#}");
        scene.codex(&["token"]).run().refused(5);
    });
}
