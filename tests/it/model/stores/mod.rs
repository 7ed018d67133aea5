//! A model of the two stores: migrations and logouts beside a foreign program that takes no lease.
//!
//! What is modelled: commands of ours, one at a time, that may die between any two steps; an authority that cannot be
//! reached; a `config.toml` that cannot be written; a file that cannot be removed; a rival that refreshes and commits
//! under the commit locks, and logs in over what is there. What is not: processes that wait for the lease (the first
//! model), the retry of a removal whose outcome is unknown, `--force`.

mod logout;
mod migrate;
mod mutations;
mod promises;
mod protocol;
mod recover;
mod step;
mod world;

use super::check::holds;
use protocol::Protocol;

const TWO_COMMANDS: Protocol = Protocol { commands: 2, turns: 1, misfortunes: 2, mutation: None };

#[test]
fn two_commands_keep_every_promise_beside_a_rival_whatever_two_things_go_wrong() {
    holds("two commands", TWO_COMMANDS);
}

#[test]
fn three_commands_keep_every_promise_beside_a_rival() {
    holds("three commands", Protocol { commands: 3, misfortunes: 1, ..TWO_COMMANDS });
}
