//! The commands with a macOS keychain, whose items only their own program can read.

use std::process::Command;

use scripted_authority::Outcome;

use crate::manager::world::World;
use crate::support::{Machine, TestHome, account};

#[test]
fn a_login_is_refreshed_and_ended_in_our_own_item_without_a_prompt() {
    let mut machine = Machine::with_keychain();
    let world = World::expired(&mut machine);
    let token = world.codex(["token"]).run().expect(0).out;
    assert_eq!(world.codex(["token"]).run().expect(0).out, token);
    assert_eq!(world.requests_with(Outcome::Granted), 1);
    let status = world.codex(["status", "--json"]).run().expect(0).json();
    assert_eq!((&status["store"], &status["usable"]), (&"keychain".into(), &true.into()), "{status}");
    assert!(!world.machine.home.document().exists());
    world.codex(["migrate", "--to", "file"]).run().expect(0);
    assert_eq!(world.codex(["token"]).run().expect(0).out, token);
    world.codex(["migrate", "--to", "keychain"]).run().expect(0);
    world.codex(["logout"]).run().expect(0);
    world.codex(["status"]).run().expect(1);
    assert_eq!(world.machine.session.as_mut().unwrap().dialogues(), [""; 0]);
}

#[test]
fn a_locked_keychain_is_a_store_that_is_not_available_with_the_command_that_unlocks_it() {
    let mut machine = Machine::with_keychain();
    let world = World::expired(&mut machine);
    world.machine.session.as_mut().unwrap().lock_again();
    for arguments in [&["token"][..], &["status"], &["refresh"], &["logout"], &["migrate", "--to", "file"]] {
        let ended = world.codex(arguments.iter().copied()).run().expect(5);
        assert!(ended.err.contains("security unlock-keychain"), "{ended}");
    }
    assert_eq!(world.requests(), 0);
    world.machine.session.as_mut().unwrap().unlock_again();
    world.codex(["token"]).run().expect(0);
    assert_eq!(world.machine.session.as_mut().unwrap().dialogues(), [""; 0]);
}

/// Reading it would make macOS ask the user.
#[test]
fn the_item_of_codex_is_neither_read_nor_changed() {
    let mut machine = Machine::with_keychain();
    let security = |verb: &str, home: &TestHome, more: &[&str]| {
        let mut command = Command::new("security");
        command.args([verb, "-s", "Codex Auth", "-a", &account(home)]).args(more);
        command.envs(home.variables()).status().unwrap().success()
    };
    assert!(security("add-generic-password", &machine.home, &["-w", r#"{"OPENAI_API_KEY":"sk-theirs"}"#]));
    machine.codex(["status"]).run().expect(1);
    machine.codex(["login", "--store", "keychain", "--with-api-key"]).input("sk-ours").run().expect(0);
    assert_eq!(machine.codex(["token"]).run().expect(0).out, "sk-ours\n");
    machine.codex(["logout"]).run().expect(0);
    // Nor for an import without a terminal.
    machine.codex(["migrate", "--from-codex"]).run().expect(2);
    let refused = machine.codex(["migrate", "--from-codex", "--yes"]).run().expect(5);
    assert!(refused.err.contains("in a terminal of the desktop"), "{refused}");
    assert!(security("find-generic-password", &machine.home, &[]), "it is there still");
    assert_eq!(machine.session.as_mut().unwrap().dialogues(), [""; 0]);
}
