//! What users ask of a host: a login, a logout, a new key.

use super::super::world::{Login, Token};
use super::protocol::{Mutation, Protocol};
use super::record::{HostId, Record};
use super::world::{Breach, LOGINS, NewLogin, Step, World};

/// The first token of a new login.
const NEW_LOGIN: Token = Token { login: Login::Again, number: 0 };

impl Protocol {
    pub fn rekey(&self, world: &mut World, who: usize) -> Option<Record> {
        let copy = self.may_spend(world, who)?;
        let over_intent = self.is(Mutation::RekeysOverIntent) && copy.intent.is_some();
        let is_ready = world.user_actions > 0 && world.hosts[who].rescue.is_none();
        (is_ready && (copy.is_claimable() || over_intent)).then_some(())?;
        world.user_actions -= 1;
        world.forced.add(copy.token);
        Some(copy.rekeyed(who as HostId))
    }

    pub fn log_in(&self, world: &mut World, who: usize) -> Option<()> {
        let host = world.hosts[who];
        let begun = world.hosts.iter().any(|host| host.login.is_some());
        let is_new = !LOGINS.into_iter().any(|login| login == Login::Again && host.copy.token.login == login);
        (world.user_actions > 0 && is_new && !begun && host.step == Step::Idle).then_some(())?;
        world.user_actions -= 1;
        let NewLogin { over, .. } = *world
            .host(who)
            .login
            .insert(NewLogin { over: host.copy.token, over_tombstone: host.copy.tombstone });
        if self.is(Mutation::RevokesBeforeNewLogin) {
            world.revoke(over);
        }
        Some(())
    }

    pub fn put_login(&self, world: &mut World, who: usize) -> Option<Record> {
        let host = world.hosts[who];
        let login = host.login?;
        let copy = host.copy;
        let is_seen = copy.token.login == login.over.login && copy.tombstone == login.over_tombstone;
        (is_seen || self.is(Mutation::CompletesLoginBlindly) && copy.token.login != Login::Again)
            .then_some(())?;
        if !is_seen {
            world.breach(Breach::WroteAfterLogout);
        }
        world.host(who).login = Some(NewLogin { over: copy.token, ..login });
        Some(copy.logged_in(NEW_LOGIN))
    }

    /// Revokes the old login when the record has the new one, or the new one if it cannot be put there.
    pub fn finish_login(&self, world: &mut World, who: usize) -> Option<()> {
        let host = world.hosts[who];
        let login = host.login?;
        if host.copy.token.login == Login::Again {
            world.revoke(login.over);
        } else if host.copy.tombstone != login.over_tombstone && !self.is(Mutation::CompletesLoginBlindly) {
            world.revoke(NEW_LOGIN);
        } else {
            return None;
        }
        world.host(who).login = None;
        Some(())
    }

    pub fn log_out(&self, world: &mut World, who: usize) -> Option<Record> {
        let host = world.hosts[who];
        (world.user_actions > 0 && !host.copy.tombstone && host.step == Step::Idle).then_some(())?;
        world.user_actions -= 1;
        if self.is(Mutation::RevokesBeforeTombstone) {
            world.revoke(host.copy.token);
        }
        Some(host.copy.logged_out())
    }

    /// Any member revokes the login of a tombstone.
    pub fn revoke(&self, world: &mut World, who: usize) -> Option<()> {
        let copy = world.hosts[who].copy;
        (copy.tombstone && world.is_live(copy.token)).then_some(())?;
        world.revoke(copy.token);
        Some(())
    }
}
