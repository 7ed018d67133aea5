//! Many app-servers in one home.

use scripted_authority::{Endpoint, Moment, Outcome, Reuse};
use serde_json::json;

use super::client::Client;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, children, eventually};

/// All are asked for a new token before any has one, so that each runs a child process and one child holds the lease.
/// Codex
/// 0.169 sends eight requests per round, and seven of its eight processes lose their token.
#[test]
fn eight_app_servers_forced_to_refresh_at_once_send_one_request_per_round() {
    const SERVERS: usize = 8;
    const ROUNDS: u64 = 20;
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    let mut clients: Vec<_> = (0..SERVERS).map(|_| Client::from_run(world.codex(["app-server"]))).collect();
    let forced = json!({"includeToken": true, "refreshToken": true});
    for round in 1..=ROUNDS {
        let before = world.stored_token("access_token");
        // Every server has the token of the previous round.
        for client in &mut clients {
            eventually("all to know the token", || client.token().as_ref() == Some(&before));
        }
        let hold = world.authority.hold(Endpoint::Refresh, Moment::Before);
        let ids: Vec<_> =
            clients.iter_mut().map(|client| client.send_request("getAuthStatus", forced.clone())).collect();
        hold.arrived(TEST_TIMEOUT).unwrap();
        eventually("every server's child", || clients.iter().all(|client| children(client.pid()).len() == 1));
        hold.release();
        let tokens: Vec<_> = clients
            .iter_mut()
            .zip(ids)
            .map(|(client, id)| client.response(id)["result"]["authToken"].take())
            .collect();
        let now = world.stored_token("access_token");
        assert_ne!(now, before);
        assert!(tokens.iter().all(|token| *token == now), "round {round}");
        assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (round, round));
    }
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}

#[test]
fn eight_app_servers_on_an_expired_login_send_one_request() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let mut clients: Vec<_> = (0..8).map(|_| Client::from_run(world.codex(["app-server"]))).collect();
    let ids: Vec<_> = clients
        .iter_mut()
        .map(|client| client.send_request("getAuthStatus", json!({"includeToken": true})))
        .collect();
    for (client, id) in clients.iter_mut().zip(ids) {
        assert_eq!(client.response(id)["result"]["authToken"], world.stored_token("access_token"));
    }
    assert_eq!(world.requests(), 1);
}

/// The client reads no response before it sends the next request.
#[test]
fn forced_requests_sent_together_spend_one_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    let before = client.token().unwrap();
    let forced = json!({"includeToken": true, "refreshToken": true});
    let ids: Vec<_> = (0..10).map(|_| client.send_request("getAuthStatus", forced.clone())).collect();
    for id in ids {
        let token = client.response(id)["result"]["authToken"].take();
        assert!(token != before && token == world.stored_token("access_token"), "{token}");
    }
    assert_eq!(world.requests(), 1);
    assert_eq!(client.new_token(), world.stored_token("access_token"));
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_response_without_a_token_does_not_count_as_knowing_it() {
    let mut machine = Machine::with_file();
    let mut world = World::fresh(&mut machine);
    let mut client = Client::from_run(world.codex(["app-server"]));
    assert_eq!(client.token().unwrap(), world.stored_token("access_token"));
    world.log_in_as(scripted_authority::Account::numbered(1), 3_600);
    client.call("account/read", json!({"refreshToken": false}));
    client.call("getAuthStatus", json!({"includeToken": false}));
    assert_eq!(client.new_token(), world.stored_token("access_token"));
    assert_eq!(world.requests(), 0);
    client.new_token();
    assert_eq!(world.requests(), 1);
}
