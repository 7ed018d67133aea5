//! `codex doctor` with a keychain in every state.

use super::super::doctor::Report;
use crate::support::session::{PrivateSession, inside};
use crate::support::{TestHome, add_second_item, chatgpt, here, now};

#[test]
fn a_keychain_is_a_problem_only_where_the_login_needs_it() {
    inside(here!(), || {
        let nowhere = TestHome::new();
        let look = |home: &TestHome| Report::of(|arguments| home.codex(arguments.iter().copied()));
        look(&nowhere).says("ok", "keychain", "not reachable from this process; the login is not in it", "");
        nowhere.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        look(&nowhere).says("problem", "keychain", "cannot be reached", "codex login --store file");

        let locked = PrivateSession::locked_again();
        let home = TestHome::within(&locked);
        look(&home).says("ok", "keychain", "locked; the login is not in it", "");
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        look(&home).says("problem", "keychain", "is locked", "unlock the keychain");
        drop(locked);

        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let login = chatgpt("acct-1", "rt-1", now(), now() + 3_600);
        home.write("auth.json", &login);
        look(&home).says("ok", "keychain", "unlocked; the login is not in it", "");
        home.codex(["migrate", "--to", "keychain"]).run().expect(0);
        look(&home).says("ok", "keychain", "unlocked; the login is stored as item", "");
        add_second_item(&home, chatgpt("acct-1", "rt-0", now() - 60, now() + 60).as_bytes());
        look(&home).says("warning", "store", "holds 2 items for this login", "codex migrate --to keychain");
    });
}
