//! A logout: a login in the file is revoked and then removed; one in the keychain is saved to the rescue and removed
//! first.

use super::super::world::Token;
use super::protocol::{Mutation, Protocol};
use super::step::{Left, Logout, PutBack, Step};
use super::world::{Kind, Rescue, State, World};

impl Protocol {
    /// Found by this model: every copy is checked to be removable before any is revoked.
    pub fn begin_logout(&self, world: &mut World) {
        let first = world.find().map_or(Kind::File, |(kind, _)| kind);
        let stuck = world.read(Kind::File).is_some() && !world.removable;
        if stuck && !self.is(Mutation::ChecksEachCopyAlone) && !self.is(Mutation::RevokesBeforeChecking) {
            return world.end();
        }
        world.holder = Step::Logout(Logout::Read(first, Left::Other));
    }

    pub fn logout(&self, world: &mut World, step: Logout) {
        let step = match step {
            Logout::Read(kind, left) => match world.read(kind) {
                None => after(kind, left),
                Some(_) if self.is_kept(world, kind) => after(kind, left),
                Some(token) if world.state.spent.has(token) => Logout::Remove(kind, token, left),
                Some(token) => Logout::Mark(kind, token, left),
            },
            Logout::Mark(kind, token, left) => {
                world.state.logging_out = Some(token);
                match kind {
                    Kind::File => Logout::Revoke(kind, token, left),
                    Kind::Keychain if self.is(Mutation::HoldsNothing) => Logout::RemoveHeld(token, left),
                    Kind::Keychain => Logout::Hold(token, left),
                }
            }
            Logout::Revoke(kind, token, left) => {
                world.revoke(token);
                Logout::Remove(kind, token, left)
            }
            Logout::Remove(Kind::File, ..) if !world.removable => return world.end(),
            Logout::Remove(kind, token, left) => {
                if self.remove(world, kind, token) {
                    after(kind, left)
                } else {
                    Logout::Read(kind, left)
                }
            }
            Logout::Hold(token, left) => {
                world.rescue = Some(Rescue::Revoke(token));
                Logout::RemoveHeld(token, left)
            }
            Logout::RemoveHeld(token, left) => {
                if self.remove(world, Kind::Keychain, token) {
                    Logout::RevokeHeld(token, left)
                } else {
                    // Found by this model: the mark stays, because the other copy may have been revoked already.
                    world.rescue = None;
                    if self.is(Mutation::UnmarksBetweenTries) {
                        world.state.logging_out = None;
                    }
                    Logout::Read(Kind::Keychain, left)
                }
            }
            Logout::RevokeHeld(token, left) => {
                world.revoke(token);
                Logout::ClearHeld(left)
            }
            Logout::ClearHeld(left) => {
                world.rescue = None;
                after(Kind::Keychain, left)
            }
            Logout::Clear => {
                world.rescue = None;
                Logout::Reset
            }
            Logout::Reset => {
                world.state = State::EMPTY;
                return world.end();
            }
        };
        world.holder = Step::Logout(step);
    }

    fn is_kept(&self, world: &World, kind: Kind) -> bool {
        kind == Kind::File && !world.removable && !self.is(Mutation::RevokesBeforeChecking)
    }

    /// The authority cannot be reached: the login stays and can be used again.
    pub fn logout_revocation_fails(&self, world: &mut World, step: Logout) -> Option<()> {
        match step {
            Logout::Revoke(..) => {
                world.state.logging_out = None;
                world.end();
            }
            Logout::RevokeHeld(..) if self.is(Mutation::PutsNothingBack) => {
                (world.rescue, world.state.logging_out) = (None, None);
                world.end();
            }
            Logout::RevokeHeld(token, _) => world.holder = put_back(token),
            _ => return None,
        }
        world.copy_reported = true;
        Some(())
    }
}

fn after(kind: Kind, left: Left) -> Logout {
    match left {
        Left::Other => Logout::Read(kind.other(), Left::Nothing),
        Left::Nothing => Logout::Clear,
    }
}

fn put_back(token: Token) -> Step {
    Step::PutBack(PutBack::Write, token, None)
}
