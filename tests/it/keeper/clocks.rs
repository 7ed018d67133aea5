//! A keeper whose clock is set forward and back.

use std::time::Duration;

use scripted_authority::{Account, Endpoint, Grant, Outcome, fingerprint};

use super::virtual_time::{TestClock, TestKeeper};
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, eventually};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn setting_the_clock_forward_causes_a_refresh_and_setting_it_back_does_not() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let clock = TestClock::default();
    let keeper = TestKeeper::start(&world, &clock);
    let has = |grant: &Grant| {
        let live = world.authority.live_refresh_token(grant.id).map(|token| fingerprint(&token));
        eventually("the snapshot to hold the valid token", || {
            let fingerprint = keeper.manager.current().document().unwrap().fingerprint();
            fingerprint.map(|fingerprint| fingerprint.to_string()) == live
        });
    };
    let refreshes = |number: u64| {
        keeper.watches.reload();
        world.authority.wait_for_requests(Endpoint::Refresh, number, TEST_TIMEOUT).unwrap();
        eventually("the response to be stored", || {
            world.requests_with(Outcome::Granted) == number && !world.has_rescue()
        });
    };
    // Nine minutes are left; the keeper refreshes at ten.
    clock.set(&world, Duration::from_secs(51 * 60));
    refreshes(1);
    has(&world.grant);
    // Back again: both this token and that of the next login are valid for nearly two hours.
    clock.set(&world, Duration::ZERO);
    keeper.watches.reload();
    let other = world.authority.grant(Account::numbered(2));
    world.sign_in(&other);
    has(&other);
    assert_eq!(world.requests(), 1, "setting the clock back spends no token");
    clock.set(&world, Duration::from_secs(51 * 60));
    refreshes(2);
    has(&other);
    // A suspend that is longer than the token's lifetime.
    clock.set(&world, 10 * HOUR);
    refreshes(3);
    has(&other);
    keeper.finish();
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (3, 3));
}
