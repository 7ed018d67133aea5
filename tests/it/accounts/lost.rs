//! A list of accounts that is lost or cannot be read.

use std::fs;

use super::world::World;

#[test]
fn accounts_whose_list_is_lost_are_found_again_by_their_folders() {
    for list in [None, Some(""), Some("# mine\n")] {
        let world = World::with(&["work", "private"]);
        let places = ["work", "private"].map(|name| world.document(name));
        match list {
            None => fs::remove_file(world.home.file("codex-auth/accounts.toml")).unwrap(),
            Some(text) => drop(world.home.write("codex-auth/accounts.toml", text)),
        }
        let ended = world.run(["token", "--account", "work"]).run().refused(1);
        assert!(ended.err.contains("hint: to find the accounts again: codex account list"), "{ended}");
        let ended = world.run(["doctor"]).run();
        assert!(ended.out.contains("codex account list"), "{ended}");
        let ended = world.run(["account", "list"]).run().expect(0);
        assert!(ended.err.contains("found the account person1 again"), "{ended}");
        assert_eq!(["person1", "person2"].map(|name| world.document(name)), places);
        assert_eq!(world.active(), "person1");
        for (place, grant) in places.iter().zip(&world.grants) {
            world.assert_live(place, grant);
        }
        assert!(!world.run(["account", "list"]).run().expect(0).err.contains("found"));
    }
}

/// Otherwise the link of the home would lead nowhere.
#[test]
fn an_active_account_that_is_logged_out_is_found_again_too() {
    let world = World::with(&["work", "private"]);
    let place = world.document("private");
    world.run(["logout"]).run().expect(0);
    fs::remove_file(world.home.file("codex-auth/accounts.toml")).unwrap();
    let ended = world.run(["account", "list"]).run().expect(0);
    assert!(ended.err.contains("found the account account again"), "{ended}");
    assert_eq!(world.active(), "account");
    assert_eq!(world.document("person2"), place);
    world.assert_live(&place, &world.grants[1]);
    world.run(["account", "use", "person2"]).run().expect(0);
}

#[test]
fn a_list_of_accounts_that_cannot_be_parsed_is_named_with_what_to_do() {
    let world = World::with(&["work", "private"]);
    let places = ["work", "private"].map(|name| world.document(name));
    world.home.write("codex-auth/accounts.toml", "[[account]\n");
    for words in [&["token"][..], &["account", "list"], &["account", "use", "work"], &["status"]] {
        let ended = world.run(words.iter().copied()).run();
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.err.contains("accounts.toml"), "{ended}");
        assert!(ended.err.contains("hint: correct the file, or move it away"), "{ended}");
    }
    for (place, grant) in places.iter().zip(&world.grants) {
        world.assert_live(place, grant);
    }
}
