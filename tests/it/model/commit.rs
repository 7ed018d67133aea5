//! The steps of our process from the commit on, after a response without a token, and after a crash.

use super::process::{Attempt, CommitSource, Outcome, Process, Seen, Step, Stray};
use super::protocol::{Mutation, Protocol};
use super::world::{Answer, Backups, Breach, Exchange, Token, World};

/// What the document, read again under the commit locks, means for an exchange.
enum Verdict {
    /// It still holds the spent token.
    Write,
    AlreadyThere,
    /// It is another login now.
    Refused(Stray),
}

impl World {
    fn publish_seen(&mut self, who: usize, seen: Seen) {
        match seen {
            Seen::LoggedOut => self.end(who, Outcome::LoggedOut),
            Seen::OtherAccount => self.end(who, Outcome::OtherAccount),
            Seen::Changed(token) => {
                self.adopt(who, token);
                self.end(who, Outcome::Token);
            }
            Seen::Same(_) => self.end(who, Outcome::Poisoned),
        }
    }
}

impl Protocol {
    /// Returns whether no process of ours holds the commit locks.
    pub fn commit_locks_free(&self, world: &World) -> bool {
        self.is(Mutation::NoCommitLocks) || !world.ours.iter().any(Process::has_commit_locks)
    }

    pub fn lock_and_read(
        &self,
        world: &mut World,
        who: usize,
        errand: CommitSource,
        exchange: Exchange,
    ) -> Option<()> {
        if !self.commit_locks_free(world) {
            return None;
        }
        let step = match self.judge(world, exchange) {
            Verdict::Write => {
                if self.is(Mutation::ClearsRescueBeforeCommit) {
                    world.rescue = None;
                }
                Step::Locked(errand, exchange)
            }
            Verdict::AlreadyThere => Step::Committed(errand, exchange),
            Verdict::Refused(stray) => Step::Refused(errand, exchange, stray),
        };
        world.go(who, step);
        Some(())
    }

    fn judge(&self, world: &World, exchange: Exchange) -> Verdict {
        if self.is(Mutation::NoCompareAndSwap) {
            return Verdict::Write;
        }
        let Some(stored) = world.document else { return Verdict::Refused(Stray::Revoke) };
        let same_login = stored.login == exchange.child.login;
        if stored == exchange.child {
            Verdict::AlreadyThere
        } else if stored == exchange.parent {
            Verdict::Write
        } else if same_login && self.is_old(world, stored, exchange.parent) {
            // Found by this model: a backup of an older, dead token was restored during the request; ours is live.
            Verdict::Write
        } else if same_login && !self.is(Mutation::RevokesAncestor) {
            // Found by this model: the writer committed the child and died before it removed the rescue; then the peer
            // refreshed. The stored token descends from the child, and revoking the child would revoke it too.
            Verdict::Refused(Stray::Leave)
        } else {
            Verdict::Refused(Stray::Revoke)
        }
    }

    fn is_old(&self, world: &World, stored: Token, parent: Token) -> bool {
        let old = self.is_spent(world, stored) || stored.is_before(parent) && !self.is(Mutation::TrustsOlder);
        old && !self.is(Mutation::AbortsForOlder)
    }

    pub fn write(&self, world: &mut World, who: usize, errand: CommitSource, exchange: Exchange) {
        let child = exchange.child;
        let breach = match world.document {
            None => Some(Breach::WroteAfterLogout),
            Some(old) if !old.login.is_same_account(child.login) => Some(Breach::OverwroteAnotherAccount),
            Some(old) if old.login != child.login => Some(Breach::OverwroteANewerLogin),
            Some(old) if child.is_before(old) || world.state.spent.has(child) => Some(Breach::WentBack),
            Some(_) => None,
        };
        if let Some(breach) = breach {
            world.breach(breach);
        }
        world.document = Some(child);
        world.go(who, Step::Committed(errand, exchange));
    }

    /// After a refused commit the caller gets the stored token, whichever it is.
    pub fn publish_stored(&self, world: &mut World, who: usize) {
        world.publish_seen(who, self.look(world, who));
    }

    /// After `reused` another process has the successor. The grace period of five seconds is a fair wait here: a live
    /// peer commits within it (measured: under half a second), or has dropped its response, or has died.
    pub fn look_after_reused(&self, world: &mut World, who: usize, token: Token) -> Option<()> {
        let same = matches!(self.look(world, who), Seen::Same(_));
        let hopes = world.peer.will_replace(token) && !self.is(Mutation::NoGrace);
        if same && (hopes || self.is(Mutation::UnlimitedGrace)) {
            return None;
        }
        self.look_after_refusal(world, who, token);
        Some(())
    }

    /// Adopts a changed document, else poisons the token. In both cases the token is known to be dead from now on.
    pub fn look_after_refusal(&self, world: &mut World, who: usize, token: Token) {
        let seen = self.look(world, who);
        // Found by this model: the peer's commits are not in `spent`, but a refusal shows that the token is spent.
        if !self.is(Mutation::ForgetsRefused) {
            world.state.spent.add(token);
        }
        if matches!(seen, Seen::Same(_)) {
            world.state.poison = Some(token);
        }
        world.wake_waiters();
        world.publish_seen(who, seen);
    }

