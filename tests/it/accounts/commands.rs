//! The commands that list and change accounts.

use std::fs;

use scripted_authority::{Account, DeviceFlow, Endpoint, TokenState};
use serde_json::json;

use super::world::{World, refresh_token};
use crate::support::TestHome;

#[test]
fn without_accounts_nothing_looks_different_and_nothing_is_created() {
    let home = TestHome::new();
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
    let before = home.tree();
    assert_eq!(home.codex(["account", "list"]).run().expect(0).out, "no accounts\n");
    let report = home.codex(["account", "which", "--json"]).run().expect(1).json();
    assert_eq!(report["reason"], "no_accounts");
    let shown = home.codex(["status"]).run().expect(0).out;
    assert!(!shown.contains("  name"), "{shown}");
    for words in
        [&["status", "--account", "work"][..], &["token", "--account", "work"], &["account", "use", "work"]]
    {
        let ended = home.codex(words.iter().copied()).run().refused(1);
        assert!(ended.err.contains("has no accounts\nhint: to add one: codex account add NAME"), "{ended}");
    }
    assert_eq!(home.tree(), before);
}

#[test]
fn the_present_login_becomes_an_account_when_another_is_added() {
    let home = TestHome::new();
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
    let ended = home.codex(["account", "add", "work", "--with-api-key"]).input("sk-2").run().expect(0);
    assert!(ended.err.contains("the login that was here is now the account default\n"), "{ended}");
    assert!(ended.err.contains("auth.json (the logins of accounts are stored there)\n"), "{ended}");
    assert!(home.document().is_symlink());
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
    assert_eq!(home.codex(["token", "--account", "default"]).run().expect(0).out, "sk-1\n");
    assert_eq!(home.codex(["token", "--account", "WORK"]).run().expect(0).out, "sk-2\n");
    let report = home.codex(["status", "--json"]).run().expect(0).json();
    assert_eq!((&report["account_name"], &report["account_reason"]), (&json!("default"), &json!("active")));
    let names = fs::read_to_string(home.file("codex-auth/accounts.toml")).unwrap();
    assert!(!names.contains("sk-"), "{names}");
}

#[test]
fn the_first_account_of_an_empty_home_is_active() {
    let home = TestHome::new();
    let ended = home.codex(["account", "add", "work", "--with-api-key"]).input("sk-1").run().expect(0);
    assert!(ended.err.ends_with("work is the active account\n"), "{ended}");
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
}

#[test]
fn a_failed_login_leaves_no_account() {
    let home = TestHome::new();
    home.codex(["account", "add", "work", "--with-api-key"]).input("").run().refused(1);
    assert_eq!(home.codex(["account", "list"]).run().expect(0).out, "no accounts\n");
    assert!(!home.file("codex-auth/accounts.toml").exists());
    assert_eq!(fs::read_dir(home.file("accounts")).unwrap().count(), 0);
}

#[test]
fn names_are_unique_whatever_their_case_and_have_few_characters() {
    let world = World::with(&["work", "private"]);
    for words in
        [&["account", "add", "WORK", "--with-api-key"][..], &["account", "rename", "private", "Work"]]
    {
        let ended = world.run(words.iter().copied()).input("sk-1").run().refused(1);
        assert_eq!(ended.err.lines().next(), Some("error: there is an account work already"), "{ended}");
    }
    for name in ["", ".x", "a/b", "a b", "../x", &"x".repeat(65)] {
        world.run(["account", "add", name]).run().refused(2);
        world.run(["account", "rename", "work", name]).run().refused(2);
    }
    world.run(["account", "rename", "work", "WORK"]).run().expect(0);
    assert_eq!(world.active(), "WORK");
}

#[test]
fn a_rename_changes_the_name_and_nothing_else() {
    let world = World::with(&["work", "private"]);
    let without_names = || {
        let mut tree = world.home.tree();
        tree.retain(|(path, ..)| !path.ends_with("accounts.toml") && !path.ends_with("refresh.lock"));
        tree
    };
    let before = without_names();
    world.run(["account", "rename", "work", "office"]).run().expect(0);
    assert_eq!(without_names(), before);
    assert_eq!(world.active(), "office");
    world.run(["token", "--account", "work"]).run().refused(1);
}

