//! `codex status` of a login that a Secret Service holds twice, or beside the file.

use crate::support::session::inside;
use crate::support::{Machine, chatgpt, filters, here, items, now, plant_another_item};

#[test]
fn two_items_in_the_keychain_work_and_are_reported() {
    inside(here!(), || {
        let machine = Machine::with_keychain();
        machine.keep_chatgpt("acct-1", 20, 60);
        let later = chatgpt("acct-1", "rt-later", now(), now() + 7200);
        plant_another_item(&machine.home, later.as_bytes());
        let _filters = filters(&machine.home);
        insta::assert_snapshot!(machine.told(&["status"]), @r"
        exit 0
        --- stdout
          method     chatgpt
          account    ada@example.com (plus)
          workspace  acct-1
          kept in    [store] store, [location] (config.toml says so)
          expires    in [time]
          refreshed  [time] ago
          usable     yes
        --- stderr
        warning: the keychain holds 2 items for this login, which Codex refuses; using one of them (the newer token counts); run `codex migrate --to keychain` to remove the others
        ");
        // The later token is the one that counts.
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
        let _filters = filters(home);
        machine.keep_chatgpt("acct-1", 20, 60);
        home.write("auth.json", chatgpt("acct-1", "rt-later", now(), now() + 7200));
        insta::assert_snapshot!(home.codex(["status"]).run(), @r#"
        exit 0
        --- stdout
          method     chatgpt
          account    ada@example.com (plus)
          workspace  acct-1
          kept in    file store, [home]/auth.json (config.toml says so)
          expires    in [time]
          refreshed  [time] ago
          usable     yes
        --- stderr
        warning: there is another copy in item "Codex Auth" of cli|[hash], which is not used (the newer token counts); `codex logout` removes both
        "#);
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-test"}"#);
        insta::assert_snapshot!(home.codex(["status"]).run().err, @r"
        warning: there is another copy in [home]/auth.json, which is not used (the keychain counts before the file); `codex logout` removes both
        ");
        home.write("auth.json", "{");
        insta::assert_snapshot!(home.codex(["status"]).run().err, @r"
        warning: another copy is not used and cannot be read: [home]/auth.json cannot be understood: it is not valid JSON
        ");
    });
}
