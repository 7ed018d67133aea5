//! A model of homes whose documents are links: which of them share a lock, a state and a rescue.
//!
//! It models two processes, each with a home, that refresh, may die between any two steps and complete a rescue; links
//! that change at any moment; and an authority that revokes a login when a token is sent twice.

mod mutations;
mod protocol;
mod world;

use stateright::Property;

use super::check::holds;
use super::world::Login;
use protocol::Protocol;
use world::{Breach, Step, World};

const ONE_REQUEST: &str = "no token is sent twice";
const ACCOUNTS_APART: &str = "another login is never overwritten";
const NOTHING_LOST: &str = "every login is alive, and its live token is kept";
const NO_LEFTOVERS: &str = "in the end no document that is linked to has a rescue";
const ALL_END: &str = "every run ends";

/// Both homes link to one document.
const SHARED: Protocol = Protocol {
    logins: [None, None, Some(Login::First), Some(Login::Other)],
    folders: [0, 1, 2, 3],
    links: [2, 2],
    turns: 1,
    failures: 2,
    mutation: None,
};
/// Each home links to its own document, both in one folder.
const ONE_FOLDER: Protocol = Protocol { folders: [0, 1, 2, 2], links: [2, 3], ..SHARED };
/// Each home links to a document in the other one.
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
                || crate::model::can_continue(protocol, world)
        }),
        Property::sometimes("a commit goes to the previous target of a link", |_, world: &World| {
            world.committed_elsewhere
        }),
        Property::sometimes("the last holder commits a rescue", |_, world: &World| {
            world.last && world.processes.iter().any(|process| matches!(process.step, Step::Recording(_)))
        }),
        Property::sometimes("every login is refreshed", |_, world: &World| {
            world.last && world.documents.into_iter().flatten().all(|token| token.number == 1)
        }),
    ]
}
