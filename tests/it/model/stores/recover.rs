//! The steps of the lease's holder: completing a rescue or a logout, and refreshing.

use super::super::world::{Answer, Standing, Token};
use super::protocol::{Mutation, Protocol};
use super::step::{Command, PutBack, Recover, Refresh, Step};
use super::world::{Breach, Kind, Rescue, Spent, State, World};

impl Protocol {
    /// Writes `token` under the commit locks if the store holds what was seen.
    pub fn replace(&self, world: &mut World, kind: Kind, seen: Option<Token>, token: Token) -> bool {
        let now = world.read(kind);
        if now != seen && !self.is(Mutation::ReplacesWhatItReads) {
            return false;
        }
        if now.is_some_and(|now| now.login != token.login) {
            world.breach(Breach::OverwroteAnotherLogin);
        } else if now != seen {
            world.breach(Breach::ReplacedUnseen);
        }
        world.stores[kind as usize] = Some(token);
        true
    }

    /// Removes what was seen, under the commit locks; returns `false` if the store holds something else or cannot be
    /// changed.
    pub fn remove(&self, world: &mut World, kind: Kind, seen: Token) -> bool {
        let now = world.read(kind);
        if kind == Kind::File && !world.removable {
            return false;
        }
        if now.is_some() && now != Some(seen) {
            if !self.is(Mutation::RemovesWhatItReads) {
                return false;
            }
            world.breach(Breach::RemovedUnseen);
        }
        world.stores[kind as usize] = None;
        true
    }

    pub fn recover(&self, world: &mut World, step: Recover, command: Command) {
        let next = |step| Step::Recover(step, command);
        world.holder = match step {
            Recover::Rescue => match world.rescue {
                None => next(Recover::Logout),
                Some(Rescue::Commit(spent)) => self.complete_refresh(world, spent, command),
                Some(Rescue::Revoke(_)) if self.is(Mutation::DropsRemovedLogin) => next(Recover::Recorded),
                // The login is still stored: the logout is completed from there.
                Some(Rescue::Revoke(token)) => self.complete_removal(world, token, command),
            },
            Recover::Merged(spent) => {
                world.state.spent.add(spent.parent);
                next(Recover::Recorded)
            }
            Recover::RevokeChild(token) => {
                // Another login is stored, so this ends no login in use.
                world.authority[token.login as usize].standing = Standing::RevokedByOthers;
                next(Recover::Recorded)
            }
            Recover::RevokeRemoved(token) => {
                world.revoke(token);
                next(Recover::RevokedRemoved(token))
            }
            Recover::RevokedRemoved(token) => {
                if self.is(Mutation::CompletesOneCopy) || self.is(Mutation::RevokesTheAncestor) {
                    world.state = State::EMPTY;
                } else {
                    world.state.logging_out = Some(token);
                }
                next(Recover::Recorded)
            }
            Recover::Recorded => {
                world.rescue = None;
                if command == Command::Refreshed { Step::Free } else { next(Recover::Logout) }
            }
            Recover::Logout => self.find_interrupted(world, command),
            Recover::RevokeStored(kind, token) => {
                world.revoke(token);
                next(Recover::RemoveStored(kind, token))
            }
            Recover::RemoveStored(kind, token) => {
                if self.remove(world, kind, token) || world.read(kind) != Some(token) {
                    next(Recover::RemovedStored)
                } else if command == Command::Last {
                    Step::Closed
                } else {
                    Step::Free
                }
            }
            Recover::RemovedStored if self.is(Mutation::CompletesOneCopy) => {
                world.state = State::EMPTY;
                next(Recover::Logout)
            }
            // Until no copy is left.
            Recover::RemovedStored => next(Recover::Logout),
        };
    }

    /// A login that a logout was to remove from the keychain, or has removed.
    fn complete_removal(&self, world: &mut World, token: Token, command: Command) -> Step {
        let stored = world.read(Kind::Keychain).filter(|stored| stored.login == token.login);
        let step = match stored {
            Some(stored) if stored == token => Recover::Recorded,
            // Found by this model: another program refreshed it before it was removed, or after it was restored.
            // Revoking the token in the rescue would end the stored login.
            Some(newer) if !self.is(Mutation::RevokesTheAncestor) => {
                world.state.logging_out = world.state.logging_out.map(|_| newer);
                Recover::Recorded
            }
            _ => Recover::RevokeRemoved(token),
        };
        Step::Recover(step, command)
    }

