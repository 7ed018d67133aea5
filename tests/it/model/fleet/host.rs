//! The steps of a host.

use super::super::world::{Exchange, Login};
use super::protocol::{Delivery, Move, Mutation, Protocol};
use super::record::{Attempt, HostId, Intent, Poison, Record};
use super::world::{Absence, Backup, Breach, Delayed, Exception, Host, Response, Step, World};

/// The most writes after a backup: a host may announce and withdraw for ever.
const MAX_WRITES: u8 = 6;

/// Whether a transaction took effect, as far as its sender knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    Done,
    Lost,
}

impl Protocol {
    pub fn step(&self, world: &mut World, who: usize, step: Move, delivery: Delivery) -> Option<()> {
        let host = world.hosts[who];
        let is_local = matches!(
            step,
            Move::Arm
                | Move::Post
                | Move::Keep
                | Move::Discard
                | Move::Revoke
                | Move::FinishLogin
                | Move::LogIn
        );
        match host.absence {
            Some(Absence::Paused) => return None,
            Some(Absence::Partitioned) if !is_local => return None,
            _ => {}
        }
        if delivery != Delivery::Acknowledged {
            world.failures -= 1;
        }
        match step {
            Move::Look => self.look(world, who),
            Move::Settle => self.settle(world, who),
            Move::Arm => self.arm(world, who),
            Move::Post => self.post(world, who),
            Move::Keep => self.keep(world, who),
            Move::ClearRescue => self.clear_rescue(world, who),
            Move::Discard => self.discard(world, who),
            Move::LogIn => self.log_in(world, who),
            Move::FinishLogin => self.finish_login(world, who),
            Move::Revoke => self.revoke(world, who),
            _ => self.write(world, who, step, delivery),
        }
    }

    /// The steps that write to etcd.
    fn write(&self, world: &mut World, who: usize, step: Move, delivery: Delivery) -> Option<()> {
        let host = world.hosts[who];
        // Found by this model: any write hides that a record is older than what another member has seen.
        (host.settled || self.is(Mutation::IgnoresRestore)).then_some(())?;
        let new = match step {
            Move::Claim => self.claim(world, who)?,
            Move::Rekey => self.rekey(world, who)?,
            Move::Commit => self.commit(world, who)?,
            Move::Report => self.report(world, who)?,
            Move::Withdraw => self.withdraw(world, who)?,
            Move::Succeed => self.succeed(world, who)?,
            Move::MarkLost => self.mark_lost(world, who)?,
            Move::Present => self.present(world, who)?,
            Move::PutLogin => self.put_login(world, who)?,
            Move::LogOut => self.log_out(world, who)?,
            _ => return None,
        };
        let reply = self.transact(world, who, new, delivery)?;
        let is_claim = matches!(step, Move::Claim | Move::Rekey | Move::Succeed | Move::Present);
        let now = world.host(who);
        match (step, reply) {
            (_, Reply::Done) if is_claim => now.step = Step::Claimed,
            (_, Reply::Lost) if is_claim && self.is(Mutation::TrustsLostReply) => {
                now.copy = new;
                now.step = Step::Claimed;
            }
            (_, Reply::Lost) if is_claim => now.step = Step::Unsure,
            (Move::Commit, Reply::Lost) if self.is(Mutation::DropsRescueUnread) => now.rescue = None,
            (Move::Commit, _) if self.is(Mutation::CommitsWithoutKeeping) => now.step = Step::Idle,
            // The rescue of a response that was presented in vain is of no use.
            (Move::Report, Reply::Done) => {
                now.step = Step::Idle;
                now.rescue = now
                    .rescue
                    .filter(|rescue| host.copy.intent.map(|intent| intent.spends) != Some(rescue.child));
            }
            _ => {}
        }
        Some(())
    }

