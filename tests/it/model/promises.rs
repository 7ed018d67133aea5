//! The promises of the protocol in every state, and the situations that must be reached for them to mean anything.

use stateright::Property;

use super::process::{CommitSource, Outcome, Process, Step};
use super::protocol::Protocol;
use super::world::{Breach, Login, Standing, Tokens, World};

pub const ONE_REQUEST: &str = "no token is sent twice by lease holders";
pub const NOTHING_LOST: &str = "the live token is kept outside the unavoidable window";
pub const ONLY_DEAD_POISONED: &str = "only dead tokens are poisoned";
pub const ACCOUNTS_APART: &str = "another login is never overwritten";
pub const NO_SPENT_TOKEN: &str = "no step of ours restores a spent token";
pub const LOGOUT_HOLDS: &str = "nothing is written after a logout";
pub const ALL_END: &str = "every process that keeps running gets an outcome";

impl Protocol {
    /// The properties that must hold in every state.
    pub fn promises(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_REQUEST, |_, world: &World| world.breach != Some(Breach::AskedTwice)),
            Property::always(NOTHING_LOST, |_, world: &World| {
                Login::ALL.iter().all(|login| world.excused[*login as usize] || world.is_kept(*login))
            }),
            Property::always(ONLY_DEAD_POISONED, |_, world: &World| {
                world.state.poison.is_none_or(|token| {
                    let replaced = world.peer.will_replace(token)
                        && world.document == Some(token)
                        && world.authority[token.login as usize].standing == Standing::Good;
                    world.is_dead(token) && !replaced
                })
            }),
            Property::always(ACCOUNTS_APART, |_, world: &World| {
                !matches!(world.breach, Some(Breach::OverwroteAnotherAccount | Breach::OverwroteANewerLogin))
            }),
            Property::always(NO_SPENT_TOKEN, |_, world: &World| {
                !matches!(world.breach, Some(Breach::WentBack | Breach::AdoptedSpent))
            }),
            Property::always(LOGOUT_HOLDS, |_, world: &World| world.breach != Some(Breach::WroteAfterLogout)),
            // The bounds leave no cycles, so every run ends in a state without further actions.
            Property::always(ALL_END, |protocol: &Self, world: &World| {
                world.ours.iter().all(Process::is_ended)
                    || world.breach.is_some()
                    || crate::model::can_continue(protocol, world)
            }),
        ]
    }

    /// The situations that must be reached in some run; otherwise a promise could hold for lack of occasion.
    pub fn occasions(&self) -> Vec<Property<Self>> {
        fn some(world: &World, outcome: Outcome) -> bool {
            world.ours.iter().any(|process| process.step == Step::Ended(outcome))
        }
        let mut occasions = vec![
            Property::sometimes("every process has a token", |_, world: &World| {
                world.ours.iter().all(|process| process.step == Step::Ended(Outcome::Token))
            }),
            Property::sometimes("a rescue is completed", |_, world: &World| {
                world
                    .ours
                    .iter()
                    .any(|process| matches!(process.step, Step::Recorded(CommitSource::Rescue, _)))
            }),
            Property::sometimes("a response is read after a pause", |_, world: &World| {
                world.ours.iter().any(|process| matches!(process.step, Step::Stopped(..)))
            }),
            Property::sometimes("a back-off", |_, world: &World| some(world, Outcome::BackingOff)),
            Property::sometimes("poison", |_, world: &World| some(world, Outcome::Poisoned)),
        ];
        if self.has_peer() {
            occasions.extend([
                Property::sometimes("logged out", |_, world: &World| some(world, Outcome::LoggedOut)),
                Property::sometimes("another account", |_, world: &World| some(world, Outcome::OtherAccount)),
                Property::sometimes("the peer's refresh is adopted", |_, world: &World| {
                    world.rescue.is_none() && world.asked == Tokens::default() && some(world, Outcome::Token)
                }),
            ]);
        }
        occasions
    }
}