    fn complete_refresh(&self, world: &mut World, spent: Spent, command: Command) -> Step {
        let stored = world.read(spent.kind);
        let descends = stored.is_some_and(|stored| {
            stored == spent.parent || stored.login == spent.parent.login && world.state.spent.has(stored)
        });
        if stored == Some(spent.child) {
            return Step::Recover(Recover::Merged(spent), command);
        }
        if descends {
            self.replace(world, spent.kind, stored, spent.child);
            return Step::Recover(Recover::Merged(spent), command);
        }
        world.state.spent.add(spent.parent);
        let owned = world.find().is_some_and(|(_, stored)| stored.login == spent.child.login);
        let step = if owned { Recover::Recorded } else { Recover::RevokeChild(spent.child) };
        Step::Recover(step, command)
    }

    fn find_interrupted(&self, world: &mut World, command: Command) -> Step {
        let ready = if command == Command::Last { Step::Closed } else { Step::Ready(command) };
        let Some(ending) = world.state.logging_out else { return ready };
        if self.is(Mutation::IgnoresInterruptedLogout) {
            return ready;
        }
        // Found by this model: the marked token may be revoked already, another program may have refreshed it before
        // that, and the other store may have a copy.
        let found = Kind::ALL.into_iter().find_map(|kind| {
            let is_it = |stored: &Token| {
                *stored == ending || stored.login == ending.login && !self.is(Mutation::CompletesOneCopy)
            };
            Some((kind, world.read(kind).filter(is_it)?))
        });
        if let Some((kind, token)) = found {
            return Step::Recover(Recover::RevokeStored(kind, token), command);
        }
        world.state.logging_out = None;
        ready
    }

    pub fn put_back(&self, world: &mut World, step: PutBack, token: Token, command: Option<Command>) {
        let next = |step| Step::PutBack(step, token, command);
        world.holder = match step {
            PutBack::Write => {
                let over = self.is(Mutation::PutsBackOverNewer).then(|| world.read(Kind::Keychain));
                self.replace(world, Kind::Keychain, over.flatten(), token);
                next(PutBack::Record)
            }
            PutBack::Record => {
                world.state.logging_out = None;
                next(PutBack::Clear)
            }
            PutBack::Clear => {
                world.rescue = None;
                if world.read(Kind::Keychain).is_some_and(|stored| stored != token) && world.excuse_losses() {
                    world.documented.not_put_back = true;
                }
                command.map_or(Step::Free, |command| Step::Recover(Recover::Logout, command))
            }
        };
    }

    pub fn begin_refresh(&self, world: &mut World) {
        match world.find() {
            Some((kind, token)) if !world.state.spent.has(token) => {
                if world.asked.has(token) {
                    world.breach(Breach::AskedTwice);
                }
                world.asked.add(token);
                world.holder = Step::Refresh(Refresh::Sent(kind, token));
            }
            _ => world.end(),
        }
    }

    pub fn refresh(&self, world: &mut World, step: Refresh) -> Option<()> {
        world.holder = match step {
            Refresh::Sent(kind, parent) => match world.redeem(parent) {
                Answer::Issued(child) => Step::Refresh(Refresh::Answered(Spent { kind, parent, child })),
                // The grace period: a rival that has the successor commits it first.
                _ if world.rival_will_replace(parent) => return None,
                _ => {
                    world.state.spent.add(parent);
                    Step::Free
                }
            },
            Refresh::Answered(spent) => {
                world.rescue = Some(Rescue::Commit(spent));
                Step::Refresh(Refresh::Saved(spent))
            }
            // From here on the steps are those of completing a rescue.
            Refresh::Saved(spent) => self.complete_refresh(world, spent, Command::Refreshed),
        };
        Some(())
    }
}