    /// Writes `new` if the record is what `who` has seen.
    fn transact(&self, world: &mut World, who: usize, new: Record, delivery: Delivery) -> Option<Reply> {
        let compared = world.hosts[who].copy;
        let is_counted = world.backup != Backup::Never;
        let new = Record { writes: new.writes + u8::from(is_counted), ..new };
        (new.writes <= MAX_WRITES).then_some(())?;
        if delivery == Delivery::Delayed {
            // Values are unique: what is not the record now never is.
            (world.delayed.is_none() && world.record == compared).then_some(())?;
            world.delayed = Some(Delayed { compared, new });
            return Some(Reply::Lost);
        }
        // A transaction that is refused has no effect, whether its sender learns of it or not.
        (world.record == compared || self.is(Mutation::ComparesNothing)).then_some(())?;
        world.put(new, self.watches);
        if delivery == Delivery::ReplyLost {
            return Some(Reply::Lost);
        }
        self.adopt(world, who);
        Some(Reply::Done)
    }

    /// Saves the record as the newest one.
    fn adopt(&self, world: &mut World, who: usize) {
        let record = world.record;
        let host = world.host(who);
        if record.version() < host.copy.version() {
            world.breach(Breach::WentBack);
        }
        world.host(who).copy = record;
    }

    fn look(&self, world: &mut World, who: usize) -> Option<()> {
        let (record, copy) = (world.record, world.hosts[who].copy);
        let announced = copy.intent_of(who as HostId);
        if copy.order() > record.order() && !self.is(Mutation::AdoptsOlder) {
            (!self.is(Mutation::IgnoresRestore)).then_some(())?;
            world.put(copy, self.watches);
            world.host(who).settled = false;
            return Some(());
        }
        self.adopt(world, who);
        let mine = record.intent_of(who as HostId);
        let host = world.host(who);
        match host.step {
            // An intent that the journal has is an earlier one.
            Step::Unsure if mine.is_some_and(|intent| !host.may_have_posted(intent)) => {
                host.step = Step::Claimed;
            }
            Step::Unsure => host.step = Step::Idle,
            Step::Claimed | Step::Armed if mine.is_none() => {
                host.step = Step::Idle;
                announced.into_iter().for_each(|intent| host.strike(intent));
            }
            _ => {}
        }
        Some(())
    }

    /// Ends the wait for the other members after a restore: those that are there have put back what they have.
    fn settle(&self, world: &mut World, who: usize) -> Option<()> {
        let order = world.record.order();
        let newer = |host: &Host| host.copy.order() > order;
        let host = world.hosts[who];
        if host.settled || host.copy != world.record {
            return None;
        }
        if world.hosts.iter().any(|host| host.is_connected() && (newer(host) || host.step != Step::Idle)) {
            return None;
        }
        let knows_more = |host: &Host| newer(host) || host.rescue.is_some() || host.posting.is_some();
        if world.hosts.iter().any(|host| !host.is_connected() && knows_more(host)) {
            world.allow(Exception::RestoredWhileAway);
        }
        world.host(who).settled = true;
        Some(())
    }

    /// Whether `who` has the leased key, or gets it.
    fn leads(&self, world: &mut World, who: usize) -> bool {
        *world.leader.get_or_insert(who as HostId) == who as HostId
    }

    pub fn may_spend(&self, world: &mut World, who: usize) -> Option<Record> {
        let host = world.hosts[who];
        let is_free = host.step == Step::Idle && host.login.is_none();
        (is_free && self.leads(world, who)).then_some(host.copy)
    }

    fn claim(&self, world: &mut World, who: usize) -> Option<Record> {
        let copy = self.may_spend(world, who)?;
        let is_asked = world.is_stale(copy.token) || self.is(Mutation::IgnoresAsker) && world.aged > 0;
        (copy.is_claimable() && is_asked && world.hosts[who].rescue.is_none())
            .then(|| copy.claimed(who as HostId))
    }

    fn arm(&self, world: &mut World, who: usize) -> Option<()> {
        let host = world.host(who);
        let intent = host.copy.intent_of(who as HostId).filter(|_| host.step == Step::Claimed)?;
        host.step = Step::Armed;
        if !self.is(Mutation::PostsWithoutJournal) {
            host.journal(intent);
        }
        Some(())
    }

