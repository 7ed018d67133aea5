//! A model that refuses an unexpired access token: app-servers of Codex that use it at once each refresh it, except behind
//! this program.

use scripted_authority::{Ending, Outcome};
use serde_json::{Value, json};

use super::codex::codex_0171;
use crate::app_server::client::Client;
use crate::app_server::next::with_path;
use crate::manager::world::World;
use crate::support::{Machine, Run, here, in_private_network};

/// Many, but with 100 MB each.
const SERVERS: usize = 6;

/// Whose app-server the clients talk to.
#[derive(Clone, Copy)]
enum Server {
    Codex,
    Ours,
}

/// Lets `SERVERS` app-servers do a turn with an accepted token, then one with a refused token. Returns how many of the
/// latter were completed.
fn completed_turns(world: &World<'_>, server: Server) -> usize {
    let url = world.authority.url();
    world.machine.home.write(
        "config.toml",
        format!(
            "chatgpt_base_url = \"{url}/backend-api\"\nmodel_provider = \"here\"\n[model_providers.here]\n\
             name = \"Here\"\nbase_url = \"{url}/v1\"\nwire_api = \"responses\"\nrequires_openai_auth = true\n"
        ),
    );
    let start = || {
        let run = match server {
            Server::Ours => with_path(world.codex(["app-server"]), [codex_0171().parent().unwrap()]),
            Server::Codex => {
                let run = Run::of(&codex_0171(), ["app-server"]).envs(world.machine.home.variables());
                run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url())
            }
        };
        Client::from_run(run.env("HOME", world.machine.home.path()))
    };
    let mut clients: Vec<_> = (0..SERVERS).map(|_| start()).collect();
    let ids: Vec<_> =
        clients.iter_mut().map(|client| client.send_request("thread/start", json!({}))).collect();
    let threads: Vec<_> = clients
        .iter_mut()
        .zip(ids)
        .map(|(client, id)| client.response(id)["result"]["thread"]["id"].take())
        .collect();
    let mut turns = || -> usize {
        for (client, thread) in clients.iter_mut().zip(&threads) {
            let input = json!([{"type": "text", "text": "hello"}]);
            client.send_request("turn/start", json!({"threadId": thread, "input": input}));
        }
        let ended = clients.iter_mut().map(|client| client.notification("turn/completed"));
        let status = |turn: Value| turn["turn"]["status"] == "completed";
        ended.map(status).filter(|completed| *completed).count()
    };
    assert_eq!((turns(), world.requests()), (SERVERS, 0));
    world.authority.end(world.grant.id, Ending::AccessInvalidated);
    turns()
}

#[test]
fn every_turn_with_a_refused_token_is_completed_behind_this_program_after_one_request() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        assert_eq!(completed_turns(&world, Server::Ours), SERVERS);
        assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (1, 1));
    });
}

/// What remains: app-servers that were not started through this program.
#[test]
fn app_servers_of_codex_alone_each_send_a_request() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let completed = completed_turns(&world, Server::Codex);
        println!("{completed} of {SERVERS} turns completed after {} requests", world.requests());
        assert!(completed < SERVERS && world.requests() > 1);
        assert_eq!(world.requests_with(Outcome::Granted), 1);
    });
}
