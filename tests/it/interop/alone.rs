//! OpenAI's own Codex 0.169 without us: what it does to one login when eight of it refresh at once.
//!
//! The README compares us with this. What we make of the same is in `app_server/together.rs`.

use scripted_authority::{Endpoint, Moment, Outcome};
use serde_json::{Value, json};

use super::codex::codex_0169;
use crate::app_server::client::Client;
use crate::manager::world::{PATIENCE, World};
use crate::support::{Machine, Run};

const INSTANCES: usize = 8;

#[test]
fn eight_of_it_that_refresh_at_once_send_eight_requests_and_seven_are_left_without_a_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let home = &world.machine.home;
    let start = || {
        let run = Run::of(&codex_0169(), ["-c", "chatgpt_base_url=\"http://127.0.0.1:9/\"", "app-server"]);
        let run = run.envs(home.variables()).env("HOME", home.path());
        Client::by(run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url()))
    };
    let mut instances: Vec<_> = (0..INSTANCES).map(|_| start()).collect();
    let before = world.kept("access_token");
    for instance in &mut instances {
        assert_eq!(instance.token().as_ref(), Some(&before));
    }
    // Nobody is answered before everybody has asked, as when all of them find the token ended.
    let holds: Vec<_> =
        (0..INSTANCES).map(|_| world.authority.hold(Endpoint::Refresh, Moment::Before)).collect();
    let forced = json!({"includeToken": true, "refreshToken": true});
    let asked: Vec<_> =
        instances.iter_mut().map(|instance| instance.ask("getAuthStatus", forced.clone())).collect();
    for hold in &holds {
        hold.arrived(PATIENCE).unwrap();
    }
    holds.into_iter().for_each(scripted_authority::Hold::release);
    let tokens: Vec<_> = instances
        .iter_mut()
        .zip(asked)
        .map(|(instance, id)| instance.answer(id)["result"]["authToken"].take())
        .collect();
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (8, 1));
    let without = tokens.iter().filter(|token| token.is_null()).count();
    assert_eq!(without, 7, "{tokens:?}");
    assert!(tokens.contains(&Value::from(world.kept("access_token"))));
}
