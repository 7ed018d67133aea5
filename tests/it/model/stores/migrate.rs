//! A migration: copy, record, select, then remove exactly what was copied; a failure is rolled back.

use super::protocol::{Mutation, Protocol};
use super::step::{Migrate, Move, Step};
use super::world::{Breach, Kind, World};

/// How often a login is copied again because another program changed it meanwhile.
const MAX_ATTEMPTS: u8 = 3;

impl Protocol {
    pub fn plan_migration(&self, world: &mut World, to: Kind) {
        let Some((mut kind, mut source)) = world.find() else { return world.end() };
        // Found by this model: of two copies the later one is used, whichever store it is in.
        if (kind == to || !self.is(Mutation::CopiesTheOlder))
            && let Some(copy) = world.read(kind.other())
            && source.is_before(copy)
        {
            (kind, source) = (kind.other(), copy);
        }
        if kind == Kind::File && to != Kind::File && !world.removable {
            return world.end();
        }
        let there = world.read(to);
        let (selected, recorded) = (world.selected, world.state.store);
        let plan = Move { to, source, seen: there, there, selected, recorded, tries: MAX_ATTEMPTS };
        let occupied = there.is_some_and(|there| there.login != source.login);
        world.holder = match (kind == to, occupied) {
            (true, _) => Step::Migrate(Migrate::Stay, plan),
            (false, true) => Step::Free,
            (false, false) => Step::Migrate(Migrate::Copy, plan),
        };
    }

    pub fn migrate(&self, world: &mut World, step: Migrate, plan: Move) {
        let Move { to, source, .. } = plan;
        let next = |step| Step::Migrate(step, plan);
        world.holder = match step {
            Migrate::Copy => {
                // Found by this model: the replacement must compare with the content that was checked.
                let again = plan.tries == MAX_ATTEMPTS && self.is(Mutation::ReadsDestinationAgain);
                let seen = if again { world.read(to) } else { plan.seen };
                let written = self.replace(world, to, seen, source);
                next(if written { Migrate::Record } else { Migrate::RestoreSelection })
            }
            Migrate::Record => {
                world.state.store = Some(to);
                next(Migrate::Select)
            }
            Migrate::Select => {
                world.selected = to;
                next(Migrate::Remove)
            }
            Migrate::Remove => {
                let now = world.read(to.other());
                match now.filter(|now| *now != source && now.login == source.login) {
                    _ if self.remove(world, to.other(), source) => Step::Free,
                    Some(newer) if plan.tries > 1 => {
                        let plan = Move { source: newer, seen: Some(source), tries: plan.tries - 1, ..plan };
                        Step::Migrate(Migrate::Copy, plan)
                    }
                    _ => next(Migrate::RestoreSelection),
                }
            }
            Migrate::RestoreSelection => {
                (world.selected, world.state.store) = (plan.selected, plan.recorded);
                next(Migrate::RestoreStore)
            }
            Migrate::RestoreStore => {
                if world.read(to) == Some(source) && !self.is(Mutation::LeavesTheCopy) {
                    world.stores[to as usize] = plan.there;
                }
                if world.read(to) == Some(source) && plan.there != Some(source) {
                    world.breach(Breach::LeftACopy);
                }
                Step::Free
            }
            Migrate::Stay => {
                (world.selected, world.state.store) = (to, Some(to));
                let older = |copy: &super::super::world::Token| {
                    copy.login == source.login && !source.is_before(*copy)
                };
                match world.read(to.other()).filter(older) {
                    Some(copy) => next(Migrate::RemoveOlder(copy)),
                    None => Step::Free,
                }
            }
            Migrate::RemoveOlder(copy) => {
                self.remove(world, to.other(), copy);
                Step::Free
            }
        };
    }
}
