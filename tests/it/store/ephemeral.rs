//! The ephemeral store is the memory of one process: nothing of it is on any disk, and nobody else sees it.

use std::process::Command;

use codex_auth::store::{Because, Error, Location};
use codex_auth::{Lease, StoreKind, login};

use super::SOON;
use super::worlds;
use crate::support::{TestHome, here};

#[test]
fn clones_share_one_document_and_others_do_not_see_it() {
    worlds::ephemeral(here!(), |world| {
        world.write(&worlds::api_key("sk-marked"));
        let stored = world.elsewhere().clone().store(StoreKind::Ephemeral, None).load(SOON).unwrap().unwrap();
        assert_eq!(stored.location, Location::Memory);
        assert!(world.home.stores().store(StoreKind::Ephemeral, None).load(SOON).unwrap().is_none());
        assert!(world.elsewhere().find().unwrap().stored.is_none(), "a search is for what lasts");
        world.home.codex(["token"]).run().expect(1);
    });
}

#[test]
fn no_file_of_the_place_ever_holds_it() {
    worlds::ephemeral(here!(), |world| {
        world.write(&worlds::api_key("sk-marked"));
        let search = Command::new("grep").args(["-r", "sk-marked"]).arg(world.home.path()).output();
        assert_eq!(search.unwrap().status.code(), Some(1), "grep found it, or could not look");
    });
}

#[test]
fn a_program_that_is_told_to_use_it_says_that_nothing_would_be_kept() {
    let home = TestHome::new();
    home.write("config.toml", "cli_auth_credentials_store = \"ephemeral\"\n");
    assert!(matches!(home.stores().choose(None), Err(Error::EphemeralConfigured)));
    let ended = home.codex(["login", "--with-api-key"]).input("sk-1").run().expect(1);
    assert!(ended.err.contains("ephemeral") && ended.err.contains("--store file"), "{ended}");
    assert_eq!(home.names(), ["config.toml"]);
    let choice = home.stores().choose(Some(StoreKind::File)).unwrap();
    assert_eq!((choice.kind, &choice.because), (StoreKind::File, &Because::Asked));
    let lease = Lease::acquire(&home.home(), SOON, |_| {}).unwrap();
    let kept = login::keep(&home.stores(), &lease, &choice, &worlds::api_key("sk-1"));
    assert_eq!(kept.unwrap().location, Location::File(home.document()));
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
}
