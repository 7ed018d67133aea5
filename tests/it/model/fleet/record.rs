//! The shared record, and every change that a member may make to it.

use super::super::world::{Exchange, Login, Token, Tokens};

/// A member of the fleet.
pub type HostId = u8;

/// The record in etcd. One value of it is compared as a whole: every write makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub epoch: u8,
    pub generation: u8,
    /// Counts every write. Found by this model: without it no host can tell a record that was restored from a newer one
    /// of the same generation. Counted from the backup on, which bounds the model.
    pub writes: u8,
    pub token: Token,
    pub spent: Tokens,
    pub intent: Option<Intent>,
    pub poison: Option<Poison>,
    pub tombstone: bool,
}

/// The announcement that a member will send `spends` to the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Intent {
    pub host: HostId,
    pub spends: Token,
    pub attempt: Attempt,
}

/// How often the token of an intent may be sent, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    First,
    /// The authority refused the first attempt for a reason that another member must confirm.
    Refused,
    /// The first attempt was refused, or its outcome is unknown.
    Second {
        former: HostId,
        refused: bool,
    },
}

impl Attempt {
    pub fn is_second(self) -> bool {
        matches!(self, Self::Second { .. })
    }
}

/// Why no host sends the token of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Poison {
    Refused,
    /// The outcome of the second attempt is unknown.
    Lost,
}

impl Record {
    pub const FIRST: Self = Self {
        epoch: 0,
        generation: 0,
        writes: 0,
        token: Token { login: Login::First, number: 0 },
        spent: Tokens::NONE,
        intent: None,
        poison: None,
        tombstone: false,
    };

    pub fn version(&self) -> (u8, u8) {
        (self.epoch, self.generation)
    }

    /// The order of all records that were written one after the other.
    pub fn order(&self) -> (u8, u8, u8) {
        (self.epoch, self.generation, self.writes)
    }

    pub fn intent_of(&self, host: HostId) -> Option<Intent> {
        self.intent.filter(|intent| intent.host == host)
    }

    /// Whether a member may announce to send the token.
    pub fn is_claimable(&self) -> bool {
        self.intent.is_none() && self.poison.is_none() && !self.tombstone && !self.spent.has(self.token)
    }

    pub fn claimed(&self, host: HostId) -> Self {
        Self { intent: Some(Intent { host, spends: self.token, attempt: Attempt::First }), ..*self }
    }

    /// As [`Self::claimed`], under a new key.
    pub fn rekeyed(&self, host: HostId) -> Self {
        Self { epoch: self.epoch + 1, ..self.claimed(host) }
    }

    /// A member that comes back announces to send the successor of a poisoned token.
    pub fn presented(&self, host: HostId, child: Token) -> Self {
        Self { intent: Some(Intent { host, spends: child, attempt: Attempt::First }), ..*self }
    }

    pub fn committed(&self, exchange: Exchange) -> Self {
        let mut spent = self.spent;
        spent.add(self.token);
        spent.add(exchange.parent);
        Self {
            generation: self.generation + 1,
            token: exchange.child,
            spent,
            intent: None,
            poison: None,
            ..*self
        }
    }

    /// The intent was not carried out. An earlier attempt stays announced.
    pub fn withdrawn(&self) -> Self {
        let first = |intent: Intent| match intent.attempt {
            Attempt::First | Attempt::Refused => None,
            Attempt::Second { former, refused } => {
                let attempt = if refused { Attempt::Refused } else { Attempt::First };
                Some(Intent { host: former, attempt, ..intent })
            }
        };
        Self { intent: self.intent.and_then(first), ..*self }
    }

    /// The first attempt was refused.
    pub fn refused(&self) -> Self {
        Self { intent: self.intent.map(|intent| Intent { attempt: Attempt::Refused, ..intent }), ..*self }
    }

    pub fn poisoned(&self, poison: Poison) -> Self {
        Self { intent: None, poison: Some(poison), ..*self }
    }

    /// Another member makes the second attempt.
    pub fn succeeded(&self, host: HostId) -> Self {
        let second = |intent: Intent| {
            let refused = intent.attempt == Attempt::Refused;
            Intent { host, attempt: Attempt::Second { former: intent.host, refused }, ..intent }
        };
        Self { intent: self.intent.map(second), ..*self }
    }

    pub fn logged_in(&self, token: Token) -> Self {
        let Self { epoch, generation, writes, .. } = *self;
        Self { epoch, generation: generation + 1, writes, token, ..Self::FIRST }
    }

    pub fn logged_out(&self) -> Self {
        Self { generation: self.generation + 1, intent: None, tombstone: true, ..*self }
    }
}
