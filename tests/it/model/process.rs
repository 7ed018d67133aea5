//! Our process: the refresh transaction as a state machine whose steps are as atomic as in the library.

use super::protocol::{Mutation, Protocol};
use super::world::{Answer, Breach, Exchange, Standing, Token, World};

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Its snapshot; none right after its start.
    pub memory: Option<Token>,
    pub step: Step,
}

/// The step of a process. All steps between the first and the last are under the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// It needs a fresh token and waits for the lease.
    Waiting(Attention),
    /// It has the lease, and checks for a rescue.
    Leased,
    /// It reads the store again.
    Looking,
    /// The rescue is reserved; the request is sent next.
    Reserved(Token),
    Sent(Token, Attempt),
    /// It was stopped for longer than its deadline; the response is in the socket.
    Stopped(Exchange, Attempt),
    /// A token response has arrived, only in memory: the unavoidable window.
    Answered(Exchange),
    /// The rescue is on disk.
    Saved(CommitSource, Exchange),
    /// It holds the commit locks, has read the document again, and will write.
    Locked(CommitSource, Exchange),
    Committed(CommitSource, Exchange),
    /// The commit is recorded in `state.json`.
    Recorded(CommitSource, Exchange),
    /// The document changed during the request.
    Refused(CommitSource, Exchange, Stray),
    Revoked(CommitSource, Exchange),
    /// The parent is recorded as spent in `state.json` all the same.
    Dropped(CommitSource),
    Reused(Token),
    Invalid(Token),
    Transient(Token),
    Unknown(Token, Attempt),
    Ended(Outcome),
}

/// Whether the generation has changed since a waiter last read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attention {
    Calm,
    Stirred,
}

/// The number of the request under one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    First,
    Second,
}

/// The origin of the exchange that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommitSource {
    Own,
    /// A rescue that a killed process left behind.
    Rescue,
}

/// What is done with a successor that could not be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stray {
    Revoke,
    Leave,
}

/// The outcome that the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Token,
    LoggedOut,
    OtherAccount,
    Poisoned,
    BackingOff,
    /// A rescue could not be completed, so no token was spent.
    StoreUnavailable,
}

/// What reading the store means for a process with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    LoggedOut,
    OtherAccount,
    /// A document to adopt.
    Changed(Token),
    /// The same as the snapshot, or an older one that is ignored.
    Same(Token),
}

impl Step {
    pub const WAITING: Self = Self::Waiting(Attention::Calm);
}

impl Process {
    pub fn has_lease(&self) -> bool {
        !matches!(self.step, Step::Waiting(_) | Step::Ended(_))
    }

    pub fn has_commit_locks(&self) -> bool {
        matches!(self.step, Step::Locked(..))
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.step, Step::Ended(_))
    }

    /// Returns whether it has `token` in memory and will write it.
    pub fn will_save(&self, token: Token) -> bool {
        match self.step {
            Step::Stopped(exchange, _)
            | Step::Answered(exchange)
            | Step::Saved(_, exchange)
            | Step::Locked(_, exchange) => exchange.child == token,
            _ => false,
        }
    }

    pub fn wake(&mut self) {
        if let Step::Waiting(attention) = &mut self.step {
            *attention = Attention::Stirred;
        }
    }
}

impl World {
    pub fn go(&mut self, who: usize, step: Step) {
        self.ours[who].step = step;
    }

    pub fn end(&mut self, who: usize, outcome: Outcome) {
        self.go(who, Step::Ended(outcome));
    }

    pub fn publish(&mut self, who: usize, token: Token) {
        self.ours[who].memory = Some(token);
        self.end(who, Outcome::Token);
    }

    pub fn adopt(&mut self, who: usize, token: Token) {
        if self.state.spent.has(token) {
            self.breach(Breach::AdoptedSpent);
        }
        self.ours[who].memory = Some(token);
    }
}

impl Protocol {
    /// Takes the next step of process `who`, if it can take one.
    pub fn step(&self, world: &mut World, who: usize) -> Option<()> {
        match world.ours[who].step {
            Step::Waiting(_) => {
                let taken = world.ours.iter().any(Process::has_lease);
                if taken && !self.is(Mutation::NoLease) {
                    return None;
                }
                world.go(who, Step::Leased);
            }
            Step::Leased => match world.rescue {
                Some(rescue) if !self.is(Mutation::SpendsBeforeRescue) => {
                    world.go(who, Step::Saved(CommitSource::Rescue, rescue));
                }
                _ => world.go(who, Step::Looking),
            },
            Step::Looking => self.look_under_lease(world, who),
            Step::Reserved(token) => self.send(world, who, token, Attempt::First),
            Step::Sent(..) => return None,
            Step::Stopped(exchange, attempt) => self.resumes(world, who, exchange, attempt),
            Step::Answered(exchange) => {
                if !self.is(Mutation::CommitsBeforeRescue) {
                    world.rescue = Some(exchange);
                }
                world.go(who, Step::Saved(CommitSource::Own, exchange));
            }
            Step::Saved(errand, exchange) => self.lock_and_read(world, who, errand, exchange)?,
            Step::Locked(errand, exchange) => self.write(world, who, errand, exchange),
            Step::Committed(errand, exchange) => {
                self.record_spent(world, errand, exchange.parent);
                world.state.poison = None;
                world.state.backing_off = None;
                world.go(who, Step::Recorded(errand, exchange));
            }
            Step::Recorded(errand, exchange) => {
                world.rescue = None;
                match errand {
                    CommitSource::Own => world.publish(who, exchange.child),
                    CommitSource::Rescue => self.remember_rescued(world, who, exchange.child),
                }
            }
            Step::Refused(errand, exchange, stray) => {
                if stray == Stray::Revoke {
                    world.revoke(exchange.child.login, Standing::RevokedByUs);
                }
                world.go(who, Step::Revoked(errand, exchange));
            }
            Step::Revoked(errand, exchange) => {
                // The token is spent also if the commit was refused.
                self.record_spent(world, CommitSource::Rescue, exchange.parent);
                world.go(who, Step::Dropped(errand));
            }
            Step::Dropped(errand) => {
                world.rescue = None;
                match errand {
                    CommitSource::Own => self.publish_stored(world, who),
                    CommitSource::Rescue => world.go(who, Step::Looking),
                }
            }
            Step::Reused(token) => self.look_after_reused(world, who, token)?,
            Step::Invalid(token) => self.look_after_refusal(world, who, token),
            Step::Transient(token) => self.back_off(world, who, token),
            Step::Unknown(token, attempt) => self.look_after_silence(world, who, token, attempt),
            Step::Ended(outcome) => self.restart(world, who, outcome)?,
        }
        Some(())
    }

