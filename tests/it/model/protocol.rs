//! The protocol as `stateright` sees it: its bounds, the ways to get it wrong, and what can happen next.

use stateright::{Model, Property};

use super::ours::{Attention, Step};
use super::world::{Login, OnReuse, Token, World};

/// Who takes part, how much may happen, and how the protocol departs from ours, if it does.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Processes of ours.
    pub ours: usize,
    /// Refreshes that the peer begins; without any there is no peer.
    pub peer_turns: u8,
    /// How often all tokens grow stale again.
    pub ages: u8,
    /// How many things go wrong: any of [`Misfortune`], in any order.
    pub misfortunes: u8,
    pub on_reuse: OnReuse,
    pub departure: Option<Departure>,
}

/// A protocol that is wrong in one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    NoLease,
    /// A rescue is there, and the token is spent before it is finished.
    SpendsBeforeRescue,
    /// The answer is committed without having been written to the rescue.
    CommitsBeforeRescue,
    ClearsRescueBeforeCommit,
    NoCommitLocks,
    NoCompareAndSwap,
    /// `reused` poisons at once.
    NoGrace,
    /// `reused` is waited out until the document moves.
    GraceWithoutEnd,
    PoisonsTransient,
    /// A process that was stopped finds its deadline over, and drops the answer that is in the socket.
    LooksAtTheClockFirst,
    /// A poisoned process takes any other document for a cure.
    WakesForAnyDocument,
    IgnoresSpent,
    /// Any stored document wins over the snapshot.
    AdoptsOlder,
    // What follows was open before this model was checked.
    /// Only `spent` tells that a stored document is an old one.
    TrustsOlder,
    /// A stored document whose fingerprint is in `spent` is sent all the same.
    SendsSpent,
    /// A stored document that is known to be old refuses a commit.
    YieldsToOlder,
    /// Who finishes a rescue learns nothing from it.
    FinisherForgets,
    /// A successor that is not needed is revoked although the stored document may descend from it.
    RevokesItsDescendant,
    /// `spent` has what the process itself committed, and not what a rescue tells.
    RecordsOnlyCommits,
    /// A fingerprint that the authority has refused for good is not remembered in `spent`.
    ForgetsRefused,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One of ours takes its next step.
    Step(usize),
    /// A waiting one sees a new generation.
    Heed(usize),
    /// The authority answers one of ours.
    Answer(usize),
    /// The peer takes its next step.
    Peer,
    ArrivesLate(Token),
    TokensAge,
    BackOffEnds,
    Befalls(Misfortune),
}

/// What goes wrong, or at least across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfortune {
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
    pub fn departs(&self, departure: Departure) -> bool {
        self.departure == Some(departure)
    }

    pub fn has_peer(&self) -> bool {
        self.peer_turns > 0
    }

    fn befall(&self, world: &mut World, misfortune: Misfortune) -> Option<()> {
        world.misfortunes -= 1;
        match misfortune {
            Misfortune::Crash(who) => self.crashes(world, who),
            Misfortune::Transient(who) => self.fails_transiently(world, who),
            Misfortune::AnswerLost(who) => self.answer_is_lost(world, who),
            Misfortune::TimedOut(who) => self.times_out(world, who),
            Misfortune::Stopped(who) => self.is_stopped(world, who),
            Misfortune::CommitFails(who) => self.commit_fails(world, who),
            Misfortune::PeerDies => self.peer_dies(world),
            Misfortune::PeerRevokes => self.peer_revokes(world),
            Misfortune::PeerLogsOut => self.peer_logs_out(world),
            Misfortune::PeerLogsIn(login) => self.peer_logs_in(world, login),
            Misfortune::Restored(number) => self.is_restored(world, number),
        }
    }

    fn misfortunes(&self, world: &World, actions: &mut Vec<Action>) {
        let mut may = |misfortune| actions.push(Action::Befalls(misfortune));
        for (who, process) in world.ours.iter().enumerate() {
            may(Misfortune::Crash(who));
            if matches!(process.step, Step::Sent(..)) {
                may(Misfortune::Transient(who));
                may(Misfortune::AnswerLost(who));
                may(Misfortune::TimedOut(who));
                may(Misfortune::Stopped(who));
            }
            if matches!(process.step, Step::Saved(..) | Step::Locked(..)) {
                may(Misfortune::CommitFails(who));
            }
        }
        (0..world.document.map_or(0, |stored| stored.number))
            .for_each(|older| may(Misfortune::Restored(older)));
        if self.has_peer() {
            may(Misfortune::PeerDies);
            may(Misfortune::PeerRevokes);
            may(Misfortune::PeerLogsOut);
            may(Misfortune::PeerLogsIn(Login::Again));
            may(Misfortune::PeerLogsIn(Login::Other));
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.ours, self.peer_turns, self.misfortunes)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // After a breach there is nothing more to learn.
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
        if world.misfortunes > 0 {
            self.misfortunes(world, actions);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        let world = &mut next;
        match action {
            Action::Step(who) => self.step(world, who),
            Action::Heed(who) => self.heed(world, who),
            Action::Answer(who) => self.answer(world, who),
            Action::Peer => self.peer_step(world),
            Action::ArrivesLate(token) => self.arrives_late(world, token),
            Action::TokensAge => (world.aged < self.ages).then(|| world.aged += 1),
            Action::BackOffEnds => world.state.backing_off.take().map(drop),
            Action::Befalls(misfortune) => self.befall(world, misfortune),
        }?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = self.promises();
        properties.extend(self.occasions());
        properties
    }
}
