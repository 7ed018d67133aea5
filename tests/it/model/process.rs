//! A process of ours: the refresh transaction as a machine whose steps are as atomic as the code's.

use super::protocol::{Departure, Protocol};
use super::world::{Answer, Breach, Exchange, Standing, Token, World};

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Its snapshot; none right after its start.
    pub memory: Option<Token>,
    pub step: Step,
}

/// Where a process stands. Everything between the first and the last is done under the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// It needs a fresh token and waits for the lease.
    Waiting(Attention),
    /// It has the lease: is there a rescue?
    Leased,
    /// It looks again at the store.
    Looking,
    /// The answer can be saved; the request goes out next.
    Reserved(Token),
    Sent(Token, Attempt),
    /// It was stopped for longer than its deadline, and the answer is in the socket.
    Stopped(Exchange, Attempt),
    /// A 2xx has arrived, in memory alone: the unavoidable window.
    Answered(Exchange),
    /// The rescue is on disk.
    Saved(Errand, Exchange),
    /// It holds the commit locks, has read the document again, and will write.
    Locked(Errand, Exchange),
    Committed(Errand, Exchange),
    /// `state.json` knows of the commit.
    Recorded(Errand, Exchange),
    /// The document moved while the authority was asked.
    Refused(Errand, Exchange, Stray),
    Revoked(Errand, Exchange),
    /// `state.json` knows that the parent is spent all the same.
    Dropped(Errand),
    Reused(Token),
    Invalid(Token),
    Transient(Token),
    Unknown(Token, Attempt),
    Ended(Outcome),
}

/// Whether the generation has changed since a waiter last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attention {
    Calm,
    Stirred,
}

/// Which request of a lease it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    First,
    Second,
}

/// Whose exchange is being committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Errand {
    Own,
    /// A rescue that somebody left behind.
    Rescue,
}

/// What becomes of a successor that could not be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stray {
    Revoke,
    Leave,
}

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Token,
    LoggedOut,
    OtherAccount,
    Poisoned,
    BackingOff,
    /// A rescue could not be finished, so nothing was spent.
    StoreUnavailable,
}

