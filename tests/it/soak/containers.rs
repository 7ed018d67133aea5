//! Rotations, killed keepers and spoiled exports, while OpenAI's Codex 0.171 works in a container with an export.

use std::fs;
use std::time::{Duration, Instant};

use scripted_authority::Endpoint;

use super::Soak;
use crate::interop::codex::codex_0171;
use crate::interop::container::{Container, assert_not_in_files, holders, secrets, thread, turn};
use crate::keeper::exports::{await_export, export, folder};
use crate::keeper::process::Process;
use crate::manager::world::World;
use crate::support::Machine;

const ANSWERED: &str = "every turn is answered, with the newest token";
const NO_REQUEST: &str = "the container sends the authority no request";
const NO_SECRET: &str = "no other token is in its memory, environment or files";

/// The lifetime of a token, in seconds.
const LIFETIME: i64 = 660;

#[test]
fn keeps_its_promises() {
    let mut soak = Soak::begin(&[ANSWERED, NO_REQUEST, NO_SECRET]);
    let mut machine = Machine::with_file();
    let world = World::with_policy(&mut machine, |policy| policy.access_lifetime = LIFETIME);
    let mut keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(&codex_0171(), folder.clone());
    let mut client = container.app_server();
    let conversation = thread(&mut client);
    let (mut rotations, mut slowest) = (0, Duration::ZERO);
    while soak.has_time() {
        match soak.random.below(8) {
            0 => {
                keeper.signal("-KILL");
                assert_eq!(keeper.wait().0, None);
                keeper = Process::start(world.codex(["sync", "run"]));
                soak.count("keepers killed and restarted", 1);
            }
            1 => {
                // It may be replaced at this moment.
                let _ = fs::remove_file(folder.join("auth.json"));
                soak.count("documents removed", 1);
            }
            _ => {}
        }
        world.codex(["refresh"]).run().expect(0);
        rotations += 1;
        let refreshed = Instant::now();
        await_export(&world, &folder);
        slowest = slowest.max(refreshed.elapsed());
        let token = world.stored_token("access_token");
        container.provider().accept_only(&[&token]);
        let (status, error) = turn(&mut client, &conversation);
        let answered = status == "completed" && container.provider().bearers().last() == Some(&token);
        soak.hold(ANSWERED, answered, || format!("rotation {rotations}: {status}: {error}"));
        let secrets = secrets(&world);
        let holders = holders(client.pid(), &secrets);
        soak.hold(NO_SECRET, holders.is_empty(), || format!("rotation {rotations}: {holders:?}"));
        assert_not_in_files(&container, &secrets);
        let sent = (world.requests(), world.authority.counters().of(Endpoint::Revoke));
        soak.hold(NO_REQUEST, sent == (rotations, 0), || format!("rotation {rotations}: {sent:?}"));
        soak.count("rotations", 1);
    }
    println!("slowest export after a refresh: {slowest:?}");
    soak.finish();
}
