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

/// The client has read none of the answers when it asks again.
#[test]
fn forced_requests_that_are_sent_together_spend_one_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::by(world.codex(["app-server"]));
    let before = client.token().unwrap();
    let forced = json!({"includeToken": true, "refreshToken": true});
    let asked: Vec<_> = (0..10).map(|_| client.ask("getAuthStatus", forced.clone())).collect();
    for id in asked {
        let token = client.answer(id)["result"]["authToken"].take();
        assert!(token != before && token == world.kept("access_token"), "{token}");
    }
    assert_eq!(world.requests(), 1);
    assert_eq!(client.new_token(), world.kept("access_token"));
    assert_eq!(world.requests(), 2);
}

#[test]
fn an_answer_without_a_token_does_not_count_as_one() {
    let mut machine = Machine::with_file();
    let mut world = World::fresh(&mut machine);
    let mut client = Client::by(world.codex(["app-server"]));
    assert_eq!(client.token().unwrap(), world.kept("access_token"));
    world.become_account(scripted_authority::Account::numbered(1), 3_600);
    client.call("account/read", json!({"refreshToken": false}));
    client.call("getAuthStatus", json!({"includeToken": false}));
    assert_eq!(client.new_token(), world.kept("access_token"));
    assert_eq!(world.requests(), 0);
    client.new_token();
    assert_eq!(world.requests(), 1);
}