    /// The last check, by the host's own clock, and the request. A host that was stopped after the check sends it.
    fn post(&self, world: &mut World, who: usize) -> Option<()> {
        let host = world.hosts[who];
        let intent = host.copy.intent_of(who as HostId)?;
        match host.step {
            Step::Armed if world.leader == Some(who as HostId) || self.is(Mutation::SkipsLastCheck) => {}
            Step::Armed => {
                world.host(who).step = Step::Idle;
                world.host(who).strike(intent);
                return Some(());
            }
            Step::Checked => {
                // A successor's transaction may be on its way.
                if world.leader != Some(who as HostId) || world.record.intent != Some(intent) {
                    world.allow(Exception::Paused);
                }
            }
            _ => return None,
        }
        if !world.is_stale(intent.spends) && !world.forced.has(intent.spends) && host.copy.poison.is_none() {
            world.breach(Breach::SpentFresh);
        }
        world.count_post(intent.spends);
        world.host(who).step = Step::Posted;
        Some(())
    }

    /// Saves a response, or the knowledge that nothing was spent.
    fn keep(&self, world: &mut World, who: usize) -> Option<()> {
        let host = world.host(who);
        match host.step {
            Step::Got(Response::Issued(child)) if !self.is(Mutation::CommitsWithoutKeeping) => {
                let parent = host.copy.intent.map_or(host.copy.token, |intent| intent.spends);
                let parent = host.posting.map_or(parent, |posting| posting.spends);
                host.rescue = Some(Exchange { parent, child });
            }
            // Provably unspent: the rest is a withdrawal.
            Step::Got(Response::Transient) if !self.is(Mutation::PoisonsTransient) => {
                match host.copy.intent_of(who as HostId) {
                    Some(intent) => host.strike(intent),
                    None => host.posting = None,
                }
            }
            _ => return None,
        }
        host.step = Step::Idle;
        Some(())
    }

    fn commit(&self, world: &mut World, who: usize) -> Option<Record> {
        let host = world.hosts[who];
        let intent = host.copy.intent_of(who as HostId)?;
        let exchange = match host.step {
            Step::Idle => host.rescue?,
            Step::Got(Response::Issued(child)) if self.is(Mutation::CommitsWithoutKeeping) => {
                Exchange { parent: intent.spends, child }
            }
            _ => return None,
        };
        (exchange.parent == intent.spends).then(|| host.copy.committed(exchange))
    }

    fn clear_rescue(&self, world: &mut World, who: usize) -> Option<()> {
        let child = world.hosts[who].rescue?.child;
        (world.record.token == child || world.record.spent.has(child)).then_some(())?;
        let host = world.host(who);
        host.rescue = None;
        host.posting = None;
        Some(())
    }

    /// Records a refusal.
    fn report(&self, world: &mut World, who: usize) -> Option<Record> {
        let host = world.hosts[who];
        let Step::Got(response) = host.step else { return None };
        let intent = host.copy.intent_of(who as HostId)?;
        let is_presented = intent.spends != host.copy.token;
        Some(match (response, intent.attempt) {
            // Found by this model: a report whose reply was lost is not repeated.
            (Response::Issued(_), _) | (_, Attempt::Refused) => return None,
            (Response::Transient, _) if !self.is(Mutation::PoisonsTransient) => return None,
            _ if is_presented => host.copy.withdrawn(),
            (Response::Invalid, Attempt::First) if !self.is(Mutation::PoisonsUnconfirmed) => {
                host.copy.refused()
            }
            // Found by this model: no member may confirm this refusal, because the token has been sent twice.
            (Response::Invalid, Attempt::Second { refused: false, .. }) => host.copy.poisoned(Poison::Lost),
            _ => host.copy.poisoned(Poison::Refused),
        })
    }

    fn withdraw(&self, world: &mut World, who: usize) -> Option<Record> {
        let host = world.hosts[who];
        let intent = host.copy.intent_of(who as HostId)?;
        let saved = host.rescue.is_some_and(|rescue| rescue.parent == intent.spends);
        let is_unposted = host.step == Step::Idle && !saved && !host.may_have_posted(intent);
        (is_unposted && intent.attempt != Attempt::Refused).then_some(())?;
        let both = self.is(Mutation::WithdrawsBothAttempts);
        Some(if both { Record { intent: None, ..host.copy } } else { host.copy.withdrawn() })
    }

