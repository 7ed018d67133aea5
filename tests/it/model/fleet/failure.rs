//! What may go wrong.

use super::protocol::{Action, Faults, Protocol};
use super::world::{Absence, Backup, Response, Step, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The process is killed and starts again. A request that it had sent is carried out, or not.
    Crash {
        who: usize,
        processed: bool,
    },
    /// As `Crash`, and the host stays away.
    Down {
        who: usize,
        processed: bool,
    },
    /// Stopped; if `after_check`, between the last check and the write to the socket.
    Pause {
        who: usize,
        after_check: bool,
    },
    Partition(usize),
    Transient(usize),
    /// The authority calls a live token invalid.
    Misled(usize),
    AnswerLost {
        who: usize,
        processed: bool,
    },
    Restored,
}

impl Protocol {
    /// The process of `who` ends. A request in flight is carried out if `processed`.
    fn crash(&self, world: &mut World, who: usize, processed: bool) -> Option<()> {
        let host = world.hosts[who];
        let is_sent = host.step == Step::Posted;
        if is_sent != processed && processed || host.step == Step::Idle && host.absence.is_some() {
            return None;
        }
        if is_sent && processed {
            world.redeem(self.spends(world, who)?, self.on_reuse);
        }
        let is_answered = matches!(host.step, Step::Got(Response::Issued(_)));
        world.response_lost |= is_answered || is_sent && processed;
        world.host(who).step = Step::Idle;
        Some(())
    }

    pub fn failures_of(&self, who: usize, actions: &mut Vec<Action>) {
        for is in [false, true] {
            actions.push(Action::Fails(Failure::AnswerLost { who, processed: is }));
            if self.faults == Faults::All {
                let crash = Failure::Crash { who, processed: is };
                let down = Failure::Down { who, processed: is };
                actions.extend([crash, down, Failure::Pause { who, after_check: is }].map(Action::Fails));
            }
        }
        actions.extend([Failure::Transient(who), Failure::Misled(who)].map(Action::Fails));
        if self.faults == Faults::All {
            actions.push(Action::Fails(Failure::Partition(who)));
        }
    }

    pub fn fail(&self, world: &mut World, failure: Failure) -> Option<()> {
        world.failures -= 1;
        match failure {
            Failure::Crash { who, processed } => {
                (world.hosts[who].step != Step::Idle).then_some(())?;
                self.crash(world, who, processed)
            }
            Failure::Down { who, processed } => {
                self.crash(world, who, processed)?;
                world.host(who).absence = Some(Absence::Paused);
                Some(())
            }
            Failure::Pause { who, after_check } => {
                let host = world.host(who);
                if host.step == Step::Idle
                    || host.absence.is_some()
                    || after_check && host.step != Step::Armed
                {
                    return None;
                }
                if after_check {
                    host.step = Step::Checked;
                    (world.leader == Some(who as u8)).then_some(())?;
                }
                world.host(who).absence = Some(Absence::Paused);
                Some(())
            }
            Failure::Partition(who) => {
                let host = world.host(who);
                host.absence.is_none().then_some(())?;
                host.absence = Some(Absence::Partitioned);
                Some(())
            }
            Failure::Transient(who) => {
                let token = self.spends(world, who)?;
                // A request that spent nothing does not count.
                let count =
                    if world.posted_twice.has(token) { &mut world.posted_twice } else { &mut world.posted };
                count.remove(token);
                world.host(who).step = Step::Got(Response::Transient);
                Some(())
            }
            Failure::Misled(who) => {
                self.spends(world, who)?;
                (!world.misled).then_some(())?;
                world.misled = true;
                world.host(who).step = Step::Got(Response::Invalid);
                Some(())
            }
            Failure::AnswerLost { who, processed } => {
                (world.hosts[who].step == Step::Posted).then_some(())?;
                self.crash(world, who, processed)
            }
            Failure::Restored => {
                let Backup::Taken(record) = world.backup else { return None };
                (record != world.record).then_some(())?;
                world.record = record;
                world.backup = Backup::Restored;
                world.leader = None;
                world.hosts.iter_mut().for_each(|host| host.settled = false);
                Some(())
            }
        }
    }
}
