//! After a thousand random operations by four watching processes, each of them has the stored login.

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use codex_auth::config::StoreSelection;
use codex_auth::manager::logout::LogoutScope;
use codex_auth::manager::{
    AccountPolicy, AuthManager, Job, JobOutcome, LoginChange, RefreshReason, Snapshot,
};
use codex_auth::{AuthDocument, Environment, Home, Lease, Stores, login, store};
use scripted_authority::{Account, fingerprint};

use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{HelperProcess, Machine, here, report, role, wait_for_input};

const PROCESSES: u32 = 4;
/// Operations of each process.
const OPERATIONS: u32 = 250;
/// How soon after the last operation all processes must have its result.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(1);

#[test]
fn four_processes_that_change_a_login_a_thousand_times_end_with_the_same_snapshot() {
    if let Some(part) = role() {
        return run_actor(&part);
    }
    let seed = seed();
    println!("set TEST_SEED={seed} to repeat this run");
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let supply = world.machine.home.beside("supply");
    for process in 0..PROCESSES {
        let documents = (0..OPERATIONS).map(|number| {
            // Each login has a different account, so that no document is an old copy of another.
            let account = Account::numbered(process * OPERATIONS + number);
            let document: serde_json::Value =
                serde_json::from_str(&world.authority.grant(account).auth_json()).unwrap();
            document.to_string()
        });
        let documents = documents.collect::<Vec<_>>().join("\n");
        fs::write(supply.join(process.to_string()), documents).unwrap();
    }
    let urls = [
        format!("CODEX_REFRESH_TOKEN_URL_OVERRIDE={}", world.authority.token_url()),
        format!("CODEX_REVOKE_TOKEN_URL_OVERRIDE={}", world.authority.revoke_url()),
    ];
    let wrapper = ["env", &urls[0], &urls[1]];
    let test = here!();
    let mut actors: Vec<_> = (0..PROCESSES)
        .map(|process| {
            let part = format!("{process} {seed} {}", supply.display());
            HelperProcess::start_through(&wrapper, test, &part, &world.machine.home)
        })
        .collect();

    let mut effects = 0;
    let mut reported: Vec<_> = actors.iter_mut().map(|actor| read_until_done(actor, &mut effects)).collect();
    let done = Instant::now();
    let stored = fingerprint(&world.stored_token("access_token"));
    for (actor, reported) in actors.iter_mut().zip(&mut reported) {
        while reported.last != stored {
            reported.add(&actor.next_word());
        }
    }
    let converged = done.elapsed();
    let events: Vec<_> = reported.iter().map(|reported| reported.count).collect();
    println!("{effects} changes; events {events:?}; the same everywhere after {converged:.0?}");
    assert!(converged < CONVERGENCE_LIMIT, "{converged:?}");
    assert!(effects > OPERATIONS, "most operations have changed something");

    world.sign_in(&world.grant);
    let last = fingerprint(&world.grant.tokens.access_token);
    for (actor, reported) in actors.iter_mut().zip(&mut reported) {
        reported.add(&actor.next_word());
        assert_eq!(reported.last, last, "nothing else is reported before this");
        assert!(reported.count <= effects + 1, "{} events of {effects} changes", reported.count);
    }
    actors.into_iter().for_each(HelperProcess::finish);
}

/// The events that one process has reported so far.
struct ReportedEvents {
    count: u32,
    last: String,
}

impl ReportedEvents {
    fn add(&mut self, word: &str) {
        let token = word.strip_prefix("event ").unwrap();
        (self.count, self.last) = (self.count + 1, token.to_owned());
    }
}

/// Reads the events of a process until it has finished its operations, and adds the number of its changes to `effects`.
fn read_until_done(actor: &mut HelperProcess, effects: &mut u32) -> ReportedEvents {
    let mut reported = ReportedEvents { count: 0, last: "none".to_owned() };
    loop {
        let word = actor.next_word();
        match word.strip_prefix("done ") {
            Some(count) => {
                *effects += count.parse::<u32>().unwrap();
                return reported;
            }
            None => reported.add(&word),
        }
    }
}

