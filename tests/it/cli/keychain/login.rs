//! `codex login` with a Secret Service: the choice of the store, and the copy in the other store.

use crate::support::session::{PrivateSession, inside};
use crate::support::{TestHome, account, here, item, snapshot_filters};

/// The `config.toml` of a user.
const CONFIG: &str = "# mine\nmodel = \"o5\"   # the good one\n\n[tools]\n  web = true\n";

#[test]
fn an_api_key_goes_into_codexs_own_item_and_the_configuration_says_so_with_its_layout_kept() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        for word in ["keychain", "keyring"] {
            let home = TestHome::within(&session);
            let _filters = snapshot_filters(&home);
            home.write("config.toml", CONFIG);
            let ended = home.codex(["login", "--store", word, "--with-api-key"]).input("sk-test-123").run();
            insta::allow_duplicates!(insta::assert_snapshot!(ended, @r#"
            exit 0
            --- stdout
            --- stderr
            set cli_auth_credentials_store = "keyring" in [home]/config.toml
            logged in with an API key
            stored in the keychain store, item "Codex Auth" of cli|[hash] (you asked for it)
            "#));
            let secret = String::from_utf8(item(&home).get_secret().unwrap()).unwrap();
            assert_eq!(secret, r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test-123"}"#);
            insta::allow_duplicates!(insta::assert_snapshot!(home.read("config.toml"), @r#"
            # mine
            model = "o5"   # the good one
            cli_auth_credentials_store = "keyring"

            [tools]
              web = true
            "#));
            assert_eq!(home.names(), ["auth.json.lock", "auth.lock", "codex-auth", "config.toml"]);
        }
    });
}

#[test]
fn a_login_in_the_other_store_is_removed_and_named() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let _filters = snapshot_filters(&home);
        let login = |store| home.codex(["login", "--store", store, "--with-api-key"]).input("sk-x").run();
        login("file").expect(0);
        insta::assert_snapshot!(login("keychain"), @r#"
        exit 0
        --- stdout
        --- stderr
        set cli_auth_credentials_store = "keyring" in [home]/config.toml
        logged in with an API key, in place of the old login
        stored in the keychain store, item "Codex Auth" of cli|[hash] (you asked for it)
        removed the copy in the file store, [home]/auth.json
        "#);
        assert!(!home.document().exists() && item(&home).get_secret().is_ok());
        insta::assert_snapshot!(login("file"), @r#"
        exit 0
        --- stdout
        --- stderr
        set cli_auth_credentials_store = "file" in [home]/config.toml
        logged in with an API key, in place of the old login
        stored in the file store, [home]/auth.json (you asked for it)
        removed the copy in the keychain store, item "Codex Auth" of cli|[hash]
        "#);
        assert!(home.document().exists() && item(&home).get_secret().is_err());
        assert_eq!(home.read("config.toml"), "cli_auth_credentials_store = \"file\"\n");
    });
}

#[test]
fn the_automatic_store_is_the_keychain_where_there_is_one() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let _filters = snapshot_filters(&home);
        home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-old"}"#);
        let ended = home.codex(["login", "--store", "auto", "--with-api-key"]).input("sk-new").run();
        insta::assert_snapshot!(ended, @r#"
        exit 0
        --- stdout
        --- stderr
        set cli_auth_credentials_store = "auto" in [home]/config.toml
        logged in with an API key, in place of the old login
        stored in the keychain store, item "Codex Auth" of cli|[hash] (you asked for it)
        removed the copy in the file store, [home]/auth.json
        "#);
        assert!(!home.document().exists() && item(&home).get_secret().is_ok());
        assert_eq!(home.read("config.toml"), "cli_auth_credentials_store = \"auto\"\n");
    });
}

#[test]
fn the_store_is_the_one_asked_for_else_configured_else_inhabited_else_the_keychain_else_the_file() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let (configured, elsewhere) = ("cli_auth_credentials_store = \"keyring\"\n", "model = \"o5\"\n");
        let (file, keychain) = (Some("file"), Some("keychain"));
        // `--store`, config.toml, the store of a login, whether there is a keychain; then the store and the reason.
        for (asked, config, inhabited, reachable, store, because) in [
            (file, configured, keychain, true, "file", "you asked for it"),
            (keychain, elsewhere, file, true, "keychain", "you asked for it"),
            (None, configured, file, true, "keychain", "config.toml says so"),
            (None, "cli_auth_credentials_store = \"file\"\n", None, true, "file", "config.toml says so"),
            (None, elsewhere, file, true, "file", "it already holds a login"),
            (None, elsewhere, keychain, true, "keychain", "it already holds a login"),
            (None, elsewhere, None, true, "keychain", "the keychain can be used"),
            (
                None,
                elsewhere,
                None,
                false,
                "file",
                "the keychain cannot be used: Secret Service cannot be reached",
            ),
        ] {
            let home = if reachable { TestHome::within(&session) } else { TestHome::new() };
            home.write("config.toml", config);
            match inhabited {
                Some("file") => drop(home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-old"}"#)),
                Some(_) => item(&home).set_secret(br#"{"OPENAI_API_KEY":"sk-old"}"#).unwrap(),
                None => {}
            }
            let mut line = vec!["login", "--json", "--with-api-key"];
            line.extend(asked.iter().flat_map(|store| ["--store", *store]));
            let report = home.codex(line).input("sk-new").run().expect(0).json();
            let case = format!("{asked:?} {config:?} {inhabited:?}: {report:#}");
            assert_eq!(report["store"], store, "{case}");
            assert!(report["because"].as_str().unwrap().starts_with(because), "{case}");
            let removed = report["removed"].as_array().unwrap().len();
            assert_eq!(removed, usize::from(inhabited.is_some_and(|old| old != store)), "{case}");
            assert_eq!(home.document().exists(), store == "file", "{case}");
            if reachable {
                assert_eq!(item(&home).get_secret().is_ok(), store == "keychain", "{case}");
            }
        }
    });
}

#[test]
fn a_home_behind_a_link_has_the_item_of_the_real_one() {
    inside(here!(), || {
        let session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        let link = home.path().with_file_name("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        let run = home.codex(["login", "--store", "keychain", "--with-api-key", "--json"]);
        let report = run.env("CODEX_HOME", &link).input("sk-new").run().expect(0).json();
        assert_eq!(report["location"], format!("item \"Codex Auth\" of {}", account(&home)));
        assert!(item(&home).get_secret().is_ok());
    });
}
