//! Tokens of every lifetime, and tokens that tell none or nonsense: at most one a minute is spent by itself, and whatever
//! lives is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use codex_auth::Clock;
use codex_auth::manager::{AuthManager, Error, RecoveryStep, RefreshReason};
use jiff::Timestamp;
use scripted_authority::{Expiry, Outcome};

use super::world::{World, block_on};
use crate::support::{Machine, now};

pub(super) const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A login on which time passes as the test says, on the clock of its managers and on the authority's.
pub(super) struct Walk<'a> {
    world: World<'a>,
    begun: i64,
    now: Arc<AtomicI64>,
    /// When a token was spent, in seconds since the beginning.
    spent: Vec<i64>,
}

impl<'a> Walk<'a> {
    pub(super) fn of(machine: &'a mut Machine, lifetime: i64, expiry: Expiry) -> Self {
        let world =
            World::under(machine, |policy| (policy.access_lifetime, policy.expiry) = (lifetime, expiry));
        let begun = now();
        Self { world, begun, now: Arc::new(AtomicI64::new(begun)), spent: Vec::new() }
    }

    fn manager(&self) -> AuthManager {
        let now = Arc::clone(&self.now);
        let clock = Clock::from_fn(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap());
        self.world.builder().clock(clock).open().unwrap()
    }

    /// Does `act` when `passed` seconds have passed, and sees that it spends one token at most.
    pub(super) fn at<T>(&mut self, passed: i64, act: impl FnOnce(&World<'_>) -> T) -> T {
        let moment = self.begun + passed;
        self.now.store(moment, Ordering::SeqCst);
        self.world.authority.adjust(|policy| policy.clock_offset = moment - now());
        let before = self.world.ended(Outcome::Granted);
        let done = act(&self.world);
        match self.world.ended(Outcome::Granted) - before {
            0 => {}
            1 => self.spent.push(passed),
            more => panic!("{more} tokens were spent at once after {passed} s"),
        }
        done
    }

    /// The end of it: no two tokens were spent within a minute.
    pub(super) fn end(self) -> Vec<i64> {
        let close = self.spent.windows(2).find(|pair| pair[1] - pair[0] < MINUTE);
        assert_eq!(close, None, "{:?}", self.spent);
        self.world.nothing_is_spent_twice_or_lost();
        self.spent
    }
}

#[test]
fn a_token_of_any_lifetime_is_served_while_it_lives_and_replaced_in_time() {
    for lifetime in [30, 45, 61, 90, 5 * MINUTE, HOUR, DAY, 30 * DAY] {
        let mut machine = Machine::with_file();
        let mut walk = Walk::of(&mut machine, lifetime, Expiry::Integer);
        let manager = walk.manager();
        let (end, step) = ((3 * lifetime).max(10 * MINUTE), (lifetime / 16).max(5));
        for passed in (0..end).step_by(usize::try_from(step).unwrap()) {
            let answer = walk.at(passed, |_| block_on(manager.token()));
            let now = Timestamp::from_second(walk.begun + passed).unwrap();
            match answer {
                Ok(token) => {
                    assert!(
                        token.snapshot().expires_at(now).unwrap() > now,
                        "{lifetime} s, after {passed} s"
                    );
                }
                // It ends before the next may be had.
                Err(Error::JustReceived) => assert!(lifetime < MINUTE, "{lifetime} s, after {passed} s"),
                Err(error) => panic!("{lifetime} s, after {passed} s: {error}"),
            }
        }
        let spent = walk.end().len();
        let (least, margin) = (end / lifetime.max(MINUTE) - 1, (5 * MINUTE).min(lifetime / 4) + step);
        let most = end / (lifetime - margin).max(MINUTE) + 1;
        assert!((least..=most).contains(&i64::try_from(spent).unwrap()), "{lifetime} s: {spent}");
    }
}

/// Codex goes by `last_refresh` then, and so do we: eight days.
#[test]
fn a_token_that_tells_no_end_is_served_for_eight_days() {
    for expiry in
        [Expiry::Absurd, Expiry::Enormous, Expiry::Float, Expiry::Missing, Expiry::Opaque, Expiry::Text]
    {
        let mut machine = Machine::with_file();
        let mut walk = Walk::of(&mut machine, 30 * DAY, expiry);
        let manager = walk.manager();
        for passed in (0..20 * DAY).step_by(6 * HOUR as usize) {
            let token = walk.at(passed, |_| block_on(manager.token())).unwrap();
            assert_eq!(token.snapshot().expires_at(Timestamp::now()), None, "{expiry:?}");
        }
        assert_eq!(walk.end().len(), 2, "{expiry:?}");
    }
}

/// By its own word it has ended before it came. It is served all the same, until another may be asked for.
#[test]
fn a_token_that_ended_before_it_came_is_asked_for_once_a_minute() {
    let mut machine = Machine::with_file();
    let mut walk = Walk::of(&mut machine, HOUR, Expiry::Negative);
    let manager = walk.manager();
    for passed in (0..10 * MINUTE).step_by(5) {
        walk.at(passed, |_| block_on(manager.token())).unwrap();
    }
    // The first was received with the login.
    assert_eq!(walk.end().len(), 9);
}

/// Two processes, and all that a program may want of a token without being asked by a person.
#[test]
fn all_automatic_reasons_together_spend_one_token_a_minute_and_no_more() {
    for (lifetime, expiry) in [
        (30, Expiry::Integer),
        (10 * MINUTE, Expiry::Integer),
        (30 * DAY, Expiry::Integer),
        (HOUR, Expiry::Missing),
        (HOUR, Expiry::Negative),
        (HOUR, Expiry::Float),
    ] {
        let mut machine = Machine::with_file();
        let mut walk = Walk::of(&mut machine, lifetime, expiry);
        let managers = [walk.manager(), walk.manager()];
        for passed in (0..5 * MINUTE).step_by(5) {
            walk.at(passed, |_| {
                for manager in &managers {
                    block_on(want_everything(manager));
                }
            });
        }
        assert_eq!(walk.end().len(), 5, "{lifetime} s, {expiry:?}");
    }
}

async fn want_everything(manager: &AuthManager) {
    let fine = |error: &Error| assert!(!error.wants_login(), "{error}");
    let _ = manager.token().await.inspect_err(fine);
    for reason in [RefreshReason::Stale, RefreshReason::Keeper, RefreshReason::MinTtl(u64::MAX)] {
        let _ = manager.refresh(reason).await.inspect_err(fine);
    }
    // A server that refuses whatever it is shown.
    let mut recovery = manager.recover(&manager.current());
    while !matches!(recovery.next().await.inspect_err(fine), Ok(RecoveryStep::Exhausted) | Err(_)) {}
}
