//! The state of the linked homes: documents, their records, and the processes that refresh them.

use super::super::world::{Answer, Grant, Login, Standing, Token, Tokens};

/// A file that holds a document: of home 0, of home 1, and two that homes can link to.
pub type File = usize;
/// A folder, with its lock: home 0, home 1, and two others.
pub type Folder = usize;

/// A spent token and its successor.
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
    /// The target of the link when the lease was acquired.
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
    /// The child is committed or not needed, and is recorded next.
    Recording(Spent),
    Clearing,
    Ended,
}

/// A forbidden step, which the state alone does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breach {
    AskedTwice,
    OverwroteAnotherLogin,
}

/// The whole state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub documents: [Option<Token>; 4],
    pub records: [Records; 4],
    /// The file that `auth.json` of each home is, or links to.
    pub links: [File; 2],
    pub processes: [Process; 2],
    pub authority: [Grant; 3],
    /// The number of changes of a link that may still happen.
    pub turns: u8,
    pub failures: u8,
    /// Whether the last holders run, which only complete rescues.
    pub last: bool,

    // The following is only for the properties; no participant can see it.
    pub asked: Tokens,
    pub excused: [bool; 3],
    /// Whether a commit went to a file that the home did not link to any more.
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
            failures: misfortunes,
            last: false,
            asked: Tokens::NONE,
            excused: Login::ALL.map(|login| !logins.contains(&Some(login))),
            committed_elsewhere: false,
            breach: None,
        }
    }

    /// Sends `token` to the authority, which revokes the login if it is spent.
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

    /// Returns whether `login` is alive, and its live token in a document, a rescue, or the memory of its receiver.
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
