//! The peer that takes no lease, modelled on measurements of Codex 0.169, and the users and programs around it.

use super::protocol::Protocol;
use super::world::{Answer, Backups, Exchange, Login, Standing, Token, World};

/// The state of the peer's refresh. It takes no lease and leaves no rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Idle,
    /// It has read the document and sent its token.
    Asked(Token),
    /// It has a successor, only in memory.
    Holding(Exchange),
}

impl Peer {
    pub fn holds(self, token: Token) -> bool {
        matches!(self, Self::Holding(exchange) if exchange.child == token)
    }

    /// Returns whether the successor of `token` is about to be committed.
    pub fn will_replace(self, token: Token) -> bool {
        matches!(self, Self::Holding(exchange) if exchange.parent == token)
    }
}

impl Protocol {
    /// Takes the peer's next step, if it can take one.
    pub fn peer_step(&self, world: &mut World) -> Option<()> {
        match world.peer {
            Peer::Idle if world.turns > 0 => {
                world.turns -= 1;
                world.peer = Peer::Asked(world.document?);
            }
            Peer::Asked(parent) => {
                world.peer = match world.redeem(parent, self.on_reuse) {
                    Answer::Issued(child) => Peer::Holding(Exchange { parent, child }),
                    Answer::Reused | Answer::Invalid => Peer::Idle,
                };
            }
            // Under its two locks it compares the document with what it read, and writes or drops its response.
            Peer::Holding(exchange) if self.commit_locks_free(world) => {
                if world.document == Some(exchange.parent) {
                    world.document = Some(exchange.child);
                }
                world.peer = Peer::Idle;
                world.mark_losses_excused();
            }
            _ => return None,
        }
        Some(())
    }

    /// The peer dies during its refresh, or gives up waiting for `auth.json.lock`.
    pub fn peer_dies(&self, world: &mut World) -> Option<()> {
        match world.peer {
            Peer::Idle => return None,
            Peer::Asked(token) => world.late.add(token),
            Peer::Holding(_) => {}
        }
        world.peer = Peer::Idle;
        world.mark_losses_excused();
        Some(())
    }

    /// The first half of the peer's logout, outside any lock. A failure is not reported.
    pub fn peer_revokes(&self, world: &mut World) -> Option<()> {
        let stored = world.document?;
        if world.authority[stored.login as usize].standing != Standing::Good {
            return None;
        }
        world.revoke(stored.login, Standing::RevokedByOthers);
        Some(())
    }

    /// The second half of the peer's logout removes the document, whatever it holds by now.
    pub fn peer_logs_out(&self, world: &mut World) -> Option<()> {
        if !self.commit_locks_free(world) {
            return None;
        }
        world.document.take()?;
        // A logout gives up every token of the login, also those in flight.
        world.excused = [true; 3];
        Some(())
    }

    /// The peer stores a new login over any other; a login by the app-server does not revoke the old one.
    pub fn peer_logs_in(&self, world: &mut World, login: Login) -> Option<()> {
        let stored = world.document.is_some_and(|stored| stored.login == login);
        let grant = world.authority[login as usize];
        if stored || grant.newest > 0 || !self.commit_locks_free(world) {
            return None;
        }
        let token = Token { login, number: 0 };
        world.document = Some(token);
        world.excused = [true; 3];
        world.excused[login as usize] = grant.standing != Standing::Good;
        Some(())
    }

    /// A user or a backup program restores an older document of the same login, without any lock.
    pub fn is_restored(&self, world: &mut World, number: u8) -> Option<()> {
        let stored = world.document?;
        let older = Token { number, ..stored };
        if number >= stored.number {
            return None;
        }
        world.document = Some(older);
        world.backups = Backups::Restored;
        world.mark_losses_excused();
        Some(())
    }
}
