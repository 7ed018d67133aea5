//! A login into an account replaces a login of the same user only.

use std::fs;

use scripted_authority::{Account, DeviceFlow, Endpoint, TokenState};
use serde_json::json;

use super::world::World;
use crate::support::Run;

#[test]
fn an_account_takes_no_login_of_another_user_and_the_tokens_of_that_are_revoked() {
    let world = World::with(&["work", "private"]);
    let login = |words: &[&str]| {
        let run = world.run(words.iter().copied());
        run.env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url())
    };
    let token = world.authority.personal_access_token(Account::numbered(2));
    let run = login(&["login", "--with-access-token"]).input(token.as_str());
    let ended = run.env("CODEX_AUTHAPI_BASE_URL", format!("{}/api/accounts", world.authority.url())).run();
    assert_ne!(ended.code, Some(0), "{ended}");
    let ended = login(&["login", "--with-api-key"]).input("sk-1").run().refused(1);
    assert!(ended.err.contains("holds the login of another user, which was not replaced"), "{ended}");
    world.assert_whole();
    for grant in &world.grants {
        assert_eq!(world.authority.state_of(&grant.tokens.refresh_token), TokenState::Live);
    }
}

#[test]
fn an_api_key_is_replaced_by_another() {
    let world = World::with(&[]);
    world.run(["account", "add", "one", "--with-api-key"]).input("sk-1").run().expect(0);
    world.run(["login", "--with-api-key"]).input("sk-2").run().expect(0);
    assert_eq!(world.token(&["token", "--account", "one"]), "sk-2");
    assert!(world.home.document().is_symlink());
    let ended = world.run(["login", "--with-api-key", "--store", "keychain"]).input("sk-3").run().refused(2);
    assert!(ended.err.contains("config.toml says for all accounts"), "{ended}");
    world.run(["migrate", "--to", "file"]).run().refused(1);
}

/// What the real Codex's login does to the link.
pub(super) fn replace_link_by_login(world: &World, grant: &scripted_authority::Grant) {
    fs::remove_file(world.home.document()).unwrap();
    world.home.write("auth.json", grant.auth_json());
}

#[test]
fn a_login_that_replaced_the_link_moves_into_the_account_of_its_user_or_becomes_one() {
    let mut world = World::with(&["work", "private"]);
    let again = world.authority.grant(Account::numbered(1));
    replace_link_by_login(&world, &again);
    let ended = world.run(["account", "use", "private"]).run().expect(0);
    assert!(ended.err.contains("that login is in the account work, which is active now\n"), "{ended}");
    world.assert_live(&world.document("work"), &again);
    world.grants[0] = again;
    world.assert_whole();
    assert_eq!(world.list().len(), 2);
    let third = world.authority.grant(Account::numbered(3));
    replace_link_by_login(&world, &third);
    world.run(["account", "use", "work"]).run().expect(0);
    world.assert_live(&world.document("person3"), &third);
    world.assert_whole();
    assert_eq!(world.active(), "work");
}

fn device_login<'a>(world: &World, words: impl IntoIterator<Item = &'a str>) -> Run {
    let run = world.run(words.into_iter().chain(["--device-auth"]));
    run.env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url())
}

#[test]
fn a_login_into_an_account_of_a_user_who_has_another_account_is_not_kept() {
    let world = World::with(&["work", "private"]);
    world.authority.visit_as(Account::numbered(2));
    world.authority.adjust(|policy| policy.device = DeviceFlow::ApprovesAfter(1));
    world.run(["logout"]).run().expect(0);
    let revocations = world.authority.counters().of(Endpoint::Revoke);
    // Work is active and named in turn.
    for words in [&["login"][..], &["login", "--account", "work"]] {
        let ended = device_login(&world, words.iter().copied()).run().expect(1);
        assert!(ended.err.contains("that user is logged in already, in "), "{ended}");
        assert!(ended.err.contains("to replace that login: codex login --account private\n"), "{ended}");
    }
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), revocations + 2);
    world.assert_live(&world.document("private"), &world.grants[1]);
    assert!(world.list().iter().all(|account| account["logged_in"] == (account["name"] == "private")));
}

#[test]
fn a_login_while_no_account_is_active_is_in_the_account_of_its_user() {
    let world = World::with(&["work", "private"]);
    world.authority.visit_as(Account::numbered(2));
    world.authority.adjust(|policy| policy.device = DeviceFlow::ApprovesAfter(1));
    fs::remove_file(world.home.document()).unwrap();
    world.run(["token"]).run().expect(1);
    let ended = device_login(&world, ["login", "--store", "file"]).run().expect(0);
    assert!(ended.err.contains("this login is in the account private, which is active now"), "{ended}");
    assert_eq!((world.active(), world.list().len()), (json!("private"), 2));
    world.assert_live(&world.document("work"), &world.grants[0]);
    world.run(["refresh"]).run().expect(0);
}

#[test]
fn a_credential_that_is_missing_is_asked_for_with_the_command_of_the_account() {
    let world = World::with(&["work"]);
    world.run(["logout"]).run().expect(0);
    for (words, command) in [
        (["login", "--account", "work"], "codex login --account work --with-api-key"),
        (["account", "add", "private"], "codex account add private --with-api-key"),
    ] {
        let ended = world.run(words.into_iter().chain(["--with-api-key"])).input("").run().refused(1);
        assert!(ended.err.contains(&format!("hint: printenv OPENAI_API_KEY | {command}\n")), "{ended}");
    }
}
