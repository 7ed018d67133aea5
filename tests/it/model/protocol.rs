//! The protocol as a `stateright` model: its bounds, mutations and actions.

use stateright::{Model, Property};

use super::process::{Attention, Step};
use super::world::{Login, OnReuse, Token, World};

/// The participants, the bounds, and the mutation of the protocol, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The number of our processes.
    pub ours: usize,
    /// The number of refreshes that the peer begins; 0 for no peer.
    pub peer_turns: u8,
    /// How often all tokens expire.
    pub ages: u8,
    /// How many failures happen: any [`Failure`], in any order.
    pub failures: u8,
    pub on_reuse: OnReuse,
    pub mutation: Option<Mutation>,
}

/// A wrong rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    NoLease,
    /// A token is spent before an existing rescue is completed.
    SpendsBeforeRescue,
    /// The response is committed without being written to the rescue.
    CommitsBeforeRescue,
    ClearsRescueBeforeCommit,
    NoCommitLocks,
    NoCompareAndSwap,
    /// `reused` poisons at once.
    NoGrace,
    /// After `reused` the process waits until the document changes.
    UnlimitedGrace,
    PoisonsTransient,
    /// A process that was stopped checks its deadline first, and drops the response that is in the socket.
    ChecksDeadlineFirst,
    /// A poisoned process tries again with any other document.
    WakesForAnyDocument,
    IgnoresSpent,
    /// Any stored document replaces the snapshot.
    AdoptsOlder,
    // The following were errors of the protocol that this model found.
    /// Only `spent` identifies an old document.
    TrustsOlder,
    /// A stored document whose fingerprint is in `spent` is sent all the same.
    SendsSpent,
    /// A commit is refused if the stored document is known to be old.
    AbortsForOlder,
    /// The process that completes a rescue does not adopt its token.
    ForgetsCompletedRescue,
    /// A successor that is not needed is revoked although the stored document may descend from it.
    RevokesAncestor,
    /// `spent` has the process's own commits, but not the parents of rescues.
    RecordsOnlyCommits,
    /// A fingerprint that the authority has refused permanently is not added to `spent`.
    ForgetsRefused,
}

/// An action of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One of our processes takes its next step.
    Step(usize),
    /// A waiting process sees a new generation.
    Heed(usize),
    /// The authority responds to one of our processes.
    Answer(usize),
    /// The peer takes its next step.
    Peer,
    ArrivesLate(Token),
    TokensAge,
    BackOffEnds,
    Befalls(Failure),
}

/// A failure, or interference from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Crash(usize),
    Transient(usize),
    AnswerLost(usize),
    TimedOut(usize),
    Stopped(usize),
    CommitFails(usize),
    PeerDies,
    PeerRevokes,
    PeerLogsOut,
    PeerLogsIn(Login),
    Restored(u8),
}

impl Protocol {
    pub fn is(&self, departure: Mutation) -> bool {
        self.mutation == Some(departure)
    }

    pub fn has_peer(&self) -> bool {
        self.peer_turns > 0
    }

    fn fail(&self, world: &mut World, misfortune: Failure) -> Option<()> {
        world.failures -= 1;
        match misfortune {
            Failure::Crash(who) => self.crashes(world, who),
            Failure::Transient(who) => self.fails_transiently(world, who),
            Failure::AnswerLost(who) => self.answer_is_lost(world, who),
            Failure::TimedOut(who) => self.times_out(world, who),
            Failure::Stopped(who) => self.is_stopped(world, who),
            Failure::CommitFails(who) => self.commit_fails(world, who),
            Failure::PeerDies => self.peer_dies(world),
            Failure::PeerRevokes => self.peer_revokes(world),
            Failure::PeerLogsOut => self.peer_logs_out(world),
            Failure::PeerLogsIn(login) => self.peer_logs_in(world, login),
            Failure::Restored(number) => self.is_restored(world, number),
        }
    }

    fn misfortunes(&self, world: &World, actions: &mut Vec<Action>) {
        let mut may = |misfortune| actions.push(Action::Befalls(misfortune));
        for (who, process) in world.ours.iter().enumerate() {
            may(Failure::Crash(who));
            if matches!(process.step, Step::Sent(..)) {
                may(Failure::Transient(who));
                may(Failure::AnswerLost(who));
                may(Failure::TimedOut(who));
                may(Failure::Stopped(who));
            }
            if matches!(process.step, Step::Saved(..) | Step::Locked(..)) {
                may(Failure::CommitFails(who));
            }
        }
        (0..world.document.map_or(0, |stored| stored.number)).for_each(|older| may(Failure::Restored(older)));
        if self.has_peer() {
            may(Failure::PeerDies);
            may(Failure::PeerRevokes);
            may(Failure::PeerLogsOut);
            may(Failure::PeerLogsIn(Login::Again));
            may(Failure::PeerLogsIn(Login::Other));
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.ours, self.peer_turns, self.failures)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // A run ends at a breach.
        if world.breach.is_some() {
            return;
        }
        for (who, process) in world.ours.iter().enumerate() {
            actions.push(match process.step {
                Step::Sent(..) => Action::Answer(who),
                _ => Action::Step(who),
            });
            if process.step == Step::Waiting(Attention::Stirred) {
                actions.push(Action::Heed(who));
            }
        }
        if self.has_peer() {
            actions.push(Action::Peer);
        }
        actions.extend(world.late.iter().map(Action::ArrivesLate));
        actions.extend([Action::TokensAge, Action::BackOffEnds]);
        if world.failures > 0 {
            self.misfortunes(world, actions);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        let world = &mut next;
        match action {
            Action::Step(who) => self.step(world, who),
            Action::Heed(who) => self.on_new_generation(world, who),
            Action::Answer(who) => self.answer(world, who),
            Action::Peer => self.peer_step(world),
            Action::ArrivesLate(token) => self.arrives_late(world, token),
            Action::TokensAge => (world.aged < self.ages).then(|| world.aged += 1),
            Action::BackOffEnds => world.state.backing_off.take().map(drop),
            Action::Befalls(misfortune) => self.fail(world, misfortune),
        }?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = self.promises();
        properties.extend(self.occasions());
        properties
    }
}
