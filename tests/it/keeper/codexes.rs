//! Eight programs that know nothing of our lock, and behave as Codex 0.169 does: with a keeper they never refresh.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use codex_auth::{AuthDocument, Clock, Timestamp};
use jiff::SignedDuration;
use scripted_authority::{Authority, Endpoint, Outcome, Step};
use serde_json::Value;

use super::virtual_time::{Hands, Kept};
use crate::manager::world::{World, merged, post};
use crate::support::{Machine, TestHome, eventually};

const CODEXES: usize = 8;
const EXPIRIES: u64 = 20;
/// Codex refreshes a token that ends within this (`codex-blackbox.md` 3).
const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// What an authority on the other side of a network takes.
const LATENCY: Duration = Duration::from_millis(50);

/// What they have done together.
#[derive(Default)]
struct Toll {
    requests: AtomicU32,
    failures: AtomicU32,
}

/// Where they all live.
#[derive(Clone, Copy)]
struct Scene<'a> {
    home: &'a TestHome,
    authority: &'a Authority,
}

impl Scene<'_> {
    fn stored(self) -> (String, AuthDocument) {
        let text = self.home.read("auth.json");
        let document = AuthDocument::parse(text.as_bytes()).unwrap();
        (text, document)
    }

    fn end_of_stored(self) -> Timestamp {
        self.stored().1.access_claims().expires_at.unwrap()
    }
}

/// A Codex: it holds what it has read, and looks again only when that is about to end (`codex-blackbox.md` 0).
struct Codex {
    document: AuthDocument,
}

impl Codex {
    fn start(scene: Scene<'_>) -> Self {
        Self { document: scene.stored().1 }
    }

    /// Uses its token, after the refresh that it finds necessary.
    fn use_token(&mut self, scene: Scene<'_>, clock: &Clock, toll: &Toll) {
        if !self.is_ending(clock) {
            return;
        }
        let (text, document) = scene.stored();
        self.document = document;
        if !self.is_ending(clock) {
            return;
        }
        toll.requests.fetch_add(1, Ordering::Relaxed);
        let refresh_token = &self.document.tokens().unwrap().refresh_token;
        let answer = post(scene.authority, refresh_token.as_ref().unwrap().expose());
        if answer["access_token"] == Value::Null {
            toll.failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Only the one whose token was still good gets here, so nobody writes at the same time.
        let new = scene.home.write("new", merged(&text, &answer));
        fs::rename(new, scene.home.document()).unwrap();
        self.document = scene.stored().1;
    }

    fn is_ending(&self, clock: &Clock) -> bool {
        self.document.access_claims().expires_at.unwrap().duration_since(clock.now()) < WINDOW
    }
}

/// Lives through the end of as many tokens as there are to be, and has all of them use theirs before and near each end.
fn live_through(world: &World<'_>, hands: &Hands, kept: Option<&Kept>, expiries: u64) -> Toll {
    world.authority.script_always(Endpoint::Refresh, Step::default().delayed(LATENCY));
    let scene = Scene { home: &world.machine.home, authority: &world.authority };
    let toll = Toll::default();
    let mut codexes: Vec<_> = (0..CODEXES).map(|_| Codex::start(scene)).collect();
    let clock = hands.clock();
    for number in 1..=expiries {
        let end = scene.end_of_stored();
        let all_at = |codexes: &mut Vec<Codex>, before: SignedDuration| {
            hands.set_to(world, end - before);
            if let Some(kept) = kept {
                // It looks at the clock every 30 s; here that takes no time.
                kept.bell.ring();
                eventually("the keeper to be done", || {
                    world.ended(Outcome::Granted) == number && scene.end_of_stored() > end
                });
            }
            thread::scope(|scope| {
                for codex in codexes {
                    let (clock, toll) = (&clock, &toll);
                    scope.spawn(move || codex.use_token(scene, clock, toll));
                }
            });
        };
        // The keeper's time has come and Codex's has not.
        all_at(&mut codexes, SignedDuration::from_mins(9));
        all_at(&mut codexes, SignedDuration::from_mins(4));
    }
    toll
}

#[test]
fn with_a_keeper_eight_codexes_never_refresh_over_twenty_expiries() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hands = Hands::default();
    let kept = Kept::start(&world, &hands);
    let toll = live_through(&world, &hands, Some(&kept), EXPIRIES);
    kept.finish();
    assert_eq!((toll.requests.into_inner(), toll.failures.into_inner()), (0, 0));
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (EXPIRIES, EXPIRIES));
}

#[test]
fn without_a_keeper_eight_codexes_race_at_every_expiry() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let expiries = 5;
    let toll = live_through(&world, &Hands::default(), None, expiries);
    let (requests, failures) = (toll.requests.into_inner(), toll.failures.into_inner());
    println!("{requests} requests and {failures} failures at {expiries} expiries");
    assert!(u64::from(requests) > expiries && failures > 0, "{requests} requests, {failures} failures");
    assert_eq!(world.ended(Outcome::Granted), expiries, "one is served each time, and the others fail");
}
