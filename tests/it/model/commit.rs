//! A process of ours, continued: the commit, what it does with an answer that brings no token, and how it dies.

use super::ours::{Attempt, Errand, Look, Outcome, Process, Step, Stray};
use super::protocol::{Departure, Protocol};
use super::world::{Answer, Backups, Breach, Exchange, Token, World};

/// What a document that was read again under the commit locks means for an exchange.
enum Verdict {
    /// It still descends from what was spent.
    Write,
    AlreadyThere,
    /// It is somebody else's now.
    Refused(Stray),
}

impl Protocol {
    /// Do the commit locks keep nobody out?
    pub fn commit_locks_free(&self, world: &World) -> bool {
        self.departs(Departure::NoCommitLocks) || !world.ours.iter().any(Process::has_commit_locks)
    }

    pub fn lock_and_read(
        &self,
        world: &mut World,
        who: usize,
        errand: Errand,
        exchange: Exchange,
    ) -> Option<()> {
        if !self.commit_locks_free(world) {
            return None;
        }
        let step = match self.judge(world, exchange) {
            Verdict::Write => {
                if self.departs(Departure::ClearsRescueBeforeCommit) {
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
        if self.departs(Departure::NoCompareAndSwap) {
            return Verdict::Write;
        }
        let Some(stored) = world.document else { return Verdict::Refused(Stray::Revoke) };
        let same_login = stored.login == exchange.child.login;
        if stored == exchange.child {
            Verdict::AlreadyThere
        } else if stored == exchange.parent {
            Verdict::Write
        } else if same_login && self.is_old(world, stored, exchange.parent) {
            // Found by this model: a backup of an older token was put back while we asked. It is dead, ours lives.
            Verdict::Write
        } else if same_login && !self.departs(Departure::RevokesItsDescendant) {
            // Found by this model: the child was committed and its writer died before it could clear the rescue; then
            // the peer refreshed. What is stored descends from the child, and revoking the child would end it too.
            Verdict::Refused(Stray::Leave)
        } else {
            Verdict::Refused(Stray::Revoke)
        }
    }

    fn is_old(&self, world: &World, stored: Token, parent: Token) -> bool {
        let old =
            self.is_spent(world, stored) || stored.is_before(parent) && !self.departs(Departure::TrustsOlder);
        old && !self.departs(Departure::YieldsToOlder)
    }

    pub fn write(&self, world: &mut World, who: usize, errand: Errand, exchange: Exchange) {
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

    /// After a refused commit: whatever is stored now is what the caller gets.
    pub fn publish_stored(&self, world: &mut World, who: usize) {
        match self.look(world, who) {
            Look::LoggedOut => world.end(who, Outcome::LoggedOut),
            Look::OtherAccount => world.end(who, Outcome::OtherAccount),
            Look::Moved(token) => {
                world.adopt(who, token);
                world.end(who, Outcome::Token);
            }
            Look::Same(_) => world.end(who, Outcome::Poisoned),
        }
    }

    /// `reused`: somebody has the successor. The grace of five seconds is a fair wait here: a living peer commits
    /// within it (measured: under half a second), or has dropped its answer, or has died.
    pub fn look_after_reused(&self, world: &mut World, who: usize, token: Token) -> Option<()> {
        let same = matches!(self.look(world, who), Look::Same(_));
        let hopes = world.peer.will_replace(token) && !self.departs(Departure::NoGrace);
        if same && (hopes || self.departs(Departure::GraceWithoutEnd)) {
            return None;
        }
        self.look_after_refusal(world, who, token);
        Some(())
    }

    /// Moved: adopt. Else: poison. Either way the token is known to be dead from now on.
    pub fn look_after_refusal(&self, world: &mut World, who: usize, token: Token) {
        let look = self.look(world, who);
        // Found by this model: the peer's commits leave no trace in `spent`, but its victims know that they lost.
        if !self.departs(Departure::ForgetsRefused) {
            world.state.spent.add(token);
        }
        if matches!(look, Look::Same(_)) {
            world.state.poison = Some(token);
        }
        world.stir();
        match look {
            Look::LoggedOut => world.end(who, Outcome::LoggedOut),
            Look::OtherAccount => world.end(who, Outcome::OtherAccount),
            Look::Moved(token) => {
                world.adopt(who, token);
                world.end(who, Outcome::Token);
            }
            Look::Same(_) => world.end(who, Outcome::Poisoned),
        }
    }

    pub fn back_off(&self, world: &mut World, who: usize, token: Token) {
        if self.departs(Departure::PoisonsTransient) {
            return self.look_after_refusal(world, who, token);
        }
        world.state.backing_off = Some(token);
        world.stir();
        world.end(who, Outcome::BackingOff);
    }

    /// The outcome is unknown: look again; one retry in the same lease; then back off.
    pub fn look_after_silence(&self, world: &mut World, who: usize, token: Token, attempt: Attempt) {
        match (self.look(world, who), attempt) {
            (Look::LoggedOut, _) => world.end(who, Outcome::LoggedOut),
            (Look::OtherAccount, _) => world.end(who, Outcome::OtherAccount),
            (Look::Moved(token), _) => {
                world.adopt(who, token);
                world.end(who, Outcome::Token);
            }
            (Look::Same(_), Attempt::First) => self.send(world, who, token, Attempt::Second),
            (Look::Same(_), Attempt::Second) => self.back_off(world, who, token),
        }
    }

    /// Ended processes live on: their token grows stale, a back-off ends, a poisoned one sees another document.
    pub fn begin_again(&self, world: &mut World, who: usize, outcome: Outcome) -> Option<()> {
        let memory = world.ours[who].memory;
        let again = match outcome {
            Outcome::Token => memory.is_some_and(|token| world.is_stale(token)),
            Outcome::BackingOff => world.state.backing_off != memory,
            // Only for what it would adopt: an older document that comes back heals nothing.
            Outcome::Poisoned => {
                let cure =
                    matches!(self.look(world, who), Look::Moved(token) if world.state.poison != Some(token));
                cure || self.departs(Departure::WakesForAnyDocument) && world.document != memory
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

    /// The commit locks cannot be had in time, or the store cannot be written: the rescue stays for the next holder.
    pub fn commit_fails(&self, world: &mut World, who: usize) -> Option<()> {
        match world.ours[who].step {
            Step::Saved(Errand::Own, exchange) | Step::Locked(Errand::Own, exchange) => {
                world.publish(who, exchange.child);
            }
            Step::Saved(Errand::Rescue, _) | Step::Locked(Errand::Rescue, _) => {
                world.end(who, Outcome::StoreUnavailable);
            }
            _ => return None,
        }
        Some(())
    }

    /// The authority could not do it and says so.
    pub fn fails_transiently(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(token, _) = world.ours[who].step else { return None };
        world.asked.remove(token);
        world.go(who, Step::Transient(token));
        Some(())
    }

    /// The authority does it, and its answer never arrives.
    pub fn answer_is_lost(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(token, attempt) = world.ours[who].step else { return None };
        world.asked.remove(token);
        let _ = world.redeem(token, self.on_reuse);
        world.excuse_losses();
        world.go(who, Step::Unknown(token, attempt));
        Some(())
    }

    /// The sender gives up waiting; the authority may still do it.
    pub fn times_out(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(token, attempt) = world.ours[who].step else { return None };
        world.asked.remove(token);
        world.late.add(token);
        world.go(who, Step::Unknown(token, attempt));
        Some(())
    }

    /// Stopped, by a signal or with its container or machine, until after the deadline of its request. The answer
    /// arrives meanwhile.
    pub fn is_stopped(&self, world: &mut World, who: usize) -> Option<()> {
        let Step::Sent(parent, attempt) = world.ours[who].step else { return None };
        let Answer::Issued(child) = world.redeem(parent, self.on_reuse) else { return None };
        world.go(who, Step::Stopped(Exchange { parent, child }, attempt));
        Some(())
    }

    /// Continued: the answer is looked at before the clock.
    pub fn goes_on(&self, world: &mut World, who: usize, exchange: Exchange, attempt: Attempt) {
        let late = self.departs(Departure::LooksAtTheClockFirst);
        let step = if late { Step::Unknown(exchange.parent, attempt) } else { Step::Answered(exchange) };
        world.go(who, step);
    }

    /// Killed. The kernel releases its locks, files stay, and it starts anew with an empty memory.
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
            // It knew what became of the token, and had told nobody yet.
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
        // A foreign program had overwritten what this process still knew.
        let alone =
            world.backups == Backups::Restored && process.memory.is_some_and(|own| !world.is_dead(own));
        if unavoidable || alone {
            world.excuse_losses();
        }
        Some(())
    }

    /// A request arrives after its sender has gone.
    pub fn arrives_late(&self, world: &mut World, token: Token) -> Option<()> {
        world.late.remove(token);
        let _ = world.redeem(token, self.on_reuse);
        world.excuse_losses();
        Some(())
    }
}
