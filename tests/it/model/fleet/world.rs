//! The state of the model: etcd, the hosts, the authority, and what the promises need to remember.

use stateright::Representative;

use super::super::world::{Answer, Exchange, Grant, Login, OnReuse, Standing, Token, Tokens};
use super::record::{Attempt, HostId, Intent, Record};

pub const HOSTS: usize = 3;

/// A member: what is on its disk, and what its process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// On disk: the newest record that it has seen.
    pub copy: Record,
    /// On disk: it is about to send a token.
    pub posting: Option<Posting>,
    /// On disk: a response that is not committed yet.
    pub rescue: Option<Exchange>,
    /// On disk: a new login that is not in the record yet, or whose predecessor is not revoked yet.
    pub login: Option<NewLogin>,
    pub step: Step,
    pub absence: Option<Absence>,
    /// Whether it has waited for the other members since etcd was restored.
    pub settled: bool,
}

/// The journal entries of a token. Found by this model: a second attempt must not replace the entry of the first, which
/// stays announced if the second is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Posting {
    pub spends: Token,
    pub first: bool,
    pub second: bool,
}

impl Posting {
    fn entry(&mut self, intent: Intent) -> &mut bool {
        if intent.attempt.is_second() { &mut self.second } else { &mut self.first }
    }
}

/// The journal entry of a login. The new token is the first one of [`Login::Again`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NewLogin {
    /// The token that the new one replaces.
    pub over: Token,
    pub over_tombstone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Idle,
    /// A reply of etcd was lost.
    Unsure,
    Claimed,
    /// The journal has the intent.
    Armed,
    /// The process was stopped between its last check and the write to the socket.
    Checked,
    Posted,
    Got(Response),
}

/// A response of the authority, in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Response {
    Issued(Token),
    Reused,
    Invalid,
    /// An error that leaves the token as it was, or a page of a captive portal.
    Transient,
}

/// A host that cannot take part for a time, which may be for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Absence {
    /// Stopped, or down.
    Paused,
    /// Without a connection to etcd.
    Partitioned,
}

/// A transaction that arrives after its sender gave up waiting for the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Delayed {
    pub compared: Record,
    pub new: Record,
}

/// A backup of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backup {
    Never,
    Taken(Record),
    Restored,
}

/// A loss that the protocol states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// A pause between the last check and the write outlasts the succession.
    Paused = 1,
    /// The response was lost, or is on a host that stays away, until the access token has ended.
    HolderAway = 2,
    /// Every host that saw a newer record stays away after etcd was restored.
    RestoredWhileAway = 4,
}

/// A forbidden step, which the state alone does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    Posted,
    WentBack,
    SpentFresh,
    WroteAfterLogout,
    RevokedCurrentLogin,
    PoisonedLive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub record: Record,
    /// The owner of the leased key.
    pub leader: Option<HostId>,
    pub delayed: Option<Delayed>,
    pub backup: Backup,
    pub authority: [Grant; 2],
    pub hosts: [Host; HOSTS],
    /// Tokens below this number are stale.
    pub aged: u8,
    /// The access tokens of tokens below this number have ended.
    pub ended: u8,
    pub failures: u8,
    pub user_actions: u8,

    // The following is only for the promises; no participant can see it.
    pub posted: Tokens,
    pub posted_twice: Tokens,
    /// Tokens whose second attempt was recorded.
    pub second_recorded: Tokens,
    /// Tokens that a rekey spends while they are fresh.
    pub forced: Tokens,
    pub exceptions: u8,
    pub reused: bool,
    /// Whether a response was lost before it was saved.
    pub response_lost: bool,
    /// Whether one wrong refusal was sent.
    pub misled: bool,
    pub breach: Option<Breach>,
}

impl World {
    pub fn new(failures: u8, user_actions: u8) -> Self {
        let host = Host {
            copy: Record::FIRST,
            posting: None,
            rescue: None,
            login: None,
            step: Step::Idle,
            absence: None,
            settled: true,
        };
        Self {
            record: Record::FIRST,
            leader: None,
            delayed: None,
            backup: Backup::Never,
            authority: [Grant { newest: 0, standing: Standing::Good }; 2],
            hosts: [host; HOSTS],
            aged: 0,
            ended: 0,
            failures,
            user_actions,
            posted: Tokens::NONE,
            posted_twice: Tokens::NONE,
            second_recorded: Tokens::NONE,
            forced: Tokens::NONE,
            exceptions: 0,
            reused: false,
            response_lost: false,
            misled: false,
            breach: None,
        }
    }

    pub fn host(&mut self, who: usize) -> &mut Host {
        &mut self.hosts[who]
    }

    pub fn is_stale(&self, token: Token) -> bool {
        token.number < self.aged
    }

    pub fn has_ended(&self, token: Token) -> bool {
        token.number < self.ended
    }

