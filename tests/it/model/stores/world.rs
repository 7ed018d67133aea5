//! The state of the two stores: documents, files, and what the properties need to remember.

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

/// A spent token, its successor, and the store it belongs to.
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

/// Another program, modelled on measurements of Codex: it takes no lease, and commits by compare-and-swap under the
/// commit locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rival {
    Idle,
    /// Its request is in flight.
    Asked(Kind, Token),
    /// It has the response in memory.
    Holding(Spent),
}

/// A forbidden step, which the state alone does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    AskedTwice,
    RemovedUnseen,
    ReplacedUnseen,
    OverwroteAnotherLogin,
    LeftACopy,
}

/// A documented loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Documented {
    /// Another program's request was in flight while its document was removed.
    pub in_flight: bool,
    /// A login could be neither revoked nor restored, because a newer one was stored meanwhile.
    pub not_put_back: bool,
    /// A login was restored because the authority could not be reached, but had been revoked already.
    pub put_back_dead: bool,
}

/// The whole state of the model. At most one of our processes holds the lease; the refresh model checks that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub stores: [Option<Token>; 2],
    /// The store that `config.toml` selects.
    pub selected: Kind,
    pub state: State,
    pub rescue: Option<Rescue>,
    pub authority: [Grant; 3],
    /// The step of the lease's holder.
    pub holder: Step,
    /// The number of commands that may still start.
    pub commands: u8,
    pub rival: Rival,
    /// The number of refreshes that the rival may still begin.
    pub turns: u8,
    pub failures: u8,
    /// Whether the file can be removed: not if it is immutable, or a mount point.
    pub removable: bool,

    // The following is only for the properties; no participant can see it.
    pub asked: Tokens,
    pub excused: [bool; 3],
    pub documented: Documented,
    /// Whether the authority could not be reached during a logout, whose caller knows that a copy stays.
    pub copy_reported: bool,
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
            failures: misfortunes,
            removable: true,
            asked: Tokens::NONE,
            excused: [false, true, true],
            documented: Documented::default(),
            copy_reported: false,
            breach: None,
        }
    }

    pub fn read(&self, kind: Kind) -> Option<Token> {
        self.stores[kind as usize]
    }

    /// Returns the login in the selected store, else in the one that the state names.
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

    /// Revokes the whole login of `token`.
    pub fn revoke(&mut self, token: Token) {
        self.authority[token.login as usize].standing = Standing::RevokedByUs;
    }

    pub fn is_revoked(&self, login: Login) -> bool {
        self.authority[login as usize].standing == Standing::RevokedByUs
    }

    /// Returns whether the live token of `login` is in a store.
    pub fn is_stored(&self, login: Login) -> bool {
        let live = Token { login, number: self.authority[login as usize].newest };
        self.stores.contains(&Some(live))
    }

    /// Returns whether the live token of `login`, if it has one, is in a store, a rescue, or the memory of its
    /// receiver.
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

    /// Records the logins that are lost by now as documented losses.
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
