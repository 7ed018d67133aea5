//! KeePassXC 2.7: asks before it deletes, and by default before it gives an item to a program.

use super::programs::{Login, Service};
use crate::support::eventually;

const NO_QUESTIONS: &str = "ConfirmAccessItem=false\nConfirmDeleteItem=false\nShowNotification=false";

#[test]
fn a_login_lives_in_keepassxc_through_migration_refresh_restart_and_logout() {
    let mut service = Service::keepassxc(NO_QUESTIONS);
    let login = Login::expired_in(service.test_home());
    login.codex(["migrate", "--to", "keychain"]).run().expect(0);
    let first = login.token();
    eventually("the migration is saved", || service.titles().contains("Codex Auth"));
    login.codex(["refresh"]).run().expect(0);
    let second = login.token();
    assert_ne!(first, second);
    service.restart_keepassxc(&second);
    assert_eq!(login.token(), second);
    login.codex(["refresh"]).run().expect(0);
    // Without a terminal there is no one to answer a question, and KeePassXC always has one.
    let refused = login.codex(["logout"]).run().refused(5);
    assert!(refused.err.contains("KeePassXC asks its user before"), "{refused}");
    assert!(login.codex(["status"]).run().expect(0).out.contains("keychain"));
    let ended = login.codex(["logout"]).on_a_terminal().run();
    assert_eq!(ended.code, Some(0), "{ended}");
    login.codex(["status"]).run().expect(1);
    // What a program deletes, KeePassXC keeps in its recycle bin; it saves a moment later.
    eventually("the item is deleted", || {
        !service.titles().split("Recycle Bin").next().unwrap().contains("Codex Auth")
    });
}

#[test]
fn a_migration_to_the_file_from_keepassxc_needs_a_terminal_and_says_so() {
    let service = Service::keepassxc(NO_QUESTIONS);
    let login = Login::expired_in(service.test_home());
    login.codex(["migrate", "--to", "keychain"]).run().expect(0);
    let token = login.token();
    let refused = login.codex(["migrate", "--to", "file"]).run().refused(5);
    assert!(refused.err.contains("in a terminal"), "{refused}");
    assert_eq!(login.token(), token);
    let moved = login.codex(["migrate", "--to", "file"]).on_a_terminal().run();
    assert_eq!(moved.code, Some(0), "{moved}");
    assert_eq!(login.token(), token);
    assert!(login.home.document().exists());
}

#[test]
fn a_login_that_later_processes_could_not_read_is_refused_and_leaves_nothing() {
    let service = Service::keepassxc("");
    let home = service.test_home();
    let refused = home
        .codex(["login", "--store", "keychain", "--with-api-key"])
        .input("sk-of-the-test")
        .run()
        .refused(5);
    assert!(refused.err.contains("KeePassXC asks its user before"), "{refused}");
    assert!(refused.err.contains("Secret Service Integration"), "{refused}");
    assert!(!service.titles().contains("Codex Auth"), "{}", service.titles());
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-of-the-test").run().expect(0);
    home.codex(["token"]).run().expect(0);
}