#[test]
fn what_another_version_wrote_into_the_list_survives() {
    let world = World::with(&["work", "private"]);
    let text = world.home.read("codex-auth/accounts.toml");
    let text = text.replace("name = \"work\"\n", "name = \"work\"\ncolour = \"red\" # mine\n");
    world.home.write("codex-auth/accounts.toml", format!("# kept\nfuture = true\n{text}"));
    world.run(["account", "rename", "work", "office"]).run().expect(0);
    world.run(["account", "pin", "office", "/"]).run().expect(0);
    world.run(["account", "use", "private"]).run().expect(0);
    world.run(["account", "remove", "private", "--local"]).run().expect(0);
    let text = world.home.read("codex-auth/accounts.toml");
    for kept in ["# kept\n", "future = true\n", "name = \"office\"\n", "colour = \"red\" # mine\n"] {
        assert!(text.contains(kept), "{kept:?} in\n{text}");
    }
    world.home.write("codex-auth/accounts.toml", text.replace("version = 1", "version = 2"));
    let ended = world.run(["token"]).run().refused(1);
    assert!(ended.err.contains("later version of codex-auth (format 2)"), "{ended}");
}

#[test]
fn an_import_sends_nothing_and_refuses_a_user_who_is_here() {
    let world = World::with(&["work"]);
    let old = world.grants[0].auth_json();
    world.run(["refresh"]).run().expect(0);
    let requests = world.requests();
    for (name, text) in [
        ("an older copy", old),
        ("the same", fs::read_to_string(world.document("work")).unwrap()),
        ("another login of the user", world.authority.grant(Account::numbered(1)).auth_json()),
    ] {
        let file = world.write_outside("copy.json", &text);
        let before = world.home.tree();
        for dry in [&["--dry-run"][..], &[]] {
            let words = ["account", "import", file.to_str().unwrap(), "again"];
            let ended = world.run(words.into_iter().chain(dry.iter().copied())).run().refused(1);
            assert!(ended.err.contains("its user is logged in here already, as work"), "{name}: {ended}");
        }
        if name == "an older copy" {
            assert_eq!(world.home.tree(), before);
        }
    }
    let other = world.authority.grant(Account::numbered(2));
    let file = world.write_outside("auth.json", &other.auth_json());
    let folder = file.parent().unwrap().to_str().unwrap();
    let before = world.home.tree();
    let ended = world.run(["account", "import", folder, "--dry-run"]).run().expect(0);
    assert!(ended.err.contains("as the account person2 (person2@example.com)"), "{ended}");
    assert_eq!(world.home.tree(), before);
    world.run(["account", "import", folder]).run().expect(0);
    world.assert_live(&world.document("person2"), &other);
    world.assert_live(&file, &other);
    assert_eq!(world.active(), "work");
    assert_eq!(world.requests(), requests);
    world.run(["account", "import", "/nowhere/auth.json"]).run().refused(1);
    let file = world.write_outside("empty.json", "{}");
    world.run(["account", "import", file.to_str().unwrap()]).run().refused(1);
}

#[test]
fn of_imports_of_one_login_at_the_same_time_one_succeeds() {
    let world = World::with(&["work"]);
    let grant = world.authority.grant(Account::numbered(2));
    let file = world.write_outside("auth.json", &grant.auth_json());
    let words = |name| ["account", "import", file.to_str().unwrap(), name];
    let imports = ["one", "two", "three", "four"].map(|name| world.run(words(name)).start());
    let codes = imports.map(|import| import.wait_with_output().unwrap().status.code());
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(world.list().len(), 2, "{:#?}", world.list());
}

#[test]
fn a_login_that_is_here_is_not_added_again_and_the_new_one_is_revoked() {
    let world = World::with(&[]);
    world.authority.visit_as(Account::numbered(1));
    world.authority.adjust(|policy| policy.device = DeviceFlow::ApprovesAfter(1));
    let device = |words: &[&str]| {
        let run = world.run(words.iter().copied().chain(["--device-auth"]));
        run.env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url())
    };
    device(&["login", "--store", "file"]).run().expect(0);
    let before = fs::read_to_string(world.home.document()).unwrap();
    let revocations = world.authority.counters().of(Endpoint::Revoke);
    let ended = device(&["account", "add", "private"]).run();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.err.contains("error: that user is logged in already, in "), "{ended}");
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), revocations + 1);
    assert_eq!(fs::read_to_string(world.home.document()).unwrap(), before);
    assert_eq!(world.run(["account", "list"]).run().expect(0).out, "no accounts\n");
    world.run(["refresh"]).run().expect(0);
    world.authority.visit_as(Account::numbered(2));
    device(&["account", "add", "private"]).run().expect(0);
    assert_eq!(world.list().len(), 2);
}

