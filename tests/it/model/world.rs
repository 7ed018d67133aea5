//! The world of the model: tokens, what survives a crash, the authority's book, and what the properties must remember.

use stateright::Representative;

use super::ours::{Process, Step};
use super::peer::Peer;

/// Most tokens that one login can come to under the bounds of the tests.
const MOST: u8 = 8;

/// A login, which the authority calls a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Login {
    /// The one that everybody starts with.
    First,
    /// A later one with the same account.
    Again,
    /// One with another account.
    Other,
}

impl Login {
    pub const ALL: [Self; 3] = [Self::First, Self::Again, Self::Other];

    pub fn is_same_account(self, other: Self) -> bool {
        (self == Self::Other) == (other == Self::Other)
    }
}

/// A refresh token; the document is nothing else to the model. Numbers are given out in order.
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
    /// Is it known to be an earlier one of the same login? `login_owner_id` names the login, and the `iat` of the
    /// access token is the authority's own clock.
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
        assert!(token.number < MOST, "more tokens than the model is made for");
        1 << (token.login as u32 * u32::from(MOST) + u32::from(token.number))
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
            .flat_map(|login| (0..MOST).map(move |number| Token { login, number }))
            .filter(move |token| self.has(*token))
    }
}

/// What was spent and what came of it: the content of a rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange {
    pub parent: Token,
    pub child: Token,
}

/// `state.json`, as far as a refresh is concerned. Its generation is compared for equality only, so one bit in every
/// waiter stands for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub spent: Tokens,
    pub poison: Option<Token>,
    pub backing_off: Option<Token>,
}

/// How the authority thinks of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Good,
    /// By the peer's logout, or because a spent token was sent to a strict authority.
    RevokedByOthers,
    RevokedByUs,
}

/// A line in the authority's book: its newest token is the only one it takes.
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

/// What the authority says to a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Issued(Token),
    Reused,
    Invalid,
}

/// Whether a foreign program may have put an old document back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backups {
    Untouched,
    Restored,
}

/// What may not happen and is seen in a step, not in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    AskedTwice,
    OverwroteAnotherAccount,
    OverwroteANewerLogin,
    WroteAfterLogout,
    WentBack,
    AdoptedSpent,
}

/// Everything, at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub document: Option<Token>,
    pub rescue: Option<Exchange>,
    pub state: State,
    pub authority: [Grant; 3],
    pub ours: Vec<Process>,
    pub peer: Peer,
    /// How many more refreshes the peer begins.
    pub turns: u8,
    /// Requests whose sender is gone or has given up, still on their way.
    pub late: Tokens,
    /// Tokens up to this number are stale.
    pub aged: u8,
    /// How many more things go wrong.
    pub misfortunes: u8,

    // What follows nobody in the model can see; it is for the properties.
    /// Tokens that one of ours sent under a lease, unless their fate became unknown.
    pub asked: Tokens,
    /// Logins whose live token was lost by somebody else, or in the unavoidable window.
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
            misfortunes,
            asked: Tokens::default(),
            excused: [false, true, true],
            backups: Backups::Untouched,
            breach: None,
        }
    }

    /// What the authority does with `token`.
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

    /// Revoking any token of a login ends the login: RFC 7009 allows it, so it must be reckoned with.
    pub fn revoke(&mut self, login: Login, by: Standing) {
        let grant = &mut self.authority[login as usize];
        if grant.standing == Standing::Good {
            grant.standing = by;
        }
        if by == Standing::RevokedByOthers {
            self.excused[login as usize] = true;
        }
    }

    /// Will the authority refuse it for ever?
    pub fn is_dead(&self, token: Token) -> bool {
        let grant = self.authority[token.login as usize];
        grant.standing != Standing::Good || token.number < grant.newest
    }

    pub fn is_stale(&self, token: Token) -> bool {
        token.number <= self.aged
    }

    /// Is the live token of `login` where it will be found again, or in the hands of someone about to put it there?
    pub fn is_kept(&self, login: Login) -> bool {
        let grant = self.authority[login as usize];
        let live = Token { login, number: grant.newest };
        grant.standing == Standing::Good
            && (self.document == Some(live)
                || self.rescue.is_some_and(|rescue| rescue.child == live)
                || self.peer.holds(live)
                || self.ours.iter().any(|process| process.will_save(live))
                // A foreign program overwrote it; who remembers it may still mend that.
                || (self.backups == Backups::Restored
                    && self.ours.iter().any(|process| process.memory == Some(live))))
    }

    /// What is lost by now is nobody's fault of ours.
    pub fn excuse_losses(&mut self) {
        for login in Login::ALL {
            if !self.is_kept(login) {
                self.excused[login as usize] = true;
            }
        }
    }

    /// A new generation: every waiter will look.
    pub fn stir(&mut self) {
        for process in &mut self.ours {
            process.stir();
        }
    }

    pub fn breach(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }
}

/// Our processes are alike: which of them did what makes no difference to anybody.
impl Representative for World {
    fn representative(&self) -> Self {
        let mut world = self.clone();
        world.ours.sort_unstable();
        world
    }
}