    pub fn allow(&mut self, exception: Exception) {
        self.exceptions |= exception as u8;
    }

    pub fn is_allowed(&self, exception: Exception) -> bool {
        self.exceptions & exception as u8 != 0
    }

    pub fn breach(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }

    /// Whether the authority would accept `token`.
    pub fn is_live(&self, token: Token) -> bool {
        let grant = self.authority[token.login as usize];
        grant.standing == Standing::Good && grant.newest == token.number
    }

    /// Sends `token` to the authority.
    pub fn redeem(&mut self, token: Token, on_reuse: OnReuse) -> Answer {
        let grant = &mut self.authority[token.login as usize];
        if grant.standing != Standing::Good {
            return Answer::Invalid;
        }
        if token.number < grant.newest {
            self.reused = true;
            if on_reuse == OnReuse::RevokeFamily {
                grant.standing = Standing::RevokedByOthers;
            }
            return Answer::Reused;
        }
        grant.newest += 1;
        Answer::Issued(Token { number: grant.newest, ..token })
    }

    /// Revokes `token` alone, which is the least that an authority does.
    pub fn revoke(&mut self, token: Token) {
        if self.record.token.login == token.login && !self.record.tombstone {
            self.breach(Breach::RevokedCurrentLogin);
        }
        if self.is_live(token) {
            self.authority[token.login as usize].standing = Standing::RevokedByUs;
        }
    }

    /// Whether the live token of the record's login is on a disk, or in a response that will be saved.
    pub fn is_kept(&self) -> bool {
        let login = self.record.token.login;
        let live = Token { login, number: self.authority[login as usize].newest };
        self.record.token == live
            || self.hosts.iter().any(|host| {
                host.copy.token == live
                    || host.rescue.is_some_and(|rescue| rescue.child == live)
                    || host.step == Step::Got(Response::Issued(live))
            })
    }

    /// Whether no host has anything left to do for the record.
    pub fn is_quiet(&self) -> bool {
        self.delayed.is_none()
            && self.hosts.iter().all(|host| {
                host.absence.is_none()
                    && host.step == Step::Idle
                    && host.rescue.is_none()
                    && host.login.is_none()
                    && host.copy == self.record
            })
    }
}

impl Host {
    /// Whether the journal says that `intent` may have been carried out.
    pub fn may_have_posted(&self, intent: Intent) -> bool {
        self.posting.is_some_and(|posting| {
            let entry = if intent.attempt.is_second() { posting.second } else { posting.first };
            posting.spends == intent.spends && entry
        })
    }

    /// Writes `intent` into the journal.
    pub fn journal(&mut self, intent: Intent) {
        let spends = intent.spends;
        let same = self.posting.filter(|posting| posting.spends == spends);
        let mut posting = same.unwrap_or(Posting { spends, first: false, second: false });
        *posting.entry(intent) = true;
        self.posting = Some(posting);
    }

    /// Removes the entry of `intent`, which was not carried out.
    pub fn strike(&mut self, intent: Intent) {
        if let Some(posting) = &mut self.posting {
            *posting.entry(intent) = false;
        }
        self.posting = self.posting.filter(|posting| posting.first || posting.second);
    }

    pub fn is_running(&self) -> bool {
        self.absence != Some(Absence::Paused)
    }

    pub fn is_connected(&self) -> bool {
        self.absence.is_none()
    }
}

/// The hosts are interchangeable, so states that differ only in their order are one.
impl Representative for World {
    fn representative(&self) -> Self {
        let mut order: [usize; HOSTS] = std::array::from_fn(|who| who);
        let roles = |who: usize| {
            let id = Some(who as HostId);
            (self.leader == id, self.record.intent.map(|intent| intent.host) == id)
        };
        order.sort_by_key(|who| {
            let host = self.hosts[*who];
            (host.step, host.posting, host.rescue, host.login, host.absence, roles(*who), host.copy.order())
        });
        let mut places = [0; HOSTS];
        order.iter().enumerate().for_each(|(place, who)| places[*who] = place as HostId);
        let mut world = *self;
        world.hosts = order.map(|who| self.hosts[who]);
        world.leader = self.leader.map(|leader| places[leader as usize]);
        let mut records = vec![&mut world.record];
        records.extend(world.hosts.iter_mut().map(|host| &mut host.copy));
        if let Some(delayed) = &mut world.delayed {
            records.extend([&mut delayed.compared, &mut delayed.new]);
        }
        if let Backup::Taken(record) = &mut world.backup {
            records.push(record);
        }
        for intent in records.into_iter().filter_map(|record| record.intent.as_mut()) {
            intent.host = places[intent.host as usize];
            if let Attempt::Second { former, .. } = &mut intent.attempt {
                *former = places[*former as usize];
            }
        }
        world
    }
}

/// The logins of this model.
pub const LOGINS: [Login; 2] = [Login::First, Login::Again];
