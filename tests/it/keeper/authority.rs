//! A keeper with expired tokens, an unavailable authority and a rejected refresh token.

use scripted_authority::{Account, Ending, Endpoint, Outcome, Step, fingerprint};

use super::process::Process;
use crate::manager::world::World;
use crate::support::{Machine, over_both_stores};

over_both_stores!(
    a_keeper_refreshes_an_expired_token_at_once,
    a_keeper_does_not_retry_a_poisoned_login_until_the_next_one
);

fn a_keeper_refreshes_an_expired_token_at_once(machine: &mut Machine) {
    let world = World::expired(machine);
    let keeper = Process::of(&world);
    keeper.until("refreshed");
    let token = world.codex(["token"]).run().expect(0);
    assert_eq!(token.out.trim_end(), world.stored_token("access_token"));
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (1, 1));
    keeper.signal("-TERM");
    assert_eq!(keeper.wait().0, Some(0));
}

fn a_keeper_does_not_retry_a_poisoned_login_until_the_next_one(machine: &mut Machine) {
    let world = World::expired(machine);
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    let keeper = Process::of(&world);
    keeper.until("not refreshed");
    for _ in 0..3 {
        keeper.signal("-HUP");
        keeper.until("reloading the login");
    }
    world.authority.adjust(|policy| policy.clock_offset = -4_000);
    let again = world.authority.grant(Account::numbered(1));
    world.authority.adjust(|policy| policy.clock_offset = 0);
    world.sign_in(&again);
    keeper.until("refreshed");
    let asked: Vec<_> =
        world.authority.journal().into_iter().map(|entry| entry.fingerprint.unwrap()).collect();
    let expected = [&world.grant, &again].map(|grant| fingerprint(&grant.tokens.refresh_token));
    assert_eq!(asked, expected, "the rejected token once, then the new one");
}

/// `Retry-After` is one second, so ten attempts take seconds.
#[test]
fn an_unavailable_authority_is_retried_until_it_is_back() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    for _ in 0..10 {
        world.authority.script(Endpoint::Refresh, Step::status(503, "away").with_header("Retry-After", "1"));
    }
    let keeper = Process::of(&world);
    let log = keeper.until(" refreshed ");
    assert_eq!(log.iter().filter(|line| line.contains("not refreshed")).count(), 10, "{log:#?}");
    assert_eq!(world.requests_with(Outcome::Scripted), 10);
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (11, 1));
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}
