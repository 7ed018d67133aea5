//! The state of the model: tokens, files, the authority, and what the properties need to remember.

use stateright::Representative;

use super::peer::Peer;
use super::process::{Process, Step};

/// The most tokens of one login under the bounds of the tests.
const MAX_TOKENS: u8 = 8;

/// A login, which the authority calls a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Login {
    /// The first login.
    First,
    /// A later login with the same account.
    Again,
    /// A login with another account.
    Other,
}

impl Login {
    pub const ALL: [Self; 3] = [Self::First, Self::Again, Self::Other];

    pub fn is_same_account(self, other: Self) -> bool {
        (self == Self::Other) == (other == Self::Other)
    }
}

/// A refresh token, which stands for the whole document. Numbers are assigned in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    pub login: Login,
    pub number: u8,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}{}", self.login, self.number)
    }
}

impl Token {
    /// Returns whether it is known to be an earlier token of the same login: `login_owner_id` names the login, and the
    /// `iat` of the access token is by the authority's clock.
    pub fn is_before(self, other: Self) -> bool {
        self.login == other.login && self.number < other.number
    }
}

/// A set of tokens.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tokens(u32);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

impl Tokens {
    pub const NONE: Self = Self(0);

    fn bit(token: Token) -> u32 {
        assert!(token.number < MAX_TOKENS, "more tokens than the model is made for");
        1 << (token.login as u32 * u32::from(MAX_TOKENS) + u32::from(token.number))
    }

    pub fn has(self, token: Token) -> bool {
        self.0 & Self::bit(token) != 0
    }

    pub fn add(&mut self, token: Token) {
        self.0 |= Self::bit(token);
    }

    pub fn remove(&mut self, token: Token) {
        self.0 &= !Self::bit(token);
    }

    pub fn iter(self) -> impl Iterator<Item = Token> {
        Login::ALL
            .into_iter()
            .flat_map(|login| (0..MAX_TOKENS).map(move |number| Token { login, number }))
            .filter(move |token| self.has(*token))
    }
}

/// A spent token and its successor: the content of a rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange {
    pub parent: Token,
    pub child: Token,
}

/// The part of `state.json` that a refresh uses. The generation is only compared for equality, so one bit in every
/// waiter stands for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub spent: Tokens,
    pub poison: Option<Token>,
    pub backing_off: Option<Token>,
}

/// The state of a login at the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Good,
    /// By the peer's logout, or because a spent token was sent to a strict authority.
    RevokedByOthers,
    RevokedByUs,
}

/// A login at the authority, which accepts only its newest token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    pub newest: u8,
    pub standing: Standing,
}

/// What the authority does when a spent token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReuse {
    Refuse,
    /// As RFC 9700 recommends.
    RevokeFamily,
}

/// The authority's response to a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Issued(Token),
    Reused,
    Invalid,
}

/// Whether another program may have restored an old document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backups {
    Untouched,
    Restored,
}

/// A forbidden step, which the state alone does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    AskedTwice,
    OverwroteAnotherAccount,
    OverwroteANewerLogin,
    WroteAfterLogout,
    WentBack,
    AdoptedSpent,
}

/// The whole state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub document: Option<Token>,
    pub rescue: Option<Exchange>,
    pub state: State,
    pub authority: [Grant; 3],
    pub ours: Vec<Process>,
    pub peer: Peer,
    /// The number of refreshes that the peer may still begin.
    pub turns: u8,
    /// Requests in flight whose sender has died or given up.
    pub late: Tokens,
    /// Tokens up to this number are stale.
    pub aged: u8,
    /// The number of failures that may still happen.
    pub failures: u8,

    // The following is only for the properties; no participant can see it.
    /// Tokens that one of our processes sent under a lease, unless the outcome became unknown.
    pub asked: Tokens,
    /// Logins whose live token was lost by another program, or in the unavoidable window.
    pub excused: [bool; 3],
    pub backups: Backups,
    pub breach: Option<Breach>,
}

impl World {
    pub fn new(ours: usize, turns: u8, misfortunes: u8) -> Self {
        let first = Token { login: Login::First, number: 0 };
        let process = Process { memory: Some(first), step: Step::WAITING };
        Self {
            document: Some(first),
            rescue: None,
            state: State::default(),
            authority: [Grant { newest: 0, standing: Standing::Good }; 3],
            ours: vec![process; ours],
            peer: Peer::Idle,
            turns,
            late: Tokens::default(),
            aged: 0,
            failures: misfortunes,
            asked: Tokens::default(),
            excused: [false, true, true],
            backups: Backups::Untouched,
            breach: None,
        }
    }

    /// Sends `token` to the authority.
    pub fn redeem(&mut self, token: Token, on_reuse: OnReuse) -> Answer {
        let grant = &mut self.authority[token.login as usize];
        if grant.standing != Standing::Good {
            return Answer::Invalid;
        }
        if token.number < grant.newest {
            if on_reuse == OnReuse::RevokeFamily {
                grant.standing = Standing::RevokedByOthers;
                self.excused[token.login as usize] = true;
            }
            return Answer::Reused;
        }
        grant.newest += 1;
        Answer::Issued(Token { number: grant.newest, ..token })
    }

    /// Revokes the whole login, as RFC 7009 allows an authority to do for any token of it.
    pub fn revoke(&mut self, login: Login, by: Standing) {
        let grant = &mut self.authority[login as usize];
        if grant.standing == Standing::Good {
            grant.standing = by;
        }
        if by == Standing::RevokedByOthers {
            self.excused[login as usize] = true;
        }
    }

    /// Returns whether the authority will always refuse it.
    pub fn is_dead(&self, token: Token) -> bool {
        let grant = self.authority[token.login as usize];
        grant.standing != Standing::Good || token.number < grant.newest
    }

    pub fn is_stale(&self, token: Token) -> bool {
        token.number <= self.aged
    }

    /// Returns whether the live token of `login` is in a file, or in the memory of a process that will write it.
    pub fn is_kept(&self, login: Login) -> bool {
        let grant = self.authority[login as usize];
        let live = Token { login, number: grant.newest };
        grant.standing == Standing::Good
            && (self.document == Some(live)
                || self.rescue.is_some_and(|rescue| rescue.child == live)
                || self.peer.holds(live)
                || self.ours.iter().any(|process| process.will_save(live))
                // Another program overwrote it; a process that still has it may restore it.
                || (self.backups == Backups::Restored
                    && self.ours.iter().any(|process| process.memory == Some(live))))
    }

    /// Excuses the logins that are lost by now, because our processes did not cause it.
    pub fn mark_losses_excused(&mut self) {
        for login in Login::ALL {
            if !self.is_kept(login) {
                self.excused[login as usize] = true;
            }
        }
    }

    /// Makes every waiter notice the new generation.
    pub fn wake_waiters(&mut self) {
        for process in &mut self.ours {
            process.wake();
        }
    }

    pub fn breach(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }
}

/// Our processes are interchangeable, so states that differ only in their order are one.
impl Representative for World {
    fn representative(&self) -> Self {
        let mut world = self.clone();
        world.ours.sort_unstable();
        world
    }
}
