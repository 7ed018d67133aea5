//! A model of homes whose documents are links: they share a lock, a state and a rescue, or must not.
//!
//! What is modelled: two processes, each with a home, that refresh, may die between any two steps and complete what was
//! left behind; links that are pointed elsewhere at any moment; an authority that forgives no token that is sent twice.

mod mutations;
mod protocol;
mod world;

use stateright::Property;

use super::check::holds;
use super::world::Login;
use protocol::Protocol;
use world::{Breach, Step, World};

const ONE_REQUEST: &str = "no token is sent twice";
const ACCOUNTS_APART: &str = "no token is written over another login";
const NOTHING_LOST: &str = "every login lives, and its live token is kept";
const NO_LEFTOVERS: &str = "in the end no document that is linked to has a rescue";
const ALL_END: &str = "every run ends";

/// Both homes link to one document.
const SHARED: Protocol = Protocol {
    logins: [None, None, Some(Login::First), Some(Login::Other)],
    folders: [0, 1, 2, 3],
    links: [2, 2],
    turns: 1,
    misfortunes: 2,
    mutation: None,
};
/// Each home links to a document of its own, both in one folder.
const ONE_FOLDER: Protocol = Protocol { folders: [0, 1, 2, 2], links: [2, 3], ..SHARED };
/// Each home links into the other one.
const CROSSWISE: Protocol = Protocol { folders: [0, 1, 1, 0], links: [2, 3], ..SHARED };
/// One home has a document, under another name, and the other one links to it.
const INTO_A_HOME: Protocol = Protocol { folders: [0, 1, 0, 3], links: [2, 2], ..SHARED };

#[test]
fn homes_keep_every_promise_whatever_they_link_to() {
    holds("one document", SHARED);
    holds("one folder", ONE_FOLDER);
    holds("crosswise links", CROSSWISE);
    holds("a link into a home", INTO_A_HOME);
}

fn promises() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_REQUEST, |_, world: &World| world.breach != Some(Breach::AskedTwice)),
        Property::always(ACCOUNTS_APART, |_, world: &World| {
            world.breach != Some(Breach::OverwroteAnotherLogin)
        }),
        Property::always(NOTHING_LOST, |_, world: &World| {
            Login::ALL.into_iter().all(|login| world.excused[login as usize] || world.is_kept(login))
        }),
        Property::always(NO_LEFTOVERS, |_, world: &World| {
            !world.last
                || !world.is_over()
                || world.links.iter().all(|file| {
                    let login = world.documents[*file].map(|token| token.login);
                    let stored =
                        login.is_none_or(|login| world.is_stored(login) || world.excused[login as usize]);
                    world.records[*file].rescue.is_none() && stored
                })
        }),
        Property::always(ALL_END, |protocol: &Protocol, world: &World| {
            world.is_over() && world.last
                || world.breach.is_some()
                || crate::model::can_go_on(protocol, world)
        }),
        Property::sometimes("a commit goes where the link led before", |_, world: &World| {
            world.committed_elsewhere
        }),
        Property::sometimes("the last holder commits what was left behind", |_, world: &World| {
            world.last && world.processes.iter().any(|process| matches!(process.step, Step::Recording(_)))
        }),
        Property::sometimes("every login is refreshed", |_, world: &World| {
            world.last && world.documents.into_iter().flatten().all(|token| token.number == 1)
        }),
    ]
}
