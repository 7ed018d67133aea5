//! The promises of the fleet in every state, and the situations that must be reached for them to mean anything.

use stateright::Property;

use super::super::world::{Login, OnReuse, Standing};
use super::protocol::{Faults, Protocol};
use super::record::{Attempt, Poison};
use super::world::{Backup, Breach, Exception, World};

pub const ONE_POST: &str = "a token is sent once, or twice if the second attempt is recorded";
pub const NO_REUSE: &str = "no spent token is sent but in the stated exceptions";
pub const NEVER_BACK: &str = "epoch and generation never decrease at a member";
pub const NOTHING_LOST: &str = "the live token is on a disk but in the stated exceptions";
pub const ONLY_DEAD_POISONED: &str = "only dead tokens are poisoned";
pub const NO_STORM: &str = "a fresh token is spent by a rekey only";
pub const LOGOUT_HOLDS: &str = "nothing is written after a logout";
pub const LOGOUT_REVOKES: &str = "a login that was logged out ends at the authority";
pub const LOGIN_KEPT: &str = "the record's login is revoked after a tombstone only";

impl Protocol {
    /// The properties that must hold in every state.
    pub fn promises(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_POST, |_, world: &World| world.breach != Some(Breach::Posted)),
            Property::always(NO_REUSE, |_, world: &World| !world.reused || world.exceptions != 0),
            Property::always(NEVER_BACK, |_, world: &World| world.breach != Some(Breach::WentBack)),
            Property::always(NOTHING_LOST, |_, world: &World| {
                let login = world.record.token.login;
                let standing = world.authority[login as usize].standing;
                world.exceptions != 0
                    || standing == Standing::RevokedByUs
                    || world.record.tombstone
                    || world.is_kept()
                    // The window between the answer and the disk.
                    || world.response_lost
            }),
            Property::always(ONLY_DEAD_POISONED, |_, world: &World| {
                world.breach != Some(Breach::PoisonedLive)
            }),
            Property::always(NO_STORM, |_, world: &World| world.breach != Some(Breach::SpentFresh)),
            Property::always(LOGOUT_HOLDS, |_, world: &World| world.breach != Some(Breach::WroteAfterLogout)),
            Property::always(LOGOUT_REVOKES, |_, world: &World| {
                let token = world.record.token;
                !(world.record.tombstone && world.is_quiet())
                    || world.authority[token.login as usize].standing != Standing::Good
                    || world.response_lost
                    // Any member may still revoke it.
                    || world.is_live(token)
            }),
            Property::always(LOGIN_KEPT, |_, world: &World| {
                world.breach != Some(Breach::RevokedCurrentLogin)
            }),
        ]
    }

    /// The situations that must be reached in some run; otherwise a promise could hold for lack of occasion.
    pub fn occasions(&self) -> Vec<Property<Self>> {
        let mut occasions = Vec::new();
        if self.failures <= 1 || self.ages <= 1 {
            occasions
                .push(Property::sometimes("every token is rotated", |protocol: &Self, world: &World| {
                    world.record.generation >= protocol.ages
                }));
        }
        if self.user_actions > 0 {
            occasions.extend([
                Property::sometimes("a login replaces the record", |_, world: &World| {
                    world.record.token.login == Login::Again
                        && world.hosts.iter().all(|host| host.login.is_none())
                }),
                Property::sometimes("a login that was logged out is revoked", |_, world: &World| {
                    world.record.tombstone && !world.is_live(world.record.token)
                }),
                Property::sometimes("a key is replaced", |_, world: &World| {
                    world.record.epoch > 0 && world.record.generation > 0
                }),
            ]);
        }
        if self.restores {
            occasions.push(Property::sometimes("a record is put back", |_, world: &World| {
                world.backup == Backup::Restored
                    && world.exceptions == 0
                    && world.record.generation > 0
                    && world.hosts.iter().all(|host| host.settled)
            }));
        }
        if self.failures > 0 && self.faults == Faults::All {
            occasions.extend([
                Property::sometimes("a successor commits", |_, world: &World| {
                    let second = world.second_recorded.iter().next().is_some();
                    world.record.generation > 0 && second && !world.reused
                }),
                Property::sometimes("the exception of a pause", |_, world: &World| {
                    world.reused && world.exceptions == Exception::Paused as u8
                }),
                Property::sometimes("the exception of a holder that stays away", |_, world: &World| {
                    world.reused && world.exceptions == Exception::HolderAway as u8
                }),
                Property::sometimes("a refusal is confirmed", |_, world: &World| {
                    let attempt = world.record.intent.map(|intent| intent.attempt);
                    matches!(attempt, Some(Attempt::Second { refused: true, .. }))
                }),
            ]);
        }
        if self.failures > 1 {
            occasions.push(Property::sometimes("a lost login", |_, world: &World| {
                world.record.poison == Some(Poison::Lost)
            }));
        }
        if self.failures > 1 && self.on_reuse == OnReuse::Refuse {
            occasions.push(Property::sometimes("a late response heals the login", |_, world: &World| {
                world.posted.iter().count() > 1 && world.record.generation == 1 && world.reused
            }));
        }
        if self.restores && self.failures > 1 {
            occasions.push(Property::sometimes("the exception of a restore", |_, world: &World| {
                world.reused && world.exceptions == Exception::RestoredWhileAway as u8
            }));
        }
        occasions
    }
}