    /// Whether the wait for the holder of `intent` has passed: a host that runs and is connected has finished by then.
    fn has_waited(&self, world: &World, intent: Intent) -> bool {
        let holder = world.hosts[intent.host as usize];
        let lease_ended = world.leader != Some(intent.host);
        let has_rescue = holder.rescue.is_some_and(|rescue| rescue.parent == intent.spends);
        // The authority carries out a request within the deadline and the margin, or never.
        holder.absence.is_some() && holder.step != Step::Posted
            || match holder.step {
                Step::Idle => holder.may_have_posted(intent) && !has_rescue,
                Step::Claimed | Step::Armed => lease_ended,
                _ => false,
            }
    }

    fn succeed(&self, world: &mut World, who: usize) -> Option<Record> {
        let copy = self.may_spend(world, who)?;
        let intent = copy.intent.filter(|intent| intent.spends == copy.token)?;
        world.hosts[who].rescue.is_none().then_some(())?;
        let token = copy.token;
        let is_due = world.has_ended(token) || self.is(Mutation::SucceedsWhileTokenLives);
        let may = match intent.attempt {
            Attempt::First => is_due && (self.has_waited(world, intent) || self.is(Mutation::SucceedsAtOnce)),
            Attempt::Refused => intent.host != who as HostId,
            Attempt::Second { .. } => self.is(Mutation::RetriesLost) && self.has_waited(world, intent),
        };
        may.then_some(())?;
        self.note_lost_response(world, intent);
        Some(if self.is(Mutation::SucceedsUnrecorded) {
            copy.claimed(who as HostId)
        } else {
            copy.succeeded(who as HostId)
        })
    }

    /// The response to `intent` was lost, or is on a host that has stayed away until the access token has ended.
    fn note_lost_response(&self, world: &mut World, intent: Intent) {
        let is_spent = !world.is_live(intent.spends);
        let is_over = world.has_ended(intent.spends) || intent.spends != world.record.token;
        if is_spent && is_over && self.has_waited(world, intent) {
            world.allow(Exception::HolderAway);
        }
    }

    fn mark_lost(&self, world: &mut World, who: usize) -> Option<Record> {
        let copy = self.may_spend(world, who)?;
        let intent = copy.intent?;
        let is_last = intent.attempt.is_second() || intent.spends != copy.token;
        let may = is_last && self.has_waited(world, intent) && !self.is(Mutation::RetriesLost);
        may.then_some(())?;
        self.note_lost_response(world, intent);
        Some(copy.poisoned(Poison::Lost))
    }

    fn present(&self, world: &mut World, who: usize) -> Option<Record> {
        let copy = self.may_spend(world, who)?;
        let host = world.hosts[who];
        let rescue = host.rescue.filter(|rescue| rescue.parent == copy.token)?;
        let was_posted = host.posting.is_some_and(|posting| posting.spends == rescue.child);
        let may = copy.poison.is_some() && copy.intent.is_none() && !copy.tombstone;
        (may && (!was_posted || self.is(Mutation::PresentsTwice)))
            .then(|| copy.presented(who as HostId, rescue.child))
    }

    /// Revokes a response whose login has ended.
    fn discard(&self, world: &mut World, who: usize) -> Option<()> {
        let host = world.hosts[who];
        let has_ended = |login: Login| host.copy.tombstone || host.copy.token.login != login;
        if host.step == Step::Idle
            && let Some(rescue) = host.rescue
        {
            // Found by this model: a child that was presented in vain stays, because it may be the live token.
            has_ended(rescue.child.login).then_some(())?;
            if !self.is(Mutation::LeavesSuccessor) {
                world.revoke(rescue.child);
            }
            world.host(who).rescue = None;
            world.host(who).posting = None;
            return Some(());
        }
        // A refusal that is recorded, or of a login that has ended, says nothing.
        let intent = host.copy.intent_of(who as HostId);
        let is_moot = intent.is_none_or(|intent| intent.attempt == Attempt::Refused);
        match host.step {
            Step::Got(Response::Reused | Response::Invalid) if is_moot => {
                let host = world.host(who);
                host.step = Step::Idle;
                // Found by this model: the journal keeps the entry, because the first attempt may be announced again.
                let posted = host.posting.map(|posting| posting.spends);
                host.rescue = host.rescue.filter(|rescue| Some(rescue.child) != posted);
                Some(())
            }
            _ => None,
        }
    }
}
