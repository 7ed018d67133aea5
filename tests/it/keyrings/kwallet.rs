//! KWallet 5.103: calls a collection locked until a client has unlocked it, also while the wallet is open.

use super::programs::{Login, Service};

#[test]
fn a_login_lives_in_an_open_kwallet_through_migration_refresh_restart_and_logout() {
    let mut service = Service::kwallet();
    let login = Login::expired_in(service.test_home());
    login.codex(["migrate", "--to", "keychain"]).run().expect(0);
    let first = login.token();
    login.codex(["refresh"]).run().expect(0);
    let second = login.token();
    assert_ne!(first, second);
    service.restart_kwallet();
    service.open_wallet();
    assert_eq!(login.token(), second);
    login.codex(["migrate", "--to", "file"]).run().expect(0);
    login.codex(["migrate", "--to", "keychain"]).run().expect(0);
    login.codex(["logout"]).run().expect(0);
    login.codex(["status"]).run().expect(1);
}

#[test]
fn a_closed_wallet_is_locked_and_no_dialogue_appears() {
    let mut service = Service::kwallet();
    let home = service.test_home();
    home.codex(["login", "--store", "keychain", "--with-api-key"]).input("sk-of-the-test").run().expect(0);
    service.restart_kwallet();
    for command in [&["token"][..], &["status"], &["logout"]] {
        let refused = home.codex(command.iter().copied()).run().refused(5);
        assert!(refused.err.contains("KWallet is locked; open the wallet"), "{refused}");
    }
    service.open_wallet();
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-of-the-test\n");
    home.codex(["logout"]).run().expect(0);
}
