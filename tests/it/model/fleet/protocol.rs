//! The fleet as a `stateright` model: its bounds, mutations and actions.

use stateright::{Model, Property};

use super::super::world::{Answer, OnReuse, Token};
use super::failure::Failure;
use super::record::{Attempt, Poison, Record};
use super::world::{Backup, Breach, Exception, HOSTS, Response, Step, World};

/// The bounds, and the mutation of the protocol, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// How often all tokens become stale.
    pub ages: u8,
    /// How many failures happen: any [`Failure`], in any order.
    pub failures: u8,
    /// How many times a user logs in, logs out or changes the key.
    pub user_actions: u8,
    /// Whether etcd may be restored from a backup.
    pub restores: bool,
    pub watches: Watches,
    pub faults: Faults,
    pub on_reuse: OnReuse,
    pub mutation: Option<Mutation>,
}

/// The failures that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    All,
    /// Only those of the authority.
    Authority,
}

/// When a member that is connected and idle sees a new record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watches {
    /// At any later time.
    Late,
    /// At once, which leaves fewer states.
    Prompt,
}

/// A wrong rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A transaction does not compare the record.
    ComparesNothing,
    /// The token is sent although the lease may have ended.
    SkipsLastCheck,
    /// A claim whose reply was lost counts as made.
    TrustsLostReply,
    /// The token is sent before the journal says so.
    PostsWithoutJournal,
    /// The response is committed without being saved.
    CommitsWithoutKeeping,
    /// A commit whose reply was lost counts as made.
    DropsRescueUnread,
    /// A withdrawn second attempt also removes the first.
    WithdrawsBothAttempts,
    /// A successor does not wait until the holder is done.
    SucceedsAtOnce,
    /// A successor does not wait until the access token has ended.
    SucceedsWhileTokenLives,
    /// A successor announces a first attempt.
    SucceedsUnrecorded,
    /// There is a third attempt.
    RetriesLost,
    /// The intent vanishes with the holder's lease.
    LeasesIntent,
    AdoptsOlder,
    /// A record that was restored is used at once.
    IgnoresRestore,
    RevokesBeforeTombstone,
    RevokesBeforeNewLogin,
    /// A holder whose login has ended keeps the response.
    LeavesSuccessor,
    PoisonsUnconfirmed,
    PoisonsTransient,
    /// A token is spent for a member that has seen only its predecessor.
    IgnoresAsker,
    RekeysOverIntent,
    /// A login that was interrupted replaces a record that its user has not seen.
    CompletesLoginBlindly,
    /// A late response is presented again after an unknown outcome.
    PresentsTwice,
}

/// An action of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A host takes a step. What it writes to etcd may fail.
    Move(usize, Move, Delivery),
    /// The authority responds.
    Answer(usize),
    LeaseExpires,
    DelayedArrives,
    Returns(usize),
    TokensAge,
    TokenEnds,
    BackedUp,
    Fails(Failure),
}

/// A step of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A linearizable read.
    Look,
    /// Two polls have passed since etcd was restored.
    Settle,
    Claim,
    Arm,
    Post,
    Keep,
    Commit,
    /// A read shows the child of the rescue.
    ClearRescue,
    /// The holder records an answer that is not a token.
    Report,
    Withdraw,
    Succeed,
    MarkLost,
    Present,
    /// Revokes what no record needs.
    Discard,
    LogIn,
    PutLogin,
    FinishLogin,
    LogOut,
    Revoke,
    Rekey,
}

impl Move {
    const ALL: [Self; 20] = [
        Self::Look,
        Self::Settle,
        Self::Claim,
        Self::Arm,
        Self::Post,
        Self::Keep,
        Self::Commit,
        Self::ClearRescue,
        Self::Report,
        Self::Withdraw,
        Self::Succeed,
        Self::MarkLost,
        Self::Present,
        Self::Discard,
        Self::LogIn,
        Self::PutLogin,
        Self::FinishLogin,
        Self::LogOut,
        Self::Revoke,
        Self::Rekey,
    ];

    /// Whether it writes to etcd.
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::Claim
                | Self::Commit
                | Self::Report
                | Self::Withdraw
                | Self::Succeed
                | Self::MarkLost
                | Self::Present
                | Self::PutLogin
                | Self::LogOut
                | Self::Rekey
        )
    }
}

/// What happens to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Acknowledged,
    ReplyLost,
    /// It arrives when its sender has given up.
    Delayed,
}

