//! What OpenAI's Codex does with the link and the folder of an account.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::codex::{codex_0169, codex_0171};
use crate::accounts::world::World;
use crate::support::Run;

/// A run of Codex in a home of `world`.
fn codex<'a>(
    program: &Path,
    world: &World,
    home: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Run {
    Run::of(program, arguments)
        .env("CODEX_HOME", home)
        .env("HOME", home)
        .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url())
        .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", world.authority.revoke_url())
}

#[test]
fn codex_reads_the_active_account_and_the_folder_of_each() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work"]);
        world.run(["account", "add", "key", "--with-api-key"]).input("sk-1").run().expect(0);
        let home = world.home.path();
        let status = |home: &Path| codex(&program, &world, home, ["login", "status"]).run().expect(0).err;
        assert!(status(&home).contains("Logged in using ChatGPT"));
        world.run(["account", "use", "key"]).run().expect(0);
        assert!(status(&home).contains("API key"));
        let folder = world.document("work").parent().unwrap().to_owned();
        world.run(["account", "run", "work", "--", "true"]).run().expect(0);
        assert!(status(&folder).contains("Logged in using ChatGPT"));
        world.assert_whole();
    }
}

#[test]
fn a_logout_of_codex_removes_the_link_and_leaves_the_document_and_the_other_account() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work", "private"]);
        let work = world.document("work");
        codex(&program, &world, &world.home.path(), ["logout"]).run().expect(0);
        assert!(fs::symlink_metadata(world.home.document()).is_err() && work.exists());
        let report = world.run(["account", "which", "--json"]).run().expect(1).json();
        assert_eq!(report["reason"], "none_active");
        world.assert_live(&world.document("private"), &world.grants[1]);
        world.run(["account", "use", "private"]).run().expect(0);
        world.run(["refresh"]).run().expect(0);
        world.assert_live(&world.document("private"), &world.grants[1]);
        // The tokens that Codex has revoked are refused once, and the account asks for a login.
        let ended = world.run(["refresh", "--account", "work"]).run().refused(3);
        assert!(ended.err.contains("error: "), "{ended}");
    }
}

#[test]
fn an_api_key_that_codex_stores_goes_through_the_link_into_the_account() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work", "private"]);
        let run = codex(&program, &world, &world.home.path(), ["login", "--with-api-key"]);
        run.input("sk-codex").run().expect(0);
        assert!(world.home.document().is_symlink());
        assert_eq!(world.token(&["token", "--account", "work"]), "sk-codex");
        world.assert_live(&world.document("private"), &world.grants[1]);
        assert_eq!(world.active(), json!("work"));
    }
}

#[test]
fn codex_adds_an_mcp_server_for_all_accounts_from_the_folder_of_one() {
    for program in [codex_0169(), codex_0171()] {
        let world = World::with(&["work"]);
        let folder = world.document("work").parent().unwrap().to_owned();
        world.run(["account", "run", "work", "--", "true"]).run().expect(0);
        codex(&program, &world, &folder, ["mcp", "add", "tool", "--", "true"]).run().expect(0);
        assert!(folder.join("config.toml").is_symlink());
        assert!(world.home.read("config.toml").contains("[mcp_servers.tool]"));
        world.assert_whole();
    }
}