/// What a look at the store says to somebody with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    LoggedOut,
    OtherAccount,
    /// A document to adopt.
    Moved(Token),
    /// The same as the snapshot, or an older one that is to be ignored.
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

    /// Does it have `token` in memory and is yet to write it?
    pub fn will_save(&self, token: Token) -> bool {
        match self.step {
            Step::Stopped(exchange, _)
            | Step::Answered(exchange)
            | Step::Saved(_, exchange)
            | Step::Locked(_, exchange) => exchange.child == token,
            _ => false,
        }
    }

    pub fn stir(&mut self) {
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
    /// The next step of process `who`, if it can take one.
    pub fn step(&self, world: &mut World, who: usize) -> Option<()> {
        match world.ours[who].step {
            Step::Waiting(_) => {
                let taken = world.ours.iter().any(Process::has_lease);
                if taken && !self.departs(Departure::NoLease) {
                    return None;
                }
                world.go(who, Step::Leased);
            }
            Step::Leased => match world.rescue {
                Some(rescue) if !self.departs(Departure::SpendsBeforeRescue) => {
                    world.go(who, Step::Saved(Errand::Rescue, rescue));
                }
                _ => world.go(who, Step::Looking),
            },
            Step::Looking => self.look_under_lease(world, who),
            Step::Reserved(token) => self.send(world, who, token, Attempt::First),
            Step::Sent(..) => return None,
            Step::Stopped(exchange, attempt) => self.goes_on(world, who, exchange, attempt),
            Step::Answered(exchange) => {
                if !self.departs(Departure::CommitsBeforeRescue) {
                    world.rescue = Some(exchange);
                }
                world.go(who, Step::Saved(Errand::Own, exchange));
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
                    Errand::Own => world.publish(who, exchange.child),
                    Errand::Rescue => self.remember_rescued(world, who, exchange.child),
                }
            }
            Step::Refused(errand, exchange, stray) => {
                if stray == Stray::Revoke {
                    world.revoke(exchange.child.login, Standing::RevokedByUs);
                }
                world.go(who, Step::Revoked(errand, exchange));
            }
            Step::Revoked(errand, exchange) => {
                // A refused commit is a spent token too.
                self.record_spent(world, Errand::Rescue, exchange.parent);
                world.go(who, Step::Dropped(errand));
            }
            Step::Dropped(errand) => {
                world.rescue = None;
                match errand {
                    Errand::Own => self.publish_stored(world, who),
                    Errand::Rescue => world.go(who, Step::Looking),
                }
            }
            Step::Reused(token) => self.look_after_reused(world, who, token)?,
            Step::Invalid(token) => self.look_after_refusal(world, who, token),
            Step::Transient(token) => self.back_off(world, who, token),
            Step::Unknown(token, attempt) => self.look_after_silence(world, who, token, attempt),
            Step::Ended(outcome) => self.begin_again(world, who, outcome)?,
        }
        Some(())
    }

    /// A waiter sees a new generation: it adopts a commit, takes a failure as its own, or waits on.
    pub fn heed(&self, world: &mut World, who: usize) -> Option<()> {
        if world.ours[who].step != Step::Waiting(Attention::Stirred) {
            return None;
        }
        world.go(who, Step::WAITING);
        match self.look(world, who) {
            Look::LoggedOut => world.end(who, Outcome::LoggedOut),
            Look::OtherAccount => world.end(who, Outcome::OtherAccount),
            Look::Moved(token) => {
                world.adopt(who, token);
                if !world.is_stale(token) {
                    world.end(who, Outcome::Token);
                }
            }
            Look::Same(token) if world.state.poison == Some(token) => world.end(who, Outcome::Poisoned),
            Look::Same(token) if world.state.backing_off == Some(token) => {
                world.end(who, Outcome::BackingOff);
            }
            Look::Same(_) => {}
        }
        Some(())
    }

    /// The authority's answer arrives.
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

    /// What the store says, apart from documents that are known to be old.
    pub fn look(&self, world: &World, who: usize) -> Look {
        let Some(stored) = world.document else { return Look::LoggedOut };
        let spent = self.is_spent(world, stored);
        let Some(own) = world.ours[who].memory else {
            return if spent { Look::Same(stored) } else { Look::Moved(stored) };
        };
        // Found by this model: `spent` knows only our own commits. What the peer's commit replaced can come back too.
        let old = spent || stored.is_before(own) && !self.departs(Departure::TrustsOlder);
        if stored == own {
            Look::Same(own)
        } else if !stored.login.is_same_account(own.login) {
            Look::OtherAccount
        } else if old && !self.departs(Departure::AdoptsOlder) {
            Look::Same(own)
        } else {
            Look::Moved(stored)
        }
    }

    pub fn is_spent(&self, world: &World, token: Token) -> bool {
        world.state.spent.has(token) && !self.departs(Departure::IgnoresSpent)
    }

    /// Found by this model: whoever removes a rescue says first what was spent, whatever became of the answer, because
    /// the one who wrote the rescue may have died before saying so.
    fn record_spent(&self, world: &mut World, errand: Errand, parent: Token) {
        if errand == Errand::Own || !self.departs(Departure::RecordsOnlyCommits) {
            world.state.spent.add(parent);
        }
        world.stir();
    }

    /// Found by this model: whoever finishes a rescue is from then on the one who knows its token.
    fn remember_rescued(&self, world: &mut World, who: usize, child: Token) {
        let adopts = world.ours[who]
            .memory
            .is_none_or(|own| own.login.is_same_account(child.login) && !child.is_before(own));
        if adopts && !self.departs(Departure::FinisherForgets) {
            world.adopt(who, child);
        }
        world.go(who, Step::Looking);
    }

    fn look_under_lease(&self, world: &mut World, who: usize) {
        let token = match self.look(world, who) {
            Look::LoggedOut => return world.end(who, Outcome::LoggedOut),
            Look::OtherAccount => return world.end(who, Outcome::OtherAccount),
            Look::Moved(token) => {
                world.adopt(who, token);
                token
            }
            Look::Same(token) => {
                world.ours[who].memory = Some(token);
                token
            }
        };
        // Found by this model: a spent document whose successor nobody here remembers must not be sent again.
        let spent = self.is_spent(world, token) && !self.departs(Departure::SendsSpent);
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
