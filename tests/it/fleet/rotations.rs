//! Two hundred rotations by three hosts, whose processes are killed at random steps.

use std::thread;

use super::host_process::{HostProcess, Task, performed};
use super::hosts::{Fleet, LIMIT, generation};
use super::with_network;
use crate::soak::Soak;
use crate::support::here;

const HOSTS: [&str; 3] = ["a", "b", "c"];
const ROTATIONS: u64 = 200;
/// The steps of a refresh; at those that are named more often, nothing has to be waited for. At `fleet-answered` a
/// response would be lost.
const STEPS: [&str; 14] = [
    "fleet-adopted",
    "fleet-writing",
    "fleet-announced",
    "fleet-claimed",
    "fleet-kept",
    "fleet-committing",
    "fleet-settled",
    "fleet-cleared",
    "fleet-announced",
    "fleet-kept",
    "fleet-committing",
    "fleet-settled",
    "fleet-journaled",
    "fleet-posting",
];
/// After these it is unknown whether the token was sent.
const UNKNOWN: [&str; 2] = ["fleet-journaled", "fleet-posting"];
/// One process of so many is killed.
const RARITY: usize = 6;

/// Refreshes at `host`, whose first process is killed at `step`; returns the number of kills, and the generation.
fn refreshed(test: &str, host: &HostProcess, step: &str) -> (usize, u64) {
    let mut process = host.killed_at(test, step);
    for kills in 0.. {
        if let Some(word) = process.next_word_or_end() {
            return (kills, word.parse().unwrap_or_else(|_| panic!("{step}: {word}")));
        }
        process = host.started(test, "A=a");
    }
    unreachable!()
}

#[test]
fn no_login_is_lost_in_two_hundred_rotations_with_kills() {
    let test = here!();
    if performed() {
        return;
    }
    with_network(test, async || {
        let mut soak = Soak::begin(&[]);
        let fleet = Fleet::start();
        fleet.authority.adjust(|policy| policy.access_lifetime = 4);
        let grant = fleet.log_in(&fleet.open("a").await).await;
        let (mut seen, mut kills) = (1, 0);
        while fleet.refreshes() < ROTATIONS {
            let mut is_unknown = false;
            let hosts = HOSTS.map(|name| {
                let step = match soak.random.below(RARITY) {
                    0 => soak.random.one_of(&STEPS),
                    _ => "none",
                };
                // Two attempts with unknown outcomes lose the login, as they must.
                let step = if UNKNOWN.contains(&step) && is_unknown { "none" } else { step };
                is_unknown |= UNKNOWN.contains(&step);
                (HostProcess::of(&fleet, name, Task::Refresh { seen }), step)
            });
            // A host whose process was killed starts another one at once.
            let results = thread::scope(|scope| {
                let hosts =
                    hosts.each_ref().map(|(host, step)| scope.spawn(move || refreshed(test, host, step)));
                hosts.map(|host| host.join().unwrap())
            });
            kills += results.iter().map(|(kills, _)| kills).sum::<usize>();
            let newest = results.iter().map(|(_, generation)| *generation).max().unwrap();
            assert!(newest > seen);
            seen = newest;
        }
        let state = fleet.open("c").await.refresh(seen, LIMIT).await.unwrap();
        fleet.assert_live(&grant, &state);
        println!("{} rotations, {kills} kills, {} reuses", fleet.refreshes(), fleet.reuses());
        assert!(kills >= 20, "{kills}");
        assert_eq!((generation(&state), fleet.reuses()), (fleet.refreshes() + 1, 0));
    });
}
