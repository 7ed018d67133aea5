//! Where the holder of the lease stands, each step as atomic as the code's.

use super::super::world::Token;
use super::world::{Kind, Spent};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Refresh,
    /// A refresh that has its answer in the rescue.
    Refreshed,
    Migrate(Kind),
    Logout,
    /// The last holder: it completes what was left behind and does nothing else.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nobody holds the lease.
    Free,
    /// Everything has ended, and the last holder has run.
    Closed,
    Recover(Recover, Command),
    /// The command itself is next.
    Ready(Command),
    Refresh(Refresh),
    Migrate(Migrate, Move),
    Logout(Logout),
    PutBack(PutBack, Token, Option<Command>),
}

/// Completing what a killed process left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recover {
    Rescue,
    /// A rescue is committed and is to be recorded.
    Merged(Spent),
    /// The rescue is recorded and is to be cleared.
    Recorded,
    /// The child is recorded as not needed, and belongs to no stored login.
    RevokeChild(Token),
    RevokeRemoved(Token),
    RevokedRemoved(Token),
    Logout,
    RevokeStored(Kind, Token),
    RemoveStored(Kind, Token),
    RemovedStored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refresh {
    Sent(Kind, Token),
    Answered(Spent),
    Saved(Spent),
}

/// A migration on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    pub to: Kind,
    pub source: Token,
    /// What is expected at the destination.
    pub seen: Option<Token>,
    /// What was at the destination before.
    pub there: Option<Token>,
    pub selected: Kind,
    pub recorded: Option<Kind>,
    pub tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Migrate {
    Copy,
    Record,
    Select,
    Remove,
    RestoreSelection,
    RestoreStore,
    /// The login is at the destination already: an older copy is removed.
    Stay,
    RemoveOlder(Token),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logout {
    Read(Kind, Left),
    Mark(Kind, Token, Left),
    Revoke(Kind, Token, Left),
    Remove(Kind, Token, Left),
    Hold(Token, Left),
    RemoveHeld(Token, Left),
    RevokeHeld(Token, Left),
    ClearHeld(Left),
    Clear,
    Reset,
}

/// Whether the other store is still to be dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    Other,
    Nothing,
}

/// Putting a login back into the keychain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutBack {
    Write,
    Record,
    Clear,
}

impl Step {
    /// Does the holder have `token` in memory and is yet to write it?
    pub fn will_save(self, token: Token) -> bool {
        matches!(self, Self::Refresh(Refresh::Answered(spent) | Refresh::Saved(spent)) if spent.child == token)
    }
}