#[test]
fn removing_an_account_revokes_its_tokens_and_leaves_the_others() {
    let world = World::with(&["work", "private", "third"]);
    world.run(["account", "pin", "private", "/"]).run().expect(0);
    let private = world.document("private");
    world.run(["account", "remove", "private"]).run().expect(0);
    assert_eq!(world.authority.state_of(&world.grants[1].tokens.refresh_token), TokenState::Revoked);
    assert!(!private.parent().unwrap().exists());
    let ended = world.run(["account", "remove", "work"]).run().expect(0);
    assert!(ended.err.contains("no account is active now"), "{ended}");
    assert!(!world.home.document().is_symlink() && !world.home.document().exists());
    assert_eq!(world.list().len(), 1);
    assert!(!world.home.read("codex-auth/accounts.toml").contains("[[pin]]"));
    world.assert_live(&world.document("third"), &world.grants[2]);
    world.run(["token"]).run().refused(1);
    let status = world.run(["status"]).run().expect(1);
    assert!(status.out.contains("no account is active"), "{status}");
    world.run(["account", "use", "third"]).run().expect(0);
    world.run(["token"]).run().expect(0);
}

#[test]
fn an_account_whose_tokens_cannot_be_revoked_stays_without_force() {
    let world = World::with(&["work", "private"]);
    let remove = |force: &[&str]| {
        let run = world.run(["account", "remove", "private"].into_iter().chain(force.iter().copied()));
        run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", "http://127.0.0.1:9/").run()
    };
    let ended = remove(&[]);
    assert_eq!(ended.code, Some(4), "{ended}");
    assert!(ended.err.ends_with("tokens: codex account remove private --force\n"), "{ended}");
    world.assert_live(&world.document("private"), &world.grants[1]);
    let ended = remove(&["--force"]).expect(0);
    assert!(ended.err.starts_with("warning: the tokens were not revoked and may stay valid"), "{ended}");
    assert_eq!(world.list().len(), 1);
}

#[test]
fn a_logout_ends_one_account_and_keeps_its_name() {
    let world = World::with(&["work", "private"]);
    world.run(["logout"]).run().expect(0);
    assert_eq!(world.authority.state_of(&world.grants[0].tokens.refresh_token), TokenState::Revoked);
    world.assert_live(&world.document("private"), &world.grants[1]);
    let listed = world.list();
    assert_eq!((&listed[0]["name"], &listed[0]["logged_in"]), (&json!("work"), &json!(false)));
    assert!(world.home.document().is_symlink());
    let ended = world.run(["account", "use", "private"]).run().expect(0);
    assert!(ended.err.contains("private is active now"), "{ended}");
    let ended = world.run(["account", "use", "work"]).run().refused(1);
    assert!(ended.err.contains("hint: to log in: codex login --account work"), "{ended}");
    world.run(["login", "--account", "work", "--with-api-key"]).input("sk-1").run().expect(0);
    assert_eq!(world.token(&["token", "--account", "work"]), "sk-1");
    world.assert_live(&world.document("private"), &world.grants[1]);
}

#[test]
fn logging_out_of_all_accounts_revokes_every_token() {
    let world = World::with(&["work", "private"]);
    let report = world.run(["logout", "--all", "--json"]).run().expect(0).json();
    assert_eq!((&report["logged_out"], report["accounts"].as_array().unwrap().len()), (&json!(true), 2));
    for grant in &world.grants {
        assert_eq!(world.authority.state_of(&grant.tokens.refresh_token), TokenState::Revoked);
    }
    assert!(world.list().iter().all(|account| account["logged_in"] == false));
    let ended = world.run(["logout", "--all"]).run().expect(0);
    assert_eq!(ended.err, "work: was not logged in\nprivate: was not logged in\n");
}

#[test]
fn unlinking_makes_the_active_account_a_plain_login_again() {
    let world = World::with(&["work", "private"]);
    world.run(["account", "unlink"]).run().expect(0);
    assert!(!world.home.document().is_symlink());
    world.assert_live(&world.home.document(), &world.grants[0]);
    world.assert_live(&world.document("private"), &world.grants[1]);
    assert_eq!(world.list().len(), 1);
    world.run(["refresh"]).run().expect(0);
    world.assert_live(&world.home.document(), &world.grants[0]);
    world.run(["account", "unlink"]).run().refused(1);
    // The next switch makes it an account again.
    world.run(["account", "use", "private"]).run().expect(0);
    world.assert_live(&world.document("default"), &world.grants[0]);
    for name in ["private", "default"] {
        world.run(["account", "use", name]).run().expect(0);
        world.run(["account", "unlink"]).run().expect(0);
    }
    assert_eq!(refresh_token(&world.home.document()), world.authority.live_refresh_token(world.grants[0].id));
}

