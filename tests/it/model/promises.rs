//! What the protocol promises in every state, and what must come about somewhere for the promises to mean anything.

use stateright::Property;

use super::ours::{Errand, Outcome, Process, Step};
use super::protocol::Protocol;
use super::world::{Breach, Login, Standing, Tokens, World};

pub const ONE_REQUEST: &str = "no token is sent twice by lease holders";
pub const NOTHING_LOST: &str = "the live token is kept outside the unavoidable window";
pub const POISON_IS_TRUE: &str = "poison is for the truly dead";
pub const ACCOUNTS_APART: &str = "another login is never overwritten";
pub const NEVER_BACK: &str = "no step of ours goes back to a spent token";
pub const LOGOUT_HOLDS: &str = "nothing is written after a logout";
pub const ALL_END: &str = "whoever keeps running gets an outcome";

impl Protocol {
    /// What must hold in every state.
    pub fn promises(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_REQUEST, |_, world: &World| world.breach != Some(Breach::AskedTwice)),
            Property::always(NOTHING_LOST, |_, world: &World| {
                Login::ALL.iter().all(|login| world.excused[*login as usize] || world.is_kept(*login))
            }),
            Property::always(POISON_IS_TRUE, |_, world: &World| {
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
            Property::always(NEVER_BACK, |_, world: &World| {
                !matches!(world.breach, Some(Breach::WentBack | Breach::AdoptedSpent))
            }),
            Property::always(LOGOUT_HOLDS, |_, world: &World| world.breach != Some(Breach::WroteAfterLogout)),
            // The bounds leave no cycles, so every run ends in a world where nothing more can happen.
            Property::always(ALL_END, |protocol: &Self, world: &World| {
                world.ours.iter().all(Process::is_ended)
                    || world.breach.is_some()
                    || crate::model::can_go_on(protocol, world)
            }),
        ]
    }

    /// What must come about somewhere, lest the promises be kept for want of occasion.
    pub fn occasions(&self) -> Vec<Property<Self>> {
        fn some(world: &World, outcome: Outcome) -> bool {
            world.ours.iter().any(|process| process.step == Step::Ended(outcome))
        }
        let mut occasions = vec![
            Property::sometimes("everybody has a token", |_, world: &World| {
                world.ours.iter().all(|process| process.step == Step::Ended(Outcome::Token))
            }),
            Property::sometimes("a rescue is finished", |_, world: &World| {
                world.ours.iter().any(|process| matches!(process.step, Step::Recorded(Errand::Rescue, _)))
            }),
            Property::sometimes("an answer is taken after a pause", |_, world: &World| {
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
