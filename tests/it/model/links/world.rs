//! The world of linked homes: documents, what is beside them, and the processes that refresh them.

use super::super::world::{Answer, Grant, Login, Standing, Token, Tokens};

/// A file that holds a document: of home 0, of home 1, and two that homes can link to.
pub type File = usize;
/// A folder, with its lock: home 0, home 1, and two others.
pub type Folder = usize;

/// What was spent and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spent {
    pub parent: Token,
    pub child: Token,
}

/// The state and the rescue of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Records {
    pub rescue: Option<Spent>,
    pub spent: Tokens,
}

/// A process, which refreshes the login of its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The file that the link led to when the lease was begun.
    pub pinned: File,
    pub step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Idle,
    /// It holds this many of the locks that it needs.
    Locking(usize),
    Leased,
    Looking,
    Sent(Token),
    Answered(Spent),
    Saved(Spent),
    /// It is committed, or not needed: it is to be recorded.
    Recording(Spent),
    Clearing,
    Ended,
}

/// What may not happen and is seen in a step, not in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    AskedTwice,
    OverwroteAnotherLogin,
}

/// Everything, at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub documents: [Option<Token>; 4],
    pub records: [Records; 4],
    /// The file that `auth.json` of each home is, or links to.
    pub links: [File; 2],
    pub processes: [Process; 2],
    pub authority: [Grant; 3],
    /// How often a link is pointed elsewhere.
    pub turns: u8,
    pub misfortunes: u8,
    /// The last holders of both homes complete what was left behind, and do nothing else.
    pub last: bool,

    // What follows no process can see; it is for the properties.
    pub asked: Tokens,
    pub excused: [bool; 3],
    /// A commit went to a file that the home did not link to any more.
    pub committed_elsewhere: bool,
    pub breach: Option<Breach>,
}

impl World {
    pub fn new(logins: [Option<Login>; 4], links: [File; 2], turns: u8, misfortunes: u8) -> Self {
        Self {
            documents: logins.map(|login| Some(Token { login: login?, number: 0 })),
            records: [Records { rescue: None, spent: Tokens::NONE }; 4],
            links,
            processes: [Process { pinned: 0, step: Step::Idle }; 2],
            authority: [Grant { newest: 0, standing: Standing::Good }; 3],
            turns,
            misfortunes,
            last: false,
            asked: Tokens::NONE,
            excused: Login::ALL.map(|login| !logins.contains(&Some(login))),
            committed_elsewhere: false,
            breach: None,
        }
    }

    /// An authority that forgives nothing.
    pub fn redeem(&mut self, token: Token) -> Answer {
        let grant = &mut self.authority[token.login as usize];
        if grant.standing != Standing::Good {
            return Answer::Invalid;
        }
        if token.number < grant.newest {
            grant.standing = Standing::RevokedByOthers;
            return Answer::Reused;
        }
        grant.newest += 1;
        Answer::Issued(Token { number: grant.newest, ..token })
    }

    pub fn is_stored(&self, login: Login) -> bool {
        let grant = self.authority[login as usize];
        grant.standing == Standing::Good
            && self.documents.contains(&Some(Token { login, number: grant.newest }))
    }

    /// Whether `login` is alive, and its live token in a document, a rescue, or the memory of who received it.
    pub fn is_kept(&self, login: Login) -> bool {
        let grant = self.authority[login as usize];
        let live = Token { login, number: grant.newest };
        let rescued =
            self.records.iter().any(|records| records.rescue.is_some_and(|spent| spent.child == live));
        let received = self.processes.iter().any(|process| match process.step {
            Step::Answered(spent) | Step::Saved(spent) => spent.child == live,
            _ => false,
        });
        grant.standing == Standing::Good && (self.is_stored(login) || rescued || received)
    }

    pub fn is_over(&self) -> bool {
        self.processes.iter().all(|process| process.step == Step::Ended)
    }
}
