//! `codex status` of a login with two copies.

use crate::support::session::inside;
use crate::support::{Machine, add_second_item, chatgpt, here, items, now, snapshot_filters};

#[test]
fn two_items_in_the_keychain_work_and_are_reported() {
    inside(here!(), || {
        let machine = Machine::with_keychain();
        machine.store_chatgpt("acct-1", 20, 60);
        let later = chatgpt("acct-1", "rt-later", now(), now() + 7200);
        add_second_item(&machine.home, later.as_bytes());
        let _filters = snapshot_filters(&machine.home);
        insta::assert_snapshot!(machine.output_of(&["status"]), @r"
        exit 0
        --- stdout
          method     chatgpt
          account    ada@example.com (plus)
          workspace  acct-1
          stored in  [store] store, [location] (config.toml says so)
          expires    in [time]
          refreshed  [time] ago
          usable     yes
        --- stderr
        warning: the keychain holds 2 items for this login, which Codex refuses; using one of them (the one with the newer token); run `codex migrate --to keychain` to remove the others
        ");
        // The later token is used.
        let later: serde_json::Value = serde_json::from_str(&later).unwrap();
        let token = machine.codex(["token"]).run().expect(0).out;
        assert_eq!(token.trim_end(), later["tokens"]["access_token"]);
        assert_eq!(items(&machine.home).len(), 2);
    });
}

#[test]
fn a_copy_in_the_other_store_is_reported_with_what_decided() {
    inside(here!(), || {
        let machine = Machine::with_keychain();
        let home = &machine.home;
        home.write("config.toml", "cli_auth_credentials_store = \"auto\"\n");
        let _filters = snapshot_filters(home);
        machine.store_chatgpt("acct-1", 20, 60);
        home.write("auth.json", chatgpt("acct-1", "rt-later", now(), now() + 7200));
        insta::assert_snapshot!(home.codex(["status"]).run(), @r#"
        exit 0
        --- stdout
          method     chatgpt
          account    ada@example.com (plus)
          workspace  acct-1
          stored in  file store, [home]/auth.json (config.toml says so)
          expires    in [time]
          refreshed  [time] ago
          usable     yes
        --- stderr
        warning: another copy of the login in item "Codex Auth" of cli|[hash] is not used (the one with the newer token); `codex logout` removes both
        "#);
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
        insta::assert_snapshot!(home.codex(["status"]).run().err, @r"
        warning: another copy of the login in [home]/auth.json is not used (the keychain takes precedence over the file); `codex logout` removes both
        ");
        home.write("auth.json", "{");
        insta::assert_snapshot!(home.codex(["status"]).run().err, @r"
        warning: another copy of the login cannot be read and is not used: cannot parse [home]/auth.json: it is not valid JSON
        ");
    });
}
