//! Causes by the real Codex and a real keychain.

use serde_json::json;

use super::table::check;
use super::world::World;
use crate::app_server::client::Client;
use crate::interop::codex::{codex_0171, theirs};
use crate::support::session::{self, PrivateSession};
use crate::support::{Machine, Run, TestHome, here, in_private_network};

#[test]
fn a_logout_by_codex_is_inferred() {
    let world = World::new();
    in_private_network(here!(), || {
        let world = World::new();
        theirs(&world.home, ["logout"]).env("HOME", &world.user).run().expect(0);
        world.explains("`codex logout` of OpenAI's Codex");
    });
    drop(world);
}

#[test]
fn a_copy_that_codex_has_refreshed_is_not_told_from_a_lost_answer() {
    in_private_network(here!(), || {
        let world = World::new();
        let copy = world.copy_elsewhere();
        let run = Run::of(&codex_0171(), ["app-server"]).env("CODEX_HOME", &copy).env("HOME", &world.user);
        let mut client =
            Client::from_run(run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url()));
        client.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}));
        world.refresh().expect(3);
        world.explains("a copy elsewhere, refreshed by OpenAI's Codex");
    });
}

#[test]
fn a_locked_keychain_is_known() {
    session::inside(here!(), || {
        let mut session = PrivateSession::unlocked();
        let home = TestHome::within(&session);
        home.write("config.toml", "cli_auth_credentials_store = \"keyring\"\n");
        let mut machine = Machine { home, session: None };
        machine.home.codex(["login", "--with-api-key"]).input("sk-test").run().expect(0);
        session.lock_again();
        let report = machine.home.codex(["why", "--json"]).run().expect(0).json();
        check("a keychain that is locked", &report);
        machine.session = Some(session);
    });
}
