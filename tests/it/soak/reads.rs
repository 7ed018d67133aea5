//! Runs commands, and after each compares the responses of the keeper's socket, `codex token` and an app server.

use super::Soak;
use crate::keeper::reads::Readers;
use crate::manager::world::World;
use crate::support::{Machine, here, session};

const STALE: [&str; 4] =
    ["stale after login", "stale after logout", "stale after another login", "stale after refresh"];

#[test]
fn keeps_its_promises() {
    session::inside(here!(), || {
        let mut soak = Soak::begin(&STALE);
        let mut machines = [Machine::with_file(), Machine::with_keychain()];
        let worlds = machines.each_mut().map(World::fresh);
        let mut readers = worlds.each_ref().map(Readers::of);
        let mut number = 0;
        while soak.has_time() {
            number += 1;
            for (readers, store) in readers.iter_mut().zip(["the file", "the keychain"]) {
                readers.play(number, &mut |command, by, token, expected| {
                    let promise =
                        STALE.into_iter().find(|promise| promise.ends_with(&format!(" after {command}")));
                    soak.count(by, 1);
                    soak.hold(promise.unwrap(), token == expected, || {
                        format!("{by}, {store}, round {number}")
                    });
                });
            }
            soak.count("rounds over both stores", 1);
        }
        soak.finish();
    });
}
