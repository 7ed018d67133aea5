//! The two stores as a `stateright` model: its bounds, mutations and actions.

use stateright::{Model, Property};

use super::super::world::{Answer, Login, Standing, Token};
use super::step::{Command, PutBack, Recover, Refresh, Step};
use super::step::{Logout, Migrate};
use super::world::{Kind, Rival, Spent, World};

/// The bounds, and the mutation, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub commands: u8,
    pub turns: u8,
    pub failures: u8,
    pub mutation: Option<Mutation>,
}

/// A wrong rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A removal does not compare with what was seen.
    RemovesWhatItReads,
    /// A replacement does not compare with what was seen.
    ReplacesWhatItReads,
    /// The destination of a migration is read once for the check, and again for the comparison.
    ReadsDestinationAgain,
    /// An older copy is moved over a newer one at the destination.
    CopiesTheOlder,
    /// A failed migration leaves its copy.
    LeavesTheCopy,
    /// A login in a file that cannot be removed is revoked all the same.
    RevokesBeforeChecking,
    /// A copy is revoked before it is known whether the other one can be removed.
    ChecksEachCopyAlone,
    /// The rescue of a removed login is revoked although the store holds a successor that another program stored.
    RevokesTheAncestor,
    /// A logout that finds another token than the marked one removes the mark before it reads again.
    UnmarksBetweenTries,
    /// A login is removed from the keychain without a rescue.
    HoldsNothing,
    PutsNothingBack,
    PutsBackOverNewer,
    /// The next holder discards the rescue of a removed login.
    DropsRemovedLogin,
    IgnoresInterruptedLogout,
    /// The next holder ends only the marked token, in one store.
    CompletesOneCopy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start(Command),
    Step,
    Rival,
    /// Killed: the kernel releases the lease.
    Crash,
    RevocationFails,
    /// `config.toml` cannot be written.
    SelectFails,
    /// Another program logs in, in its own store, which need not be the selected one.
    RivalLogsIn(Kind),
}

impl World {
    pub fn rival_will_replace(&self, token: Token) -> bool {
        matches!(self.rival, Rival::Holding(spent) if spent.parent == token)
    }
}

impl Protocol {
    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn start(&self, world: &mut World, command: Command) -> Option<()> {
        if world.holder != Step::Free {
            return None;
        }
        match command {
            Command::Last if world.commands > 0 || world.rival != Rival::Idle => return None,
            Command::Last => world.turns = 0,
            _ => world.commands = world.commands.checked_sub(1)?,
        }
        world.holder = Step::Recover(Recover::Rescue, command);
        Some(())
    }

    fn step(&self, world: &mut World) -> Option<()> {
        match world.holder {
            Step::Free | Step::Closed => return None,
            Step::Recover(step, command) => self.recover(world, step, command),
            Step::Ready(Command::Refresh) => self.begin_refresh(world),
            Step::Ready(Command::Migrate(to)) => self.plan_migration(world, to),
            Step::Ready(Command::Logout) => self.begin_logout(world),
            Step::Ready(Command::Refreshed | Command::Last) => return None,
            Step::Refresh(step) => self.refresh(world, step)?,
            Step::Migrate(step, plan) => self.migrate(world, step, plan),
            Step::Logout(step) => self.logout(world, step),
            Step::PutBack(step, token, command) => self.put_back(world, step, token, command),
        }
        Some(())
    }

    fn rival(&self, world: &mut World) -> Option<()> {
        world.rival = match world.rival {
            Rival::Idle => {
                world.turns = world.turns.checked_sub(1)?;
                Rival::Asked(world.selected, world.read(world.selected)?)
            }
            Rival::Asked(kind, parent) => match world.redeem(parent) {
                Answer::Issued(child) => Rival::Holding(Spent { kind, parent, child }),
                Answer::Reused | Answer::Invalid => Rival::Idle,
            },
            Rival::Holding(spent) => {
                let there = world.read(spent.kind) == Some(spent.parent);
                if there {
                    world.stores[spent.kind as usize] = Some(spent.child);
                }
                world.rival = Rival::Idle;
                if !there && world.excuse_losses() {
                    world.documented.in_flight = true;
                }
                return Some(());
            }
        };
        Some(())
    }

