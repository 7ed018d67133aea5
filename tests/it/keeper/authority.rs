//! What a keeper makes of tokens that have ended, of an authority that is away, and of one that says no.

use scripted_authority::{Account, Ending, Endpoint, Outcome, Step, fingerprint};

use super::process::Process;
use crate::manager::world::World;
use crate::support::{Machine, over_both_stores};

over_both_stores!(
    a_token_that_ended_long_ago_is_refreshed_at_once,
    a_dead_login_is_left_alone_until_the_next
);

fn a_token_that_ended_long_ago_is_refreshed_at_once(machine: &mut Machine) {
    let world = World::expired(machine);
    let keeper = Process::of(&world);
    keeper.until("refreshed");
    let token = world.codex(["token"]).run().expect(0);
    assert_eq!(token.out.trim_end(), world.kept("access_token"));
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (1, 1));
    keeper.signal("-TERM");
    assert_eq!(keeper.ended().0, Some(0));
}

fn a_dead_login_is_left_alone_until_the_next(machine: &mut Machine) {
    let world = World::expired(machine);
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    let keeper = Process::of(&world);
    keeper.until("not refreshed");
    for _ in 0..3 {
        keeper.signal("-HUP");
        keeper.until("looking again");
    }
    world.authority.adjust(|policy| policy.clock_offset = -4_000);
    let again = world.authority.grant(Account::numbered(1));
    world.authority.adjust(|policy| policy.clock_offset = 0);
    world.sign_in(&again);
    keeper.until("refreshed");
    let asked: Vec<_> =
        world.authority.journal().into_iter().map(|entry| entry.fingerprint.unwrap()).collect();
    let expected = [&world.grant, &again].map(|grant| fingerprint(&grant.tokens.refresh_token));
    assert_eq!(asked, expected, "the dead one once, and then the new one");
}

/// What it says itself is how long to wait, so that ten attempts are over in seconds.
#[test]
fn an_authority_that_is_away_for_ten_attempts_is_asked_again_until_it_is_back() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    for _ in 0..10 {
        world.authority.script(Endpoint::Refresh, Step::status(503, "away").with_header("Retry-After", "1"));
    }
    let keeper = Process::of(&world);
    let log = keeper.until(" refreshed ");
    assert_eq!(log.iter().filter(|line| line.contains("not refreshed")).count(), 10, "{log:#?}");
    assert_eq!(world.ended(Outcome::Scripted), 10);
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (11, 1));
    assert_eq!(Some(world.kept("refresh_token")), world.live());
}
