//! Eight programs that behave like Codex 0.169 and do not take the lease: with a keeper they never refresh.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use codex_auth::{AuthDocument, Clock, Timestamp};
use jiff::SignedDuration;
use scripted_authority::{Authority, Endpoint, Outcome, Step};
use serde_json::Value;

use super::virtual_time::{TestClock, TestKeeper};
use crate::manager::world::{World, merged, spend};
use crate::support::{Machine, TestHome, eventually};

const CODEXES: usize = 8;
const EXPIRIES: u64 = 20;
/// Codex refreshes a token that expires within this.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// The latency of a remote authority.
const LATENCY: Duration = Duration::from_millis(50);

/// What all of them did together.
#[derive(Default)]
struct RefreshCounts {
    requests: AtomicU32,
    failures: AtomicU32,
}

/// The home and the authority.
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

/// A Codex process: it keeps the document that it has read, and reads again only when the token is about to expire.
struct Codex {
    document: AuthDocument,
}

impl Codex {
    fn start(scene: Scene<'_>) -> Self {
        Self { document: scene.stored().1 }
    }

    /// Uses its token, after a refresh if Codex would refresh.
    fn use_token(&mut self, scene: Scene<'_>, clock: &Clock, counts: &RefreshCounts) {
        if !self.is_ending(clock) {
            return;
        }
        let (text, document) = scene.stored();
        self.document = document;
        if !self.is_ending(clock) {
            return;
        }
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let refresh_token = &self.document.tokens().unwrap().refresh_token;
        let answer = spend(scene.authority, refresh_token.as_ref().unwrap().expose());
        if answer["access_token"] == Value::Null {
            counts.failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The authority accepts a token once, so only one process writes.
        let new = scene.home.write("new", merged(&text, &answer));
        fs::rename(new, scene.home.document()).unwrap();
        self.document = scene.stored().1;
    }

    fn is_ending(&self, clock: &Clock) -> bool {
        self.document.access_claims().expires_at.unwrap().duration_since(clock.now()) < WINDOW
    }
}

/// Lets `expiries` tokens expire, and lets every process use its token before and shortly before each expiry.
fn run_expiries(
    world: &World<'_>,
    hands: &TestClock,
    keeper: Option<&TestKeeper>,
    expiries: u64,
) -> RefreshCounts {
    world.authority.script_always(Endpoint::Refresh, Step::default().delayed(LATENCY));
    let scene = Scene { home: &world.machine.home, authority: &world.authority };
    let counts = RefreshCounts::default();
    let mut processes: Vec<_> = (0..CODEXES).map(|_| Codex::start(scene)).collect();
    let clock = hands.clock();
    for number in 1..=expiries {
        let end = scene.end_of_stored();
        let all_at = |processes: &mut Vec<Codex>, before: SignedDuration| {
            hands.set_to(world, end - before);
            if let Some(keeper) = keeper {
                // It checks the clock every 30 s; the trigger saves that wait.
                keeper.watches.reload();
                eventually("the keeper to be done", || {
                    world.requests_with(Outcome::Granted) == number && scene.end_of_stored() > end
                });
            }
            thread::scope(|scope| {
                for codex in processes {
                    let (clock, counts) = (&clock, &counts);
                    scope.spawn(move || codex.use_token(scene, clock, counts));
                }
            });
        };
        // The keeper refreshes now; Codex does not yet.
        all_at(&mut processes, SignedDuration::from_mins(9));
        all_at(&mut processes, SignedDuration::from_mins(4));
    }
    counts
}

#[test]
fn with_a_keeper_eight_codex_processes_never_refresh_over_twenty_expiries() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hands = TestClock::default();
    let keeper = TestKeeper::start(&world, &hands);
    let counts = run_expiries(&world, &hands, Some(&keeper), EXPIRIES);
    keeper.finish();
    assert_eq!((counts.requests.into_inner(), counts.failures.into_inner()), (0, 0));
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (EXPIRIES, EXPIRIES));
}

#[test]
fn without_a_keeper_eight_codex_processes_race_at_every_expiry() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let expiries = 5;
    let counts = run_expiries(&world, &TestClock::default(), None, expiries);
    let (requests, failures) = (counts.requests.into_inner(), counts.failures.into_inner());
    println!("{requests} requests and {failures} failures at {expiries} expiries");
    assert!(u64::from(requests) > expiries && failures > 0, "{requests} requests, {failures} failures");
    assert_eq!(
        world.requests_with(Outcome::Granted),
        expiries,
        "one request succeeds each time, and the others fail"
    );
}
