//! OpenAI's Codex 0.169 without this program: eight processes refresh one login at once.
//!
//! The README cites the result. The same with this program is in `app_server/together.rs`.

use scripted_authority::{Endpoint, Moment, Outcome};
use serde_json::{Value, json};

use super::codex::codex_0169;
use crate::app_server::client::Client;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, Run};

const INSTANCES: usize = 8;

#[test]
fn eight_codex_processes_send_eight_requests_and_seven_lose_their_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let home = &world.machine.home;
    let start = || {
        let run = Run::of(&codex_0169(), ["-c", "chatgpt_base_url=\"http://127.0.0.1:9/\"", "app-server"]);
        let run = run.envs(home.variables()).env("HOME", home.path());
        Client::from_run(run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url()))
    };
    let mut instances: Vec<_> = (0..INSTANCES).map(|_| start()).collect();
    let before = world.stored_token("access_token");
    for instance in &mut instances {
        assert_eq!(instance.token().as_ref(), Some(&before));
    }
    // No request is answered before all have arrived, as when all processes find the token expired.
    let holds: Vec<_> =
        (0..INSTANCES).map(|_| world.authority.hold(Endpoint::Refresh, Moment::Before)).collect();
    let forced = json!({"includeToken": true, "refreshToken": true});
    let ids: Vec<_> =
        instances.iter_mut().map(|instance| instance.send_request("getAuthStatus", forced.clone())).collect();
    for hold in &holds {
        hold.arrived(TEST_TIMEOUT).unwrap();
    }
    holds.into_iter().for_each(scripted_authority::Hold::release);
    let tokens: Vec<_> = instances
        .iter_mut()
        .zip(ids)
        .map(|(instance, id)| instance.response(id)["result"]["authToken"].take())
        .collect();
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (8, 1));
    let without = tokens.iter().filter(|token| token.is_null()).count();
    assert_eq!(without, 7, "{tokens:?}");
    assert!(tokens.contains(&Value::from(world.stored_token("access_token"))));
}
