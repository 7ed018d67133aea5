//! Changes of the account while a Codex in a terminal uses the shared daemon of OpenAI's Codex 0.171.

use std::time::Duration;

use super::Soak;
use crate::interop::shared_daemon::{PROMPTLY, SharedDaemon};
use crate::support::Machine;

const NEW_ACCOUNT: &str = "the terminal's next turn is on the new account";
const SOON: &str = "that turn arrives within 20 s of the command's end";
const EXEC: &str = "codex exec is on the new account";
const UNCUT: &str = "no turn is cut";
const REPORTED: &str = "the report says what was done";

/// The accounts that are switched between.
const ACCOUNTS: usize = 5;

#[test]
fn keeps_its_promises() {
    let mut soak = Soak::begin(&[NEW_ACCOUNT, SOON, EXEC, UNCUT, REPORTED]);
    let mut machine = Machine::with_file();
    let scene = SharedDaemon::new(&mut machine);
    let terminal = scene.terminal();
    scene.turn(&terminal);
    let (mut account, mut slowest) = (1, Duration::ZERO);
    while soak.has_time() {
        let step = u32::try_from(soak.random.below(ACCOUNTS)).unwrap();
        let next = 1 + (account - 1 + step) % u32::try_from(ACCOUNTS).unwrap();
        let report = if soak.random.below(2) == 0 {
            soak.count("logins", 1);
            scene.log_in_as(next, &[])
        } else {
            // By another program, which leaves the daemon as it is.
            soak.count("logins of others, then a migration to the same store", 1);
            scene.world.log_in(next);
            scene.world.codex(["migrate", "--to", "file", "--json"]).run().expect(0).json()
        };
        let daemon = &report["codex_daemon"];
        let expected = if next == account { "not-needed" } else { "restarted" };
        soak.hold(REPORTED, daemon["restart"] == expected, || format!("{account} to {next}: {daemon}"));
        soak.hold(UNCUT, daemon["turns_cut"].as_u64().unwrap_or(0) == 0, || daemon.to_string());
        soak.count("switches to another account", usize::from(next != account));
        let (bearer, took) = scene.turn(&terminal);
        // A daemon that goes on with the same account keeps its token, which is valid.
        let is_new = next == account || bearer == scene.world.stored_token("access_token");
        soak.hold(NEW_ACCOUNT, is_new, || format!("{account} to {next}"));
        soak.hold(SOON, took < PROMPTLY, || format!("{took:?}"));
        slowest = slowest.max(took);
        soak.hold(EXEC, scene.exec() == scene.world.stored_token("access_token"), || {
            format!("{account} to {next}")
        });
        account = next;
    }
    println!("slowest turn: {slowest:?}");
    soak.finish();
}
