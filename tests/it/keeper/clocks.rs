//! A clock that is set forward and back, and what a keeper makes of it.

use std::time::Duration;

use scripted_authority::{Account, Endpoint, Grant, Outcome, fingerprint};

use super::virtual_time::{Hands, Kept};
use crate::manager::world::{PATIENCE, World};
use crate::support::{Machine, eventually};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_clock_that_is_set_forward_brings_the_refresh_and_one_that_is_set_back_brings_none() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hands = Hands::default();
    let kept = Kept::start(&world, &hands);
    let has = |grant: &Grant| {
        let live = world.authority.live_refresh_token(grant.id).map(|token| fingerprint(&token));
        eventually("the snapshot to have what lives", || {
            let held = kept.manager.current().document().unwrap().fingerprint();
            held.map(|held| held.to_string()) == live
        });
    };
    let refreshes = |number: u64| {
        kept.bell.ring();
        world.authority.wait_for_requests(Endpoint::Refresh, number, PATIENCE).unwrap();
        eventually("the answer to be stored", || {
            world.ended(Outcome::Granted) == number && !world.has_rescue()
        });
    };
    // Nine minutes are left, and ten is the least that it leaves.
    hands.set(&world, Duration::from_secs(51 * 60));
    refreshes(1);
    has(&world.grant);
    // Back again: the token has nearly two hours before it, and so has that of a login which it then hears of.
    hands.set(&world, Duration::ZERO);
    kept.bell.ring();
    let other = world.authority.grant(Account::numbered(2));
    world.sign_in(&other);
    has(&other);
    assert_eq!(world.requests(), 1, "a step back costs no token");
    hands.set(&world, Duration::from_secs(51 * 60));
    refreshes(2);
    has(&other);
    // A sleep that outlasts the token.
    hands.set(&world, 10 * HOUR);
    refreshes(3);
    has(&other);
    kept.finish();
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (3, 3));
}
