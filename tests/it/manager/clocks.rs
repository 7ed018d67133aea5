//! Clocks that are wrong: whatever a wall clock does, nothing is spent twice, and nothing live is deleted or ignored.

use scripted_authority::{Ending, Endpoint, Reuse, Step, TokenState};

use super::crashes::STEPS;
use super::lifetimes::{MINUTE, Walk};
use super::world::World;
use crate::support::{Machine, Pause, WallClock, over_both_stores};
use scripted_authority::Expiry;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

over_both_stores!(
    a_step_of_a_day_at_any_step_of_the_transaction_costs_nothing,
    a_rescue_of_another_day_is_committed,
    a_container_an_hour_behind_shares_the_login,
);

/// The login of a world where one token sent twice ends everything.
fn unforgiving(world: World<'_>) -> World<'_> {
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    world
}

/// The clock is right up to the step, a day off until the next run has ended, and right again after that.
fn a_step_of_a_day_at_any_step_of_the_transaction_costs_nothing(machine: &mut Machine) {
    let clock = WallClock::ahead_by(0);
    for (step, shift) in STEPS.iter().flat_map(|(step, _)| [(step, DAY), (step, -DAY)]) {
        let world = unforgiving(World::expired(machine));
        let what = format!("{shift} s at {step}");
        let pause = Pause::at(step);
        let child = pause.govern(clock.govern(world.codex(["token"]))).start();
        let standing = pause.arrived();
        clock.set(shift);
        drop(standing);
        let output = child.wait_with_output().unwrap();
        // To a clock that is ahead, what came just now has ended already.
        assert!(matches!(output.status.code(), Some(0 | 4)), "{what}: {output:?}");
        let next = clock.govern(world.codex(["token"])).run();
        assert!(matches!(next.code, Some(0 | 4)), "{what}: {next}");

        clock.set(0);
        let ended = clock.govern(world.codex(["token"])).run().expect(0);
        assert_eq!(world.authority.state_of(ended.out.trim_end()), TokenState::Live, "{what}");
        world.nothing_is_spent_twice_or_lost();
        world.codex(["refresh"]).run().expect(0);
        world.nothing_is_spent_twice_or_lost();
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

fn a_rescue_of_another_day_is_committed(machine: &mut Machine) {
    for shift in [DAY, -DAY] {
        let world = unforgiving(World::expired(machine));
        let clock = WallClock::ahead_by(shift);
        let killed = world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill");
        clock.govern(killed).run().expect(4);
        assert!(world.has_rescue());
        let ended = world.codex(["token"]).run().expect(0);
        assert_eq!(world.authority.state_of(ended.out.trim_end()), TokenState::Live);
        assert_eq!(world.requests(), 1);
        world.nothing_is_spent_twice_or_lost();
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

fn a_container_an_hour_behind_shares_the_login(machine: &mut Machine) {
    let world = unforgiving(World::expired(machine));
    let container = WallClock::ahead_by(-HOUR);
    for _ in 0..5 {
        let children: Vec<_> = (0..4)
            .flat_map(|_| [world.codex(["refresh"]), container.govern(world.codex(["refresh"]))])
            .map(crate::support::Run::start)
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        world.nothing_is_spent_twice_or_lost();
        for run in [world.codex(["token"]), container.govern(world.codex(["token"]))] {
            assert_eq!(run.run().expect(0).out.trim_end(), world.kept("access_token"));
        }
    }
    // Either takes over what the other has left half-way.
    for behind in [false, true] {
        let requests = world.requests();
        let here = |run| if behind { container.govern(run) } else { run };
        let there = |run| if behind { run } else { container.govern(run) };
        here(world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill")).run().expect(4);
        there(world.codex(["refresh"])).run().expect(0);
        assert_eq!(world.requests(), requests + 1);
        world.nothing_is_spent_twice_or_lost();
    }
}

#[test]
fn a_pause_that_another_clock_set_holds_nobody_back() {
    for shift in [DAY, -DAY] {
        for (status, code) in [(503, "busy"), (401, "something_else")] {
            let mut machine = Machine::with_file();
            let world = World::expired(&mut machine);
            let clock = WallClock::ahead_by(shift);
            let step = Step::status(status, code).with_header("Retry-After", "1800");
            world.authority.script(Endpoint::Refresh, step);
            let ended = clock.govern(world.codex(["refresh"])).run();
            assert!(matches!(ended.code, Some(3 | 4)), "{ended}");
            world.codex(["token"]).run().expect(0);
            assert_eq!(world.requests(), 2);
        }
    }
}

#[test]
fn a_dead_credential_is_dead_by_every_clock() {
    for shift in [DAY, -DAY, -HOUR] {
        let mut machine = Machine::with_file();
        let world = World::expired(&mut machine);
        world.authority.end(world.grant.id, Ending::RefreshInvalidated);
        let clock = WallClock::ahead_by(shift);
        for _ in 0..2 {
            clock.govern(world.codex(["refresh"])).run().refused(3);
            world.codex(["refresh"]).run().refused(3);
            world.codex(["token"]).run().refused(3);
        }
        assert_eq!(world.requests(), 1);
    }
}

#[test]
fn the_program_spends_one_token_a_minute_where_tokens_live_for_half_of_one() {
    for expiry in [Expiry::Integer, Expiry::Negative] {
        let mut machine = Machine::with_file();
        let mut walk = Walk::of(&mut machine, 30, expiry);
        let clock = WallClock::ahead_by(0);
        for passed in (0..4 * MINUTE).step_by(15) {
            clock.set(passed);
            walk.at(passed, |world| {
                for arguments in [&["token"][..], &["token", "--min-ttl", "1h"]] {
                    let ended = clock.govern(world.codex(arguments.iter().copied())).run();
                    assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
                }
            });
        }
        let spent = walk.end();
        assert!((3..=4).contains(&spent.len()), "{expiry:?}: {spent:?}");
    }
}
