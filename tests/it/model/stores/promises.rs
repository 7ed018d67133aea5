//! The promises of the two stores, and the situations that must be reached for them to mean anything.

use stateright::Property;

use super::super::world::{Login, Standing};
use super::protocol::{Protocol, is_held};
use super::step::{Migrate, Recover, Step};
use super::world::{Breach, Kind, World};

pub const NOTHING_LOST: &str = "the live token is in a store, a rescue or the memory of its receiver";
pub const NOTHING_UNSEEN: &str = "no unseen content is removed or replaced";
pub const ONE_REQUEST: &str = "no token is sent twice";
pub const ACCOUNTS_APART: &str = "another login is never overwritten";
pub const ROLLED_BACK: &str = "a migration that failed leaves no copy";
pub const NO_LEFTOVERS: &str = "in the end there is no rescue and no unfinished logout";
pub const ALL_STORED: &str = "in the end every live token is in a store";
pub const NO_DEAD_COPY: &str = "in the end no store holds a login that we revoked";
pub const ALL_END: &str = "every run ends";

pub fn promises() -> Vec<Property<Protocol>> {
    vec![
        Property::always(NOTHING_LOST, |_, world: &World| {
            Login::ALL.into_iter().all(|login| world.excused[login as usize] || world.is_kept(login))
        }),
        Property::always(NOTHING_UNSEEN, |_, world: &World| {
            !matches!(world.breach, Some(Breach::RemovedUnseen | Breach::ReplacedUnseen))
        }),
        Property::always(ONE_REQUEST, |_, world: &World| world.breach != Some(Breach::AskedTwice)),
        Property::always(ACCOUNTS_APART, |_, world: &World| {
            world.breach != Some(Breach::OverwroteAnotherLogin)
        }),
        Property::always(ROLLED_BACK, |_, world: &World| world.breach != Some(Breach::LeftACopy)),
        Property::always(NO_LEFTOVERS, |_, world: &World| {
            world.holder != Step::Closed || world.rescue.is_none() && world.state.logging_out.is_none()
        }),
        Property::always(ALL_STORED, |_, world: &World| {
            world.holder != Step::Closed
                || Login::ALL.into_iter().all(|login| {
                    let dead = world.authority[login as usize].standing != Standing::Good;
                    dead || world.excused[login as usize] || world.is_stored(login)
                })
        }),
        Property::always(NO_DEAD_COPY, |_, world: &World| {
            world.holder != Step::Closed
                || world.copy_reported
                || !world.stores.into_iter().flatten().any(|token| world.is_revoked(token.login))
        }),
        Property::always(ALL_END, |protocol: &Protocol, world: &World| {
            world.holder == Step::Closed
                || world.breach.is_some()
                || crate::model::can_continue(protocol, world)
        }),
    ]
}

pub fn occasions(misfortunes: u8) -> Vec<Property<Protocol>> {
    let mut occasions = vec![
        Property::sometimes("a login is moved into the keychain and refreshed there", |_, world: &World| {
            world.holder == Step::Closed && world.read(Kind::Keychain).is_some_and(|token| token.number > 0)
        }),
        Property::sometimes(
            "a migration copies again what a rival changed",
            |_, world: &World| matches!(world.holder, Step::Migrate(Migrate::Copy, plan) if plan.tries < 3),
        ),
        Property::sometimes(
            "the documented loss: a foreign request in flight across the removal",
            |_, world: &World| world.documented.in_flight,
        ),
        Property::sometimes("a login is only in the rescue", |_, world: &World| {
            is_held(world.holder) && world.stores == [None; 2]
        }),
        Property::sometimes("an interrupted logout is completed from the store", |_, world: &World| {
            matches!(world.holder, Step::Recover(Recover::RemoveStored(..), _))
        }),
        Property::sometimes("an interrupted logout is completed from the rescue", |_, world: &World| {
            matches!(world.holder, Step::Recover(Recover::RevokedRemoved(_), _))
        }),
        Property::sometimes(
            "a login is put back, and live",
            |_, world: &World| matches!(world.holder, Step::PutBack(_, token, _) if world.read(Kind::Keychain) == Some(token)),
        ),
        Property::sometimes("a login is ended and completely removed", |_, world: &World| {
            world.holder == Step::Closed && world.stores == [None; 2]
        }),
    ];
    if misfortunes > 1 {
        occasions.extend([
            Property::sometimes("the documented loss: neither revoked nor restored", |_, world: &World| {
                world.documented.not_put_back
            }),
            Property::sometimes("a revoked login is restored", |_, world: &World| {
                world.documented.put_back_dead
            }),
        ]);
    }
    occasions
}