/// Watches the login and changes it by random operations; runs in each process.
fn run_actor(part: &str) {
    let [process, seed, supply] = part.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let documents = fs::read_to_string(Path::new(supply).join(process)).unwrap();
    let mut documents = documents.lines();
    let process: u64 = process.parse().unwrap();
    let mut random = Random(seed.parse::<u64>().unwrap().wrapping_add(process));

    let environment = Environment::of_process().unwrap();
    let home = store::locate(&environment).unwrap();
    let manager = AuthManager::builder(home.clone(), environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    let _watching = manager.watch();
    report_events(&manager);

    let work = Operations { home, environment, manager };
    let mut effects = 0;
    for number in 1..=OPERATIONS {
        let document = documents.next().unwrap();
        // The last operation stores a new login, which shows that a process is up to date.
        let throw = if number == OPERATIONS { 6 } else { random.next_below(10) };
        let effect = match throw {
            0..=2 => work.log_in(document),
            3 | 4 => work.refresh(),
            5 => work.log_out(),
            6 | 7 => work.replace(document, process),
            // Only one process, because two that rewrite a file in place at once make it unreadable.
            8 if process == 0 => work.rewrite(document),
            8 => work.replace(document, process),
            _ => work.delete(),
        };
        effects += u32::from(effect);
    }
    report(&format!("done {effects}"));
    wait_for_input();
}

/// Prints every event with the token at that time.
fn report_events(manager: &AuthManager) {
    let mut snapshots = manager.subscribe();
    let mut known = snapshots.borrow_and_update().clone();
    if known.document().is_some() {
        report(&format!("event {}", token_of(&known)));
    }
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while runtime.block_on(snapshots.changed()).is_ok() {
            let new = snapshots.borrow_and_update().clone();
            if LoginChange::between(&known, &new).is_some() {
                report(&format!("event {}", token_of(&new)));
            }
            known = new;
        }
    });
}

struct Operations {
    home: Home,
    environment: Environment,
    manager: AuthManager,
}

/// The operations. Each returns whether it has changed the login.
impl Operations {
    fn log_in(&self, document: &str) -> bool {
        let stores = Stores::open(self.home.clone(), &self.environment).unwrap();
        let choice = stores.choose(Some(StoreSelection::File)).unwrap();
        let document = AuthDocument::parse(document.as_bytes()).unwrap();
        let lease = Lease::acquire(&self.home, TEST_TIMEOUT, |_| {}).unwrap();
        login::commit_login(&mut stores.writer(&lease).unwrap(), &choice, &document).is_ok()
    }

    /// Refreshes the login that this process knows; does nothing if another process has changed it meanwhile.
    fn refresh(&self) -> bool {
        let job = Job::refresh(RefreshReason::Forced, &self.manager.current(), AccountPolicy::Follow);
        matches!(
            job.run(self.home.clone(), &self.environment, |_| ControlFlow::Continue(())),
            JobOutcome::Served
        )
    }

    fn log_out(&self) -> bool {
        let done = Job::logout(LogoutScope::Local)
            .run(self.home.clone(), &self.environment, |_| ControlFlow::Continue(()));
        matches!(done, JobOutcome::LoggedOut(report) if !report.removed.is_empty())
    }

    fn replace(&self, document: &str, process: u64) -> bool {
        let new = self.home.path().join(format!("new-{process}"));
        fs::write(&new, document).unwrap();
        fs::rename(new, self.home.document()).is_ok()
    }

    fn rewrite(&self, document: &str) -> bool {
        let open = fs::OpenOptions::new().write(true).truncate(true).open(self.home.document());
        open.is_ok_and(|mut file| file.write_all(document.as_bytes()).is_ok())
    }

    fn delete(&self) -> bool {
        fs::remove_file(self.home.document()).is_ok()
    }
}

fn token_of(snapshot: &Snapshot) -> String {
    let token = snapshot.document().and_then(AuthDocument::bearer);
    token.map_or_else(|| "none".to_owned(), |token| token.fingerprint().to_string())
}

/// Returns the seed in `TEST_SEED`, or the current time.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    std::env::var("TEST_SEED").map_or(now, |seed| seed.parse().unwrap())
}

/// `SplitMix64`, a reproducible random number generator.
struct Random(u64);

impl Random {
    fn next_below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % sides
    }
}