#[test]
fn a_link_of_the_users_own_is_never_replaced() {
    let home = TestHome::new();
    let folder = home.beside("dotfiles");
    fs::write(folder.join("auth.json"), r#"{"OPENAI_API_KEY":"sk-1"}"#).unwrap();
    std::os::unix::fs::symlink(folder.join("auth.json"), home.document()).unwrap();
    home.codex(["account", "add", "work", "--with-api-key"]).input("sk-2").run().expect(0);
    assert_eq!(fs::read_link(home.document()).unwrap(), folder.join("auth.json"));
    let ended = home.codex(["account", "use", "work"]).run().refused(1);
    assert!(ended.err.contains("is not an account of this home"), "{ended}");
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
    assert_eq!(home.codex(["token", "--account", "work"]).run().expect(0).out, "sk-2\n");
}

#[test]
fn a_copy_of_a_login_that_was_logged_out_is_not_imported() {
    let world = World::with(&["work", "private"]);
    let copy = |name| fs::read_to_string(world.document(name)).unwrap();
    let old = [copy("work"), copy("private")];
    world.run(["refresh"]).run().expect(0);
    let copies = [&old[0], &copy("work"), &old[1]].map(Clone::clone);
    world.run(["logout", "--account", "work"]).run().expect(0);
    world.run(["account", "remove", "private"]).run().expect(0);
    let requests = world.requests();
    for text in &copies {
        let file = world.write_outside("copy.json", text);
        for dry in [&["--dry-run"][..], &[]] {
            let words = ["account", "import", file.to_str().unwrap(), "again"];
            let ended = world.run(words.into_iter().chain(dry.iter().copied())).run().refused(1);
            assert!(
                ended.err.contains("is an old copy of a login: its refresh token was used or revoked here"),
                "{ended}"
            );
        }
    }
    assert_eq!((world.list().len(), world.requests()), (1, requests));
    // A login that was only removed here lives elsewhere.
    let third = world.authority.grant(Account::numbered(3));
    let file = world.write_outside("third.json", &third.auth_json());
    for _ in 0..2 {
        world.run(["account", "import", file.to_str().unwrap(), "third"]).run().expect(0);
        world.run(["account", "remove", "third", "--local"]).run().expect(0);
    }
}

#[test]
fn every_change_of_accounts_is_reported_as_json() {
    let world = World::with(&["work", "private"]);
    let folder = world.home.beside("project");
    let folder = folder.to_str().unwrap();
    for (words, expected) in [
        (&["account", "rename", "work", "office"][..], json!({"before": "work", "name": "office"})),
        (&["account", "pin", "office", folder], json!({"name": "office", "pinned": folder})),
        (&["account", "unpin", folder], json!({"unpinned": folder})),
        (&["account", "unlink"], json!({"unlinked": "office"})),
    ] {
        let ended = world.run(words.iter().copied().chain(["--json"])).run().expect(0);
        assert_eq!(ended.err, "", "{words:?}");
        let report = ended.json();
        assert_eq!(report["home"], world.home.path().to_str().unwrap());
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&report[name], value, "{report}");
        }
    }
}

#[test]
fn a_logout_of_all_accounts_that_fails_says_what_to_do() {
    let world = World::with(&["work", "private"]);
    let run = || world.run(["logout", "--all"]).env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", "http://127.0.0.1:9/");
    let ended = run().run().expect(4);
    assert!(ended.err.contains("hint: the login is still stored, so that you can try again"), "{ended}");
    assert!(ended.err.contains("codex logout --all --force"), "{ended}");
}

#[test]
fn an_account_takes_less_than_a_hundred_kilobytes_before_its_first_use() {
    use std::os::unix::fs::MetadataExt as _;

    fn blocks(path: &std::path::Path) -> u64 {
        let own = std::fs::symlink_metadata(path).unwrap();
        let inside = if own.is_dir() { crate::support::names(path) } else { Vec::new() };
        own.blocks() + inside.into_iter().map(|name| blocks(&path.join(name))).sum::<u64>()
    }

    let world = World::with(&["work", "private"]);
    let folder = world.document("private").parent().unwrap().to_owned();
    let added = blocks(&folder) * 512;
    world.run(["account", "run", "private", "--", "true"]).run().expect(0);
    let with_links = blocks(&folder) * 512;
    println!("{added} bytes, with the links of the folder {with_links}");
    assert!(with_links < 100_000, "{added} {with_links}");
}