    /// A waiter sees a new generation: it adopts a commit, returns the same failure, or waits on.
    pub fn on_new_generation(&self, world: &mut World, who: usize) -> Option<()> {
        if world.ours[who].step != Step::Waiting(Attention::Stirred) {
            return None;
        }
        world.go(who, Step::WAITING);
        match self.look(world, who) {
            Seen::LoggedOut => world.end(who, Outcome::LoggedOut),
            Seen::OtherAccount => world.end(who, Outcome::OtherAccount),
            Seen::Changed(token) => {
                world.adopt(who, token);
                if !world.is_stale(token) {
                    world.end(who, Outcome::Token);
                }
            }
            Seen::Same(token) if world.state.poison == Some(token) => world.end(who, Outcome::Poisoned),
            Seen::Same(token) if world.state.backing_off == Some(token) => {
                world.end(who, Outcome::BackingOff);
            }
            Seen::Same(_) => {}
        }
        Some(())
    }

    /// The authority's response arrives.
    pub fn answer(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(parent, _) = world.ours[who].step else { return None };
        let step = match world.redeem(parent, self.on_reuse) {
            Answer::Issued(child) => Step::Answered(Exchange { parent, child }),
            Answer::Reused => Step::Reused(parent),
            Answer::Invalid => Step::Invalid(parent),
        };
        world.go(who, step);
        Some(())
    }

    /// Reads the store, ignoring documents that are known to be old.
    pub fn look(&self, world: &World, who: usize) -> Seen {
        let Some(stored) = world.document else { return Seen::LoggedOut };
        let spent = self.is_spent(world, stored);
        let Some(own) = world.ours[who].memory else {
            return if spent { Seen::Same(stored) } else { Seen::Changed(stored) };
        };
        // Found by this model: `spent` has only our own commits; a token that the peer replaced can be restored too.
        let old = spent || stored.is_before(own) && !self.is(Mutation::TrustsOlder);
        if stored == own {
            Seen::Same(own)
        } else if !stored.login.is_same_account(own.login) {
            Seen::OtherAccount
        } else if old && !self.is(Mutation::AdoptsOlder) {
            Seen::Same(own)
        } else {
            Seen::Changed(stored)
        }
    }

    pub fn is_spent(&self, world: &World, token: Token) -> bool {
        world.state.spent.has(token) && !self.is(Mutation::IgnoresSpent)
    }

    /// Found by this model: before a rescue is removed, its parent is recorded as spent, whatever the outcome, because
    /// the process that wrote the rescue may have died before recording it.
    fn record_spent(&self, world: &mut World, errand: CommitSource, parent: Token) {
        if errand == CommitSource::Own || !self.is(Mutation::RecordsOnlyCommits) {
            world.state.spent.add(parent);
        }
        world.wake_waiters();
    }

    /// Found by this model: the process that completes a rescue adopts its token.
    fn remember_rescued(&self, world: &mut World, who: usize, child: Token) {
        let adopts = world.ours[who]
            .memory
            .is_none_or(|own| own.login.is_same_account(child.login) && !child.is_before(own));
        if adopts && !self.is(Mutation::ForgetsCompletedRescue) {
            world.adopt(who, child);
        }
        world.go(who, Step::Looking);
    }

    fn look_under_lease(&self, world: &mut World, who: usize) {
        let token = match self.look(world, who) {
            Seen::LoggedOut => return world.end(who, Outcome::LoggedOut),
            Seen::OtherAccount => return world.end(who, Outcome::OtherAccount),
            Seen::Changed(token) => {
                world.adopt(who, token);
                token
            }
            Seen::Same(token) => {
                world.ours[who].memory = Some(token);
                token
            }
        };
        // Found by this model: a spent token must not be sent again, also if no process has its successor.
        let spent = self.is_spent(world, token) && !self.is(Mutation::SendsSpent);
        if spent || world.state.poison == Some(token) {
            world.end(who, Outcome::Poisoned);
        } else if world.state.backing_off == Some(token) {
            world.end(who, Outcome::BackingOff);
        } else if world.is_stale(token) {
            world.go(who, Step::Reserved(token));
        } else {
            world.end(who, Outcome::Token);
        }
    }

    pub fn send(&self, world: &mut World, who: usize, token: Token, attempt: Attempt) {
        if world.asked.has(token) {
            world.breach(Breach::AskedTwice);
        }
        world.asked.add(token);
        world.go(who, Step::Sent(token, attempt));
    }
}
