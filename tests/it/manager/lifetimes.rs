//! Tokens with any, no or an invalid lifetime: automatic refreshes spend at most one per minute, and valid tokens are
//! served.

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

/// A login whose managers and authority have a clock that the test sets.
pub(super) struct Walk<'a> {
    world: World<'a>,
    start: i64,
    now: Arc<AtomicI64>,
    /// When a token was spent, in seconds since the start.
    spent: Vec<i64>,
}

impl<'a> Walk<'a> {
    pub(super) fn of(machine: &'a mut Machine, lifetime: i64, expiry: Expiry) -> Self {
        let world = World::with_policy(machine, |policy| {
            (policy.access_lifetime, policy.expiry) = (lifetime, expiry);
        });
        let start = now();
        Self { world, start, now: Arc::new(AtomicI64::new(start)), spent: Vec::new() }
    }

    fn manager(&self) -> AuthManager {
        let now = Arc::clone(&self.now);
        let clock = Clock::from_fn(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap());
        self.world.builder().clock(clock).open().unwrap()
    }

    /// Calls `act` after `passed` seconds, and asserts that it spends at most one token.
    pub(super) fn at<T>(&mut self, passed: i64, act: impl FnOnce(&World<'_>) -> T) -> T {
        let moment = self.start + passed;
        self.now.store(moment, Ordering::SeqCst);
        self.world.authority.adjust(|policy| policy.clock_offset = moment - now());
        let before = self.world.requests_with(Outcome::Granted);
        let done = act(&self.world);
        match self.world.requests_with(Outcome::Granted) - before {
            0 => {}
            1 => self.spent.push(passed),
            more => panic!("{more} tokens were spent at once after {passed} s"),
        }
        done
    }

    /// Asserts that no two tokens were spent within a minute, and returns when they were.
    pub(super) fn end(self) -> Vec<i64> {
        let close = self.spent.windows(2).find(|pair| pair[1] - pair[0] < MINUTE);
        assert_eq!(close, None, "{:?}", self.spent);
        self.world.assert_no_token_reused_or_lost();
        self.spent
    }
}

#[test]
fn a_token_of_any_lifetime_is_served_until_it_expires_and_refreshed_in_time() {
    for lifetime in [30, 45, 61, 90, 5 * MINUTE, HOUR, DAY, 30 * DAY] {
        let mut machine = Machine::with_file();
        let mut walk = Walk::of(&mut machine, lifetime, Expiry::Integer);
        let manager = walk.manager();
        let (end, step) = ((3 * lifetime).max(10 * MINUTE), (lifetime / 16).max(5));
        for passed in (0..end).step_by(usize::try_from(step).unwrap()) {
            let answer = walk.at(passed, |_| block_on(manager.token()));
            let now = Timestamp::from_second(walk.start + passed).unwrap();
            match answer {
                Ok(token) => {
                    assert!(
                        token.snapshot().expires_at(now).unwrap() > now,
                        "{lifetime} s, after {passed} s"
                    );
                }
                // It expires before the next refresh is allowed.
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

/// As Codex does, by `last_refresh`.
#[test]
fn a_token_without_expiry_is_served_for_eight_days() {
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

/// It is served until another refresh is allowed.
#[test]
fn a_token_that_has_expired_on_arrival_is_refreshed_once_per_minute() {
    let mut machine = Machine::with_file();
    let mut walk = Walk::of(&mut machine, HOUR, Expiry::Negative);
    let manager = walk.manager();
    for passed in (0..10 * MINUTE).step_by(5) {
        walk.at(passed, |_| block_on(manager.token())).unwrap();
    }
    // The first token came with the login.
    assert_eq!(walk.end().len(), 9);
}

/// Two processes, and every automatic reason.
#[test]
fn all_automatic_reasons_together_spend_one_token_per_minute() {
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
    // A server that refuses every token.
    let mut recovery = manager.recover(&manager.current());
    while !matches!(recovery.next().await.inspect_err(fine), Ok(RecoveryStep::Exhausted) | Err(_)) {}
}
