//! The steps of the lease's holder, each as atomic as in the library.

use super::super::world::Token;
use super::world::{Kind, Spent};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Refresh,
    /// A refresh whose response is in the rescue.
    Refreshed,
    Migrate(Kind),
    Logout,
    /// The last holder, which only completes a rescue or a logout.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The lease is free.
    Free,
    /// The last holder has run.
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
    /// A rescue is committed, and is recorded next.
    Merged(Spent),
    /// The rescue is recorded, and is removed next.
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

/// A running migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    pub to: Kind,
    pub source: Token,
    /// The content that is expected at the destination.
    pub seen: Option<Token>,
    /// The previous content of the destination.
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

/// Whether the other store still has to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    Other,
    Nothing,
}

/// Restoring a login in the keychain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutBack {
    Write,
    Record,
    Clear,
}

impl Step {
    /// Returns whether the holder has `token` in memory and will write it.
    pub fn will_save(self, token: Token) -> bool {
        matches!(self, Self::Refresh(Refresh::Answered(spent) | Refresh::Saved(spent)) if spent.child == token)
    }
}
