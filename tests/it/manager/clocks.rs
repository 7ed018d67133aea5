//! Wrong clocks: no token is spent twice, and no valid token is deleted or ignored.

use scripted_authority::{Edit, Ending, Endpoint, Reuse, Step, TokenState};
use serde_json::json;

use super::crashes::STEPS;
use super::lifetimes::{MINUTE, Walk};
use super::world::World;
use crate::support::{Machine, Pause, WallClock, jwt, now, over_both_stores};
use scripted_authority::Expiry;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

over_both_stores!(
    a_clock_jump_of_a_day_at_any_step_loses_no_token,
    a_rescue_from_another_day_is_committed,
    a_container_an_hour_behind_shares_the_login,
);

/// Makes the authority revoke the whole family when a token is sent twice.
fn unforgiving(world: World<'_>) -> World<'_> {
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    world
}

/// The clock is a day off from the step until the next run has ended.
fn a_clock_jump_of_a_day_at_any_step_loses_no_token(machine: &mut Machine) {
    let clock = WallClock::ahead_by(0);
    for (step, shift) in STEPS.iter().flat_map(|(step, _)| [(step, DAY), (step, -DAY)]) {
        let world = unforgiving(World::expired(machine));
        let what = format!("{shift} s at {step}");
        let pause = Pause::at(step);
        let child = pause.apply_to(clock.apply_to(world.codex(["token"]))).start();
        let standing = pause.wait();
        clock.set(shift);
        drop(standing);
        let output = child.wait_with_output().unwrap();
        // By a clock that is ahead, a new token has already expired.
        assert!(matches!(output.status.code(), Some(0 | 4)), "{what}: {output:?}");
        let next = clock.apply_to(world.codex(["token"])).run();
        assert!(matches!(next.code, Some(0 | 4)), "{what}: {next}");

        clock.set(0);
        let ended = clock.apply_to(world.codex(["token"])).run().expect(0);
        assert_eq!(world.authority.state_of(ended.out.trim_end()), TokenState::Live, "{what}");
        world.assert_no_token_reused_or_lost();
        world.codex(["refresh"]).run().expect(0);
        world.assert_no_token_reused_or_lost();
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

fn a_rescue_from_another_day_is_committed(machine: &mut Machine) {
    for shift in [DAY, -DAY] {
        let world = unforgiving(World::expired(machine));
        let clock = WallClock::ahead_by(shift);
        let killed = world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill");
        clock.apply_to(killed).run().expect(4);
        assert!(world.has_rescue());
        let ended = world.codex(["token"]).run().expect(0);
        assert_eq!(world.authority.state_of(ended.out.trim_end()), TokenState::Live);
        assert_eq!(world.requests(), 1);
        world.assert_no_token_reused_or_lost();
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

fn a_container_an_hour_behind_shares_the_login(machine: &mut Machine) {
    let world = unforgiving(World::expired(machine));
    let container = WallClock::ahead_by(-HOUR);
    for _ in 0..5 {
        let children: Vec<_> = (0..4)
            .flat_map(|_| [world.codex(["refresh"]), container.apply_to(world.codex(["refresh"]))])
            .map(crate::support::Run::start)
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        world.assert_no_token_reused_or_lost();
        for run in [world.codex(["token"]), container.apply_to(world.codex(["token"]))] {
            assert_eq!(run.run().expect(0).out.trim_end(), world.stored_token("access_token"));
        }
    }
    // Each completes the rescue that the other has left.
    for behind in [false, true] {
        let requests = world.requests();
        let here = |run| if behind { container.apply_to(run) } else { run };
        let there = |run| if behind { run } else { container.apply_to(run) };
        here(world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill")).run().expect(4);
        there(world.codex(["refresh"])).run().expect(0);
        assert_eq!(world.requests(), requests + 1);
        world.assert_no_token_reused_or_lost();
    }
}

#[test]
fn a_back_off_set_by_a_wrong_clock_blocks_no_process() {
    for shift in [DAY, -DAY] {
        for (status, code) in [(503, "busy"), (401, "something_else")] {
            let mut machine = Machine::with_file();
            let world = World::expired(&mut machine);
            let clock = WallClock::ahead_by(shift);
            let step = Step::status(status, code).with_header("Retry-After", "1800");
            world.authority.script(Endpoint::Refresh, step);
            let ended = clock.apply_to(world.codex(["refresh"])).run();
            assert!(matches!(ended.code, Some(3 | 4)), "{ended}");
            world.codex(["token"]).run().expect(0);
            assert_eq!(world.requests(), 2);
        }
    }
}

#[test]
fn a_poisoned_credential_is_poisoned_by_every_clock() {
    for shift in [DAY, -DAY, -HOUR] {
        let mut machine = Machine::with_file();
        let world = World::expired(&mut machine);
        world.authority.end(world.grant.id, Ending::RefreshInvalidated);
        let clock = WallClock::ahead_by(shift);
        for _ in 0..2 {
            clock.apply_to(world.codex(["refresh"])).run().refused(3);
            world.codex(["refresh"]).run().refused(3);
            world.codex(["token"]).run().refused(3);
        }
        assert_eq!(world.requests(), 1);
    }
}

#[test]
fn the_program_spends_one_token_per_minute_when_tokens_last_half_a_minute() {
    for expiry in [Expiry::Integer, Expiry::Negative] {
        let mut machine = Machine::with_file();
        let mut walk = Walk::of(&mut machine, 30, expiry);
        let clock = WallClock::ahead_by(0);
        for passed in (0..4 * MINUTE).step_by(15) {
            clock.set(passed);
            walk.at(passed, |world| {
                for arguments in [&["token"][..], &["token", "--min-ttl", "1h"]] {
                    let ended = clock.apply_to(world.codex(arguments.iter().copied())).run();
                    assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
                }
            });
        }
        let spent = walk.end();
        assert!((3..=4).contains(&spent.len()), "{expiry:?}: {spent:?}");
    }
}

/// Runs `codex token` by `clock` at these seconds, and returns how many requests were sent.
fn tokens_at(world: &World<'_>, clock: &WallClock, shift: i64, moments: &[i64]) -> u64 {
    let before = world.requests();
    for passed in moments {
        clock.set(shift + passed);
        let ended = clock.apply_to(world.codex(["token"])).run().expect(0);
        assert_eq!(ended.out.trim_end(), world.stored_token("access_token"), "{shift} s, after {passed} s");
        let status = clock.apply_to(world.codex(["status", "--json"])).run().expect(0).json();
        let token = clock.apply_to(world.codex(["token", "--json"])).run().expect(0).json();
        assert_eq!((&status["usable"], &status["expires_at"]), (&json!(true), &token["expires_at"]));
    }
    world.requests() - before
}

#[test]
fn a_clock_off_by_more_than_a_token_lifetime_still_spends_one_token_per_lifetime() {
    for shift in [2 * DAY, -2 * DAY] {
        let mut machine = Machine::with_file();
        let world = unforgiving(World::expired(&mut machine));
        let clock = WallClock::ahead_by(shift);
        clock.apply_to(world.codex(["refresh"])).run().expect(0);
        assert_eq!(
            tokens_at(&world, &clock, shift, &[0, 1, 30, 70, 20 * MINUTE, 50 * MINUTE]),
            0,
            "{shift} s"
        );
        assert_eq!(
            tokens_at(&world, &clock, shift, &[58 * MINUTE, 59 * MINUTE, 62 * MINUTE]),
            1,
            "{shift} s"
        );
        world.assert_no_token_reused_or_lost();
    }
}

#[test]
fn setting_the_clock_after_a_refresh_costs_at_most_one_token() {
    for (first, then, asked) in [(0, 2 * DAY, 1), (0, -2 * DAY, 0), (2 * DAY, 0, 0), (-2 * DAY, 0, 0)] {
        let mut machine = Machine::with_file();
        let world = unforgiving(World::expired(&mut machine));
        let clock = WallClock::ahead_by(first);
        clock.apply_to(world.codex(["refresh"])).run().expect(0);
        assert_eq!(tokens_at(&world, &clock, then, &[1, 2, 30, 70]), asked, "{first} s, then {then} s");
        // Back to the first shift.
        assert_eq!(tokens_at(&world, &clock, first, &[100, 101]), 0, "{first} s, then {then} s and back");
        world.assert_no_token_reused_or_lost();
    }
}

#[test]
fn a_token_without_lifetime_is_served_by_a_wrong_clock_and_refreshed_once_per_minute() {
    for (shift, claim, asked) in
        [(2 * DAY, "iat", 2), (-2 * DAY, "iat", 0), (2 * DAY, "exp", 0), (-2 * DAY, "exp", 0)]
    {
        let mut machine = Machine::with_file();
        let world = World::expired(&mut machine);
        let mut claims = json!({"iat": now(), "exp": now() + HOUR});
        claims.as_object_mut().unwrap().remove(claim);
        let step = Step::edited("access_token", Edit::Value(json!(jwt(&claims))));
        world.authority.script_always(Endpoint::Refresh, step);
        let clock = WallClock::ahead_by(shift);
        clock.apply_to(world.codex(["refresh"])).run().expect(0);
        let moments = [0, 1, 20, 40, 70, 75, 90, 120, 135, 140];
        assert_eq!(tokens_at(&world, &clock, shift, &moments), asked, "{shift} s, without {claim}");
    }
}