impl Protocol {
    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// The authority carries out the request of `who`, which gets the response even while it is stopped.
    fn answer(&self, world: &mut World, who: usize) -> Option<()> {
        let response = match world.redeem(self.spends(world, who)?, self.on_reuse) {
            Answer::Issued(child) => Response::Issued(child),
            Answer::Reused => Response::Reused,
            Answer::Invalid => Response::Invalid,
        };
        world.host(who).step = Step::Got(response);
        Some(())
    }

    /// Returns the token that `who` has sent.
    pub fn spends(&self, world: &World, who: usize) -> Option<Token> {
        let host = world.hosts[who];
        let posting = host.posting.map(|posting| posting.spends);
        let intent = host.copy.intent.map(|intent| intent.spends);
        (host.step == Step::Posted).then_some(posting.or(intent)?)
    }

    /// The holder's lease ends: not while a running host is between its last check and the response.
    fn lease_expires(&self, world: &mut World) -> Option<()> {
        let leader = world.leader?;
        let host = world.hosts[leader as usize];
        let is_covered = matches!(host.step, Step::Posted | Step::Got(_)) && host.is_running();
        (!is_covered).then_some(())?;
        world.leader = None;
        if self.is(Mutation::LeasesIntent) {
            world.record.intent = None;
        }
        Some(())
    }

    fn returns(&self, world: &mut World, who: usize) -> Option<()> {
        let restored = world.backup == Backup::Restored;
        let host = world.host(who);
        host.absence.take()?;
        host.settled &= !restored;
        Some(())
    }
}

impl World {
    /// Writes the record.
    pub fn put(&mut self, record: Record, watches: Watches) {
        let old = self.record;
        if old.tombstone && !record.tombstone && old.token.login == record.token.login {
            self.breach(Breach::WroteAfterLogout);
        }
        if record.poison == Some(Poison::Refused) && old.poison.is_none() && self.is_live(record.token) {
            self.breach(Breach::PoisonedLive);
        }
        if let Some(intent) = record.intent
            && matches!(intent.attempt, Attempt::Second { .. })
        {
            self.second_recorded.add(intent.spends);
        }
        // Values are unique, so that a delayed transaction that compares this one will fail.
        self.delayed = self.delayed.filter(|late| late.compared != old || record == old);
        self.record = record;
        if watches == Watches::Prompt {
            for host in &mut self.hosts {
                if host.is_connected() && host.step == Step::Idle && host.settled && host.copy == old {
                    host.copy = record;
                }
            }
        }
    }

    /// Counts a request with `token`.
    pub fn count_post(&mut self, token: Token) {
        let excused = self.is_allowed(Exception::RestoredWhileAway);
        if self.posted.has(token) {
            let is_second = self.second_recorded.has(token) && !self.posted_twice.has(token);
            if !is_second && !excused {
                self.breach(Breach::Posted);
            }
            self.posted_twice.add(token);
        }
        self.posted.add(token);
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.failures, self.user_actions)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // A run ends at a breach.
        if world.breach.is_some() {
            return;
        }
        for who in 0..HOSTS {
            for step in Move::ALL {
                actions.push(Action::Move(who, step, Delivery::Acknowledged));
                if world.failures > 0 && step.is_write() && self.faults == Faults::All {
                    actions.push(Action::Move(who, step, Delivery::ReplyLost));
                    actions.push(Action::Move(who, step, Delivery::Delayed));
                }
            }
            actions.extend([Action::Answer(who), Action::Returns(who)]);
            if world.failures > 0 {
                self.failures_of(who, actions);
            }
        }
        actions.extend([Action::LeaseExpires, Action::DelayedArrives, Action::TokensAge, Action::TokenEnds]);
        if self.restores {
            actions.push(Action::BackedUp);
            if world.failures > 0 {
                actions.push(Action::Fails(Failure::Restored));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = *last;
        let world = &mut next;
        match action {
            Action::Move(who, step, delivery) => self.step(world, who, step, delivery),
            Action::Answer(who) => self.answer(world, who),
            Action::LeaseExpires => self.lease_expires(world),
            Action::DelayedArrives => world.delayed.take().map(|late| {
                if world.record == late.compared {
                    let writes = world.record.writes + u8::from(world.backup != Backup::Never);
                    world.put(Record { writes, ..late.new }, self.watches);
                }
            }),
            Action::Returns(who) => self.returns(world, who),
            Action::TokensAge => (world.aged < self.ages).then(|| world.aged += 1),
            Action::TokenEnds => (world.ended < world.aged).then(|| world.ended += 1),
            Action::BackedUp => {
                (world.backup == Backup::Never).then(|| world.backup = Backup::Taken(world.record))
            }
            Action::Fails(failure) => self.fail(world, failure),
        }?;
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = self.promises();
        properties.extend(self.occasions());
        properties
    }
}
