//! The world of the two stores: their documents, what survives a crash, and what the properties must remember.

use super::super::world::{Answer, Grant, Login, Standing, Token, Tokens};
use super::step::Step;

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Keychain,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::File, Self::Keychain];

    pub fn other(self) -> Self {
        match self {
            Self::File => Self::Keychain,
            Self::Keychain => Self::File,
        }
    }
}

/// What was spent and what came of it, and the store it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spent {
    pub kind: Kind,
    pub parent: Token,
    pub child: Token,
}

/// The content of a rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rescue {
    Commit(Spent),
    /// A login that a logout has removed from the keychain and is about to revoke.
    Revoke(Token),
}

/// `state.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub store: Option<Kind>,
    pub spent: Tokens,
    pub logging_out: Option<Token>,
}

/// A foreign program, as Codex was measured: it takes no lease, and commits by compare-and-swap under the commit locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rival {
    Idle,
    /// Its request is on its way.
    Asked(Kind, Token),
    /// It has the answer in memory.
    Holding(Spent),
}

/// What may not happen and is seen in a step, not in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    AskedTwice,
    RemovedUnseen,
    ReplacedUnseen,
    OverwroteAnotherLogin,
    LeftACopy,
}

/// A loss that the docs name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Documented {
    /// A foreign request was in flight while its document was removed.
    pub in_flight: bool,
    /// A login could be neither revoked nor put back, because a newer one was stored meanwhile.
    pub not_put_back: bool,
    /// A login was put back because the authority could not be reached, and had been revoked already.
    pub put_back_dead: bool,
}

/// Everything, at one instant. At most one process of ours holds the lease: the first model shows that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub stores: [Option<Token>; 2],
    /// What `config.toml` selects.
    pub selected: Kind,
    pub state: State,
    pub rescue: Option<Rescue>,
    pub authority: [Grant; 3],
    /// Where the holder of the lease stands.
    pub holder: Step,
    /// How many more commands are started.
    pub commands: u8,
    pub rival: Rival,
    /// How many more refreshes the rival begins.
    pub turns: u8,
    pub misfortunes: u8,
    /// Whether the file can be removed: not if it is immutable, or a mount point.
    pub removable: bool,

    // What follows no process can see; it is for the properties.
    pub asked: Tokens,
    pub excused: [bool; 3],
    pub documented: Documented,
    /// The authority could not be reached during a logout: its caller knows that a copy stays.
    pub told_of_copy: bool,
    pub breach: Option<Breach>,
}

impl State {
    pub const EMPTY: Self = Self { store: None, spent: Tokens::NONE, logging_out: None };
}

impl World {
    pub fn new(kind: Kind, commands: u8, turns: u8, misfortunes: u8) -> Self {
        let first = Token { login: Login::First, number: 0 };
        let mut stores = [None; 2];
        stores[kind as usize] = Some(first);
        Self {
            stores,
            selected: kind,
            state: State { store: Some(kind), ..State::EMPTY },
            rescue: None,
            authority: [Grant { newest: 0, standing: Standing::Good }; 3],
            holder: Step::Free,
            commands,
            rival: Rival::Idle,
            turns,
            misfortunes,
            removable: true,
            asked: Tokens::NONE,
            excused: [false, true, true],
            documented: Documented::default(),
            told_of_copy: false,
            breach: None,
        }
    }

    pub fn read(&self, kind: Kind) -> Option<Token> {
        self.stores[kind as usize]
    }

    /// The login that is read: the selected store, else the one that the state names.
    pub fn find(&self) -> Option<(Kind, Token)> {
        let recorded = self.state.store.unwrap_or(self.selected);
        [self.selected, recorded].into_iter().find_map(|kind| Some((kind, self.read(kind)?)))
    }

    pub fn redeem(&mut self, token: Token) -> Answer {
        let grant = &mut self.authority[token.login as usize];
        if grant.standing != Standing::Good {
            return Answer::Invalid;
        }
        if token.number < grant.newest {
            return Answer::Reused;
        }
        grant.newest += 1;
        Answer::Issued(Token { number: grant.newest, ..token })
    }

    /// Revoking any token of a login ends the login.
    pub fn revoke(&mut self, token: Token) {
        self.authority[token.login as usize].standing = Standing::RevokedByUs;
    }

    pub fn is_revoked(&self, login: Login) -> bool {
        self.authority[login as usize].standing == Standing::RevokedByUs
    }

    /// Whether the live token of `login` is in a store.
    pub fn is_stored(&self, login: Login) -> bool {
        let live = Token { login, number: self.authority[login as usize].newest };
        self.stores.contains(&Some(live))
    }

    /// Whether the live token of `login`, if it has one, is in a store, a rescue, or the memory of whoever received it.
    pub fn is_kept(&self, login: Login) -> bool {
        let grant = self.authority[login as usize];
        let live = Token { login, number: grant.newest };
        let rescued = self.rescue.is_some_and(|rescue| match rescue {
            Rescue::Commit(spent) => spent.child == live,
            Rescue::Revoke(token) => token == live,
        });
        grant.standing != Standing::Good
            || self.is_stored(login)
            || rescued
            || matches!(self.rival, Rival::Holding(spent) if spent.child == live)
            || self.holder.will_save(live)
    }

    /// What is lost by now is a documented loss.
    pub fn excuse_losses(&mut self) -> bool {
        let lost = Login::ALL.into_iter().filter(|login| !self.is_kept(*login)).collect::<Vec<_>>();
        let new = lost.iter().any(|login| !self.excused[*login as usize]);
        lost.into_iter().for_each(|login| self.excused[login as usize] = true);
        new
    }

    pub fn breach(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }

    /// The lease is released after the command has reported.
    pub fn end(&mut self) {
        self.holder = Step::Free;
    }
}
