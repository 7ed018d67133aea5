//! Linked homes as a `stateright` model: its bounds, mutations and actions.

use stateright::{Model, Property};

use super::super::world::{Answer, Login, Standing, Token};
use super::world::{Breach, File, Folder, Spent, Step, World};

/// The links, the bounds, and the mutation, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub logins: [Option<Login>; 4],
    /// The folder of each file.
    pub folders: [Folder; 4],
    pub links: [File; 2],
    pub turns: u8,
    pub failures: u8,
    pub mutation: Option<Mutation>,
}

/// A wrong rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Only the home is locked, not the folder that it links into.
    LocksTheHomeOnly,
    /// The home is locked first, whatever the order of the paths.
    LocksTheHomeFirst,
    /// The home's own folder is locked a second time as the document's folder.
    LocksTwice,
    /// Two documents of one folder have one state and one rescue.
    RecordsOfTheFolder,
    /// State and rescue belong to the home, not to the document.
    RecordsOfTheHome,
    /// The commit follows the link again, and compares.
    CommitsThroughTheLink,
    /// The commit follows the link again, and writes without comparing.
    WritesThroughTheLink,
}

/// An action of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Step(usize),
    /// Killed: the kernel releases its locks.
    Crash(usize),
    /// The link of a home is changed to another file.
    Relink(usize, File),
    /// The last holder of each home starts.
    Last,
}

impl Protocol {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Returns the folders that process `who` locks, in order.
    fn locks(&self, who: usize, pinned: File) -> Vec<Folder> {
        let mut folders = vec![who, self.folders[pinned]];
        if self.is(Mutation::LocksTheHomeOnly) {
            folders.pop();
        }
        if !self.is(Mutation::LocksTheHomeFirst) {
            folders.sort_unstable();
        }
        if !self.is(Mutation::LocksTwice) {
            folders.dedup();
        }
        folders
    }

    fn is_locked(&self, world: &World, folder: Folder) -> bool {
        world.processes.iter().enumerate().any(|(who, process)| {
            let locks = self.locks(who, process.pinned);
            let held = match process.step {
                Step::Idle | Step::Ended => 0,
                Step::Locking(held) => held,
                _ => locks.len(),
            };
            locks[..held].contains(&folder)
        })
    }

    /// Returns the index of the state and the rescue of a document.
    fn records(&self, who: usize, file: File) -> usize {
        match self.mutation {
            Some(Mutation::RecordsOfTheFolder) => self.folders[file],
            Some(Mutation::RecordsOfTheHome) => who,
            _ => file,
        }
    }

    fn step(&self, world: &mut World, who: usize) -> Option<()> {
        let process = world.processes[who];
        let file = process.pinned;
        let records = self.records(who, file);
        let step = match process.step {
            Step::Ended => return None,
            Step::Idle => {
                world.processes[who].pinned = world.links[who];
                Step::Locking(0)
            }
            Step::Locking(held) => {
                let locks = self.locks(who, file);
                match locks.get(held) {
                    Some(folder) if self.is_locked(world, *folder) => return None,
                    Some(_) => Step::Locking(held + 1),
                    // The link may have changed during the wait.
                    None if world.links[who] != file => Step::Idle,
                    None => Step::Leased,
                }
            }
            Step::Leased => world.records[records].rescue.map_or(Step::Looking, Step::Saved),
            Step::Looking => match world.documents[self.target(world, who)] {
                // A token of number 0 is stale.
                Some(token)
                    if token.number == 0 && !world.last && !world.records[records].spent.has(token) =>
                {
                    if world.asked.has(token) {
                        world.breach = Some(Breach::AskedTwice);
                    }
                    world.asked.add(token);
                    Step::Sent(token)
                }
                _ => Step::Ended,
            },
            Step::Sent(parent) => match world.redeem(parent) {
                Answer::Issued(child) => Step::Answered(Spent { parent, child }),
                Answer::Reused | Answer::Invalid => {
                    world.records[records].spent.add(parent);
                    Step::Ended
                }
            },
            Step::Answered(spent) => {
                world.records[records].rescue = Some(spent);
                Step::Saved(spent)
            }
            Step::Saved(spent) => {
                self.commit(world, who, spent);
                Step::Recording(spent)
            }
            Step::Recording(spent) => {
                world.records[records].spent.add(spent.parent);
                Step::Clearing
            }
            Step::Clearing => {
                world.records[records].rescue = None;
                Step::Looking
            }
        };
        world.processes[who].step = step;
        Some(())
    }

    /// Returns the file that is read and written, which is the pinned one.
    fn target(&self, world: &World, who: usize) -> File {
        let through = self.is(Mutation::CommitsThroughTheLink) || self.is(Mutation::WritesThroughTheLink);
        if through && matches!(world.processes[who].step, Step::Saved(_)) {
            world.links[who]
        } else {
            world.processes[who].pinned
        }
    }

    /// Replaces the parent with the child. If the parent is not stored, revokes the child unless its login is stored.
    fn commit(&self, world: &mut World, who: usize, spent: Spent) {
        let target = self.target(world, who);
        let records = self.records(who, world.processes[who].pinned);
        let Some(stored) = world.documents[target] else { return self.revoke(world, spent.child) };
        let same = stored.login == spent.child.login;
        let descends = stored == spent.parent || same && world.records[records].spent.has(stored);
        if stored == spent.child {
            return;
        }
        if descends || self.is(Mutation::WritesThroughTheLink) {
            if !same {
                world.breach = Some(Breach::OverwroteAnotherLogin);
            }
            world.committed_elsewhere |= world.links[who] != target;
            world.documents[target] = Some(spent.child);
        } else if !same {
            self.revoke(world, spent.child);
        }
    }

    fn revoke(&self, world: &mut World, token: Token) {
        world.authority[token.login as usize].standing = Standing::RevokedByUs;
    }

    fn crash(&self, world: &mut World, who: usize) -> Option<()> {
        // It does not come back: the next holder is another process, or the last one.
        let step = std::mem::replace(&mut world.processes[who].step, Step::Ended);
        match step {
            Step::Idle | Step::Ended => return None,
            Step::Sent(token) => world.asked.remove(token),
            // The unavoidable window.
            Step::Answered(spent) => {
                world.asked.remove(spent.parent);
                world.excused[spent.child.login as usize] |= !world.is_kept(spent.child.login);
            }
            _ => {}
        }
        Some(())
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.logins, self.links, self.turns, self.failures)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.breach.is_some() {
            return;
        }
        actions.extend([Action::Step(0), Action::Step(1)]);
        if world.is_over() && !world.last {
            actions.push(Action::Last);
        }
        if world.failures > 0 {
            actions.extend([Action::Crash(0), Action::Crash(1)]);
        }
        if world.turns > 0 {
            actions.extend(
                [2, 3].into_iter().flat_map(|file| [Action::Relink(0, file), Action::Relink(1, file)]),
            );
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        let world = &mut next;
        match action {
            Action::Step(who) => self.step(world, who)?,
            Action::Crash(who) => {
                world.failures -= 1;
                self.crash(world, who)?;
            }
            Action::Relink(who, file) => {
                world.documents[file].filter(|_| world.links[who] != file)?;
                world.turns -= 1;
                world.links[who] = file;
            }
            Action::Last => {
                (world.last, world.turns, world.failures) = (true, 0, 0);
                world.processes.iter_mut().for_each(|process| process.step = Step::Idle);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::promises()
    }
}
