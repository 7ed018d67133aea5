//! Many app-servers on one home.

use scripted_authority::{Endpoint, Moment, Outcome, Reuse};
use serde_json::json;

use super::client::Client;
use crate::manager::world::{PATIENCE, World};
use crate::support::{Machine, children, eventually};

/// All are asked for a new token before any has one: each has its child at work, and one of those has the lease. Codex
/// 0.169 sends eight requests a round, and seven of the eight lose their token.
#[test]
fn eight_app_servers_that_are_forced_at_once_send_one_request_a_round() {
    const SERVERS: usize = 8;
    const ROUNDS: u64 = 20;
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    let mut clients: Vec<_> = (0..SERVERS).map(|_| Client::by(world.codex(["app-server"]))).collect();
    let forced = json!({"includeToken": true, "refreshToken": true});
    for round in 1..=ROUNDS {
        let before = world.kept("access_token");
        // Everybody knows of the round before.
        for client in &mut clients {
            eventually("all to know the token", || client.token().as_ref() == Some(&before));
        }
        let hold = world.authority.hold(Endpoint::Refresh, Moment::Before);
        let asked: Vec<_> =
            clients.iter_mut().map(|client| client.ask("getAuthStatus", forced.clone())).collect();
        hold.arrived(PATIENCE).unwrap();
        eventually("every server's child", || clients.iter().all(|client| children(client.pid()).len() == 1));
        hold.release();
        let tokens: Vec<_> = clients
            .iter_mut()
            .zip(asked)
            .map(|(client, id)| client.answer(id)["result"]["authToken"].take())
            .collect();
        let now = world.kept("access_token");
        assert_ne!(now, before);
        assert!(tokens.iter().all(|token| *token == now), "round {round}");
        assert_eq!((world.requests(), world.ended(Outcome::Granted)), (round, round));
    }
    assert_eq!(Some(world.kept("refresh_token")), world.live());
}

#[test]
fn eight_app_servers_on_an_expired_login_send_one_request() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let mut clients: Vec<_> = (0..8).map(|_| Client::by(world.codex(["app-server"]))).collect();
    let asked: Vec<_> =
        clients.iter_mut().map(|client| client.ask("getAuthStatus", json!({"includeToken": true}))).collect();
    for (client, id) in clients.iter_mut().zip(asked) {
        assert_eq!(client.answer(id)["result"]["authToken"], world.kept("access_token"));
    }
    assert_eq!(world.requests(), 1);
}
