//! A host that asks a keeper; it needs the feature `keeper`.

use codex_auth::keeper::{Client, RefreshPolicy};

use crate::keeper::process::Process;
use crate::keeper::socket::socket;
use crate::manager::world::World;
use crate::support::Machine;

#[test]
fn a_host_that_asks_a_keeper_needs_its_socket_only() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let issued = Client::at(socket(&world)).token(None, RefreshPolicy::CachedOnly).unwrap();
    assert_eq!(issued.token.expose(), world.grant.tokens.access_token);
}