    pub fn back_off(&self, world: &mut World, who: usize, token: Token) {
        if self.is(Mutation::PoisonsTransient) {
            return self.look_after_refusal(world, who, token);
        }
        world.state.backing_off = Some(token);
        world.wake_waiters();
        world.end(who, Outcome::BackingOff);
    }

    /// The outcome is unknown: reads the store again, retries once under the same lease, then backs off.
    pub fn look_after_silence(&self, world: &mut World, who: usize, token: Token, attempt: Attempt) {
        match (self.look(world, who), attempt) {
            (Seen::LoggedOut, _) => world.end(who, Outcome::LoggedOut),
            (Seen::OtherAccount, _) => world.end(who, Outcome::OtherAccount),
            (Seen::Changed(token), _) => {
                world.adopt(who, token);
                world.end(who, Outcome::Token);
            }
            (Seen::Same(_), Attempt::First) => self.send(world, who, token, Attempt::Second),
            (Seen::Same(_), Attempt::Second) => self.back_off(world, who, token),
        }
    }

    /// A process that got an outcome continues: its token expires, a back-off ends, or a poisoned one sees a new
    /// document.
    pub fn restart(&self, world: &mut World, who: usize, outcome: Outcome) -> Option<()> {
        let memory = world.ours[who].memory;
        let again = match outcome {
            Outcome::Token => memory.is_some_and(|token| world.is_stale(token)),
            Outcome::BackingOff => world.state.backing_off != memory,
            // Only for a document that it would adopt: a restored older one does not help.
            Outcome::Poisoned => {
                let cure = matches!(self.look(world, who), Seen::Changed(token) if world.state.poison != Some(token));
                cure || self.is(Mutation::WakesForAnyDocument) && world.document != memory
            }
            Outcome::StoreUnavailable => true,
            Outcome::LoggedOut | Outcome::OtherAccount => false,
        };
        if !again {
            return None;
        }
        world.go(who, Step::WAITING);
        Some(())
    }

    /// The commit locks are busy, or the store cannot be written: the rescue stays for the next holder.
    pub fn commit_fails(&self, world: &mut World, who: usize) -> Option<()> {
        match world.ours[who].step {
            Step::Saved(CommitSource::Own, exchange) | Step::Locked(CommitSource::Own, exchange) => {
                world.publish(who, exchange.child);
            }
            Step::Saved(CommitSource::Rescue, _) | Step::Locked(CommitSource::Rescue, _) => {
                world.end(who, Outcome::StoreUnavailable);
            }
            _ => return None,
        }
        Some(())
    }

    /// The authority reports a transient failure.
    pub fn fails_transiently(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(token, _) = world.ours[who].step else { return None };
        world.asked.remove(token);
        world.go(who, Step::Transient(token));
        Some(())
    }

    /// The authority issues a token, and its response is lost.
    pub fn answer_is_lost(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(token, attempt) = world.ours[who].step else { return None };
        world.asked.remove(token);
        let _ = world.redeem(token, self.on_reuse);
        world.mark_losses_excused();
        world.go(who, Step::Unknown(token, attempt));
        Some(())
    }

    /// The sender's request times out; the authority may still issue a token.
    pub fn times_out(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(token, attempt) = world.ours[who].step else { return None };
        world.asked.remove(token);
        world.late.add(token);
        world.go(who, Step::Unknown(token, attempt));
        Some(())
    }

    /// The process is stopped, by a signal or with its machine, until after the deadline of its request. The response
    /// arrives meanwhile.
    pub fn is_stopped(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(parent, attempt) = world.ours[who].step else { return None };
        let Answer::Issued(child) = world.redeem(parent, self.on_reuse) else { return None };
        world.go(who, Step::Stopped(Exchange { parent, child }, attempt));
        Some(())
    }

    /// The process continues, and reads the response before it checks its deadline.
    pub fn resumes(&self, world: &mut World, who: usize, exchange: Exchange, attempt: Attempt) {
        let late = self.is(Mutation::ChecksDeadlineFirst);
        let step = if late { Step::Unknown(exchange.parent, attempt) } else { Step::Answered(exchange) };
        world.go(who, step);
    }

    /// The process is killed. The kernel releases its locks, files stay, and it restarts with empty memory.
    pub fn crashes(&self, world: &mut World, who: usize) -> Option<()> {
        let process = world.ours[who];
        let reborn = Process { memory: None, step: Step::WAITING };
        if process == reborn {
            return None;
        }
        world.ours[who] = reborn;
        let unavoidable = match process.step {
            Step::Sent(token, _) => {
                world.asked.remove(token);
                world.late.add(token);
                false
            }
            // It knew the outcome, and had not recorded it yet.
            Step::Reused(token) | Step::Invalid(token) => {
                world.asked.remove(token);
                false
            }
            Step::Stopped(exchange, _) | Step::Answered(exchange) => {
                world.asked.remove(exchange.parent);
                true
            }
            _ => false,
        };
        // Another program had overwritten a token that only this process still had.
        let alone =
            world.backups == Backups::Restored && process.memory.is_some_and(|own| !world.is_dead(own));
        if unavoidable || alone {
            world.mark_losses_excused();
        }
        Some(())
    }

    /// A request arrives after its sender has died.
    pub fn arrives_late(&self, world: &mut World, token: Token) -> Option<()> {
        world.late.remove(token);
        let _ = world.redeem(token, self.on_reuse);
        world.mark_losses_excused();
        Some(())
    }
}