    fn crash(&self, world: &mut World) -> Option<()> {
        let unavoidable = matches!(world.holder, Step::Refresh(Refresh::Answered(_)));
        if matches!(world.holder, Step::Free | Step::Closed) {
            return None;
        }
        // Its outcome is unknown: it may be sent again.
        match world.holder {
            Step::Refresh(Refresh::Sent(_, token)) => world.asked.remove(token),
            Step::Refresh(Refresh::Answered(spent)) => world.asked.remove(spent.parent),
            _ => {}
        }
        world.end();
        if unavoidable {
            world.excuse_losses();
        }
        Some(())
    }

    fn revocation_fails(&self, world: &mut World) -> Option<()> {
        match world.holder {
            Step::Logout(step) => return self.logout_revocation_fails(world, step),
            Step::Recover(Recover::RevokeRemoved(token), command) => {
                // It may have been revoked before its holder died; in doubt it is kept.
                world.documented.put_back_dead |= world.is_revoked(token.login);
                world.copy_reported = true;
                world.holder = Step::PutBack(PutBack::Write, token, Some(command));
            }
            Step::Recover(Recover::RevokeStored(..), _) => world.end(),
            _ => return None,
        }
        Some(())
    }

    fn rival_logs_in(&self, world: &mut World, kind: Kind) -> Option<()> {
        let other = Token { login: Login::Other, number: 0 };
        let grant = world.authority[Login::Other as usize];
        let begun = world.is_stored(Login::Other) || !world.excused[Login::Other as usize];
        if begun || grant.newest > 0 || grant.standing != Standing::Good {
            return None;
        }
        let overwritten = world.stores[kind as usize].replace(other);
        world.excused[Login::Other as usize] = false;
        // A token that another program overwrites need not be kept.
        if let Some(overwritten) = overwritten {
            world.excused[overwritten.login as usize] = true;
        }
        Some(())
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let world = |kind| World::new(kind, self.commands, self.turns, self.failures);
        let mut stuck = World { removable: false, ..world(Kind::File) };
        let alone = stuck.clone();
        stuck.stores[Kind::Keychain as usize] = stuck.read(Kind::File);
        vec![world(Kind::File), world(Kind::Keychain), alone, World { selected: Kind::Keychain, ..stuck }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // A run ends at a breach, or with the last holder.
        if world.breach.is_some() || world.holder == Step::Closed {
            return;
        }
        actions.extend([Action::Step, Action::Rival]);
        let commands = [
            Command::Refresh,
            Command::Migrate(Kind::File),
            Command::Migrate(Kind::Keychain),
            Command::Logout,
            Command::Last,
        ];
        actions.extend(commands.map(Action::Start));
        if world.failures > 0 {
            actions.extend([Action::Crash, Action::RevocationFails, Action::SelectFails]);
            actions.extend(Kind::ALL.map(Action::RivalLogsIn));
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        let world = &mut next;
        match action {
            Action::Start(command) => self.start(world, command),
            Action::Step => self.step(world),
            Action::Rival => self.rival(world),
            Action::Crash => self.crash(world),
            Action::RevocationFails => self.revocation_fails(world),
            Action::SelectFails => match world.holder {
                Step::Migrate(Migrate::Select, plan) => {
                    world.holder = Step::Migrate(Migrate::RestoreSelection, plan);
                    Some(())
                }
                _ => None,
            },
            Action::RivalLogsIn(kind) => self.rival_logs_in(world, kind),
        }?;
        if matches!(
            action,
            Action::Crash | Action::RevocationFails | Action::SelectFails | Action::RivalLogsIn(_)
        ) {
            world.failures -= 1;
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = super::promises::promises();
        if self.mutation.is_none() {
            properties.extend(super::promises::occasions(self.failures));
        }
        properties
    }
}

/// Returns whether a logout has the login only in the rescue.
pub fn is_held(step: Step) -> bool {
    matches!(step, Step::Logout(Logout::RevokeHeld(..)))
}
