//! Terminals of four accounts, a keeper, switches and other programs, through many expiries.
//!
//! A round has two parts. In the first a program without our lease, sometimes OpenAI's Codex, refreshes the active account,
//! and it may become inactive meanwhile. Then two hours pass, so that every token has expired, and all terminals ask at
//! once, while the active account changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use codex_auth::Secret;
use codex_auth::manager::{AccountPolicy, AuthManager};
use scripted_authority::{Account, Endpoint, Outcome, Reuse};
use serde_json::Value;

use super::keeper::{self, Part};
use super::{Random, Soak};
use crate::accounts::world::{World, refresh_token};
use crate::app_server::client::Client;
use crate::interop::codex::codex_0171;
use crate::manager::rounds::ROUND;
use crate::manager::world::{merged, spend};
use crate::support::{HelperProcess, Run, here, read_word, report, role};

const NAMES: [&str; 4] = ["one", "two", "three", "four"];
const ONE: &str = "one request per account and expiry, none refused";
const OTHER: &str = "no token of another account for a command that named one";
const ACTIVE: &str = "a command that named none got a token, unless the account changed";
const KEPT: &str = "no login is lost, but of another program's request that a switch cut";
const SWITCHED: &str = "each switch succeeds";
/// How long a terminal or a switch may wait before it starts, in milliseconds.
const SPREAD: usize = 40;

#[test]
fn keeps_its_promises() {
    let test = here!();
    match role().as_deref() {
        Some("keeper") => return keeper::keep(),
        Some(_) => return use_terminal(),
        None => {}
    }
    let mut soak = Soak::begin(&[ONE, OTHER, ACTIVE, KEPT, SWITCHED]);
    let mut scene = Scene::new(test, if soak.is_long() { 8 } else { 5 });
    while soak.has_time() {
        if soak.random.below(3) == 0 {
            scene.let_another_program_refresh(&mut soak);
        }
        scene.expire(&mut soak);
        if soak.random.below(20) == 0 {
            scene.start_or_end_keeper();
        }
    }
    let count = usize::try_from(scene.passed / ROUND).unwrap();
    soak.count("expiries per account", count);
    scene.terminals.into_iter().for_each(|(_, process)| process.finish());
    scene.keeper.into_iter().for_each(HelperProcess::finish);
    soak.finish();
}

struct Scene {
    test: &'static str,
    world: World,
    documents: Vec<PathBuf>,
    /// The terminals, each with the account that it names.
    terminals: Vec<(Option<usize>, HelperProcess)>,
    keeper: Option<HelperProcess>,
    passed: i64,
}

impl Scene {
    fn new(test: &'static str, terminals: usize) -> Self {
        let world = World::with(&NAMES);
        world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
        let documents: Vec<_> = NAMES.iter().map(|name| world.document(name)).collect();
        let start = |number: usize| {
            // Each account has a terminal; a quarter of them names none.
            let named = (number % 5 < 4).then_some(number % 5);
            let home = named.map_or_else(|| world.home.path(), |at| folder(&documents[at]).to_owned());
            let variable = format!("CODEX_HOME={}", home.display());
            let mut process =
                HelperProcess::start_through(&["env", &variable], test, "terminal", &world.home);
            process.send(&world.authority.token_url());
            process.await_word("ready");
            (named, process)
        };
        let terminals = (0..terminals).map(start).collect();
        let mut scene = Self { test, documents, terminals, keeper: None, passed: 0, world };
        scene.start_or_end_keeper();
        scene
    }

    fn start_or_end_keeper(&mut self) {
        match self.keeper.take() {
            Some(keeper) => keeper.finish(),
            None => {
                let url = self.world.authority.token_url();
                self.keeper = Some(keeper::start(self.test, &self.world.home, &url, self.passed));
            }
        }
    }

    fn access_tokens(&self) -> Vec<String> {
        let latest = self.world.grants.iter().map(|grant| self.world.authority.latest(grant.id).unwrap());
        latest.map(|grant| grant.tokens.access_token).collect()
    }

    fn requests(&self) -> (u64, u64) {
        let counters = self.world.authority.counters();
        (counters.of(Endpoint::Refresh), counters.ended(Endpoint::Refresh, Outcome::Refused))
    }

    /// The accounts whose document does not hold the valid token.
    fn lost(&self) -> Vec<usize> {
        let is_lost = |at: &usize| {
            let live = self.world.authority.live_refresh_token(self.world.grants[*at].id);
            live.is_none() || refresh_token(&self.documents[*at]) != live
        };
        (0..NAMES.len()).filter(is_lost).collect()
    }

    fn log_in_again(&mut self, at: usize) {
        let grant = self.world.authority.grant(Account::numbered(u32::try_from(at).unwrap() + 1));
        fs::write(&self.documents[at], grant.auth_json()).unwrap();
        self.world.grants[at] = grant;
    }

    /// A switch to a random account after a random time.
    fn switch(&self, random: &mut Random) -> Switch {
        let delay = Duration::from_millis(random.below(SPREAD).try_into().unwrap());
        let run = self.world.run(["account", "use", NAMES[random.below(NAMES.len())], "--now"]);
        Switch { delay, run }
    }

    fn let_another_program_refresh(&mut self, soak: &mut Soak) {
        let switch = (soak.random.below(2) == 0).then(|| self.switch(&mut soak.random));
        let is_switched = switch.is_some();
        let pause = Duration::from_millis(soak.random.below(2 * SPREAD).try_into().unwrap());
        let is_real = soak.random.below(4) == 0;
        let world = &self.world;
        let switched = thread::scope(|scope| {
            let switching = switch.map(|switch| scope.spawn(|| switch.run()));
            if is_real {
                soak.count("refreshes of OpenAI's Codex", 1);
                let mut codex = codex(world);
                codex.new_token();
                codex.end();
            } else {
                soak.count("refreshes that commit as Codex does", 1);
                refresh_without_lease(world, pause);
            }
            switching.is_none_or(|switching| switching.join().unwrap())
        });
        soak.count("switches", usize::from(is_switched));
        soak.hold(SWITCHED, switched, || "beside another program".to_owned());
        for at in self.lost() {
            soak.count("logins lost: a switch cut another program's request", usize::from(is_switched));
            soak.hold(KEPT, is_switched, || format!("{} without a switch", NAMES[at]));
            self.log_in_again(at);
        }
    }

    /// Lets all tokens expire, and all terminals ask.
    fn expire(&mut self, soak: &mut Soak) {
        self.passed += ROUND;
        let passed = self.passed;
        self.world.authority.adjust(|policy| policy.clock_offset = passed);
        let (before, (requests, refused)) = (self.access_tokens(), self.requests());
        let switches = soak.random.below(3);
        let switches: Vec<_> = (0..switches).map(|_| self.switch(&mut soak.random)).collect();
        soak.count("switches", switches.len());
        soak.count("expiries with a keeper", usize::from(self.keeper.is_some()));
        let has_switched = !switches.is_empty();
        let printed = soak.random.below(NAMES.len());
        let command = self.world.run(["token", "--account", NAMES[printed]]);
        if let Some(keeper) = &mut self.keeper {
            keeper.send(&passed.to_string());
        }
        for (_, terminal) in &mut self.terminals {
            terminal.send(&format!("{passed} {}", soak.random.below(SPREAD)));
        }
        let terminals = &mut self.terminals;
        let (answers, printed_token, switched) = thread::scope(|scope| {
            let switching: Vec<_> = switches.into_iter().map(|switch| scope.spawn(|| switch.run())).collect();
            let printing = scope.spawn(|| command.run().expect(0).out.trim().to_owned());
            let answers: Vec<_> = terminals.iter_mut().map(|(_, terminal)| terminal.next_word()).collect();
            let switched = switching.into_iter().all(|switch| switch.join().unwrap());
            (answers, printing.join().unwrap(), switched)
        });
        let after = self.access_tokens();
        let detail = |what: &str| format!("expiry {}: {what}", passed / ROUND);
        soak.hold(SWITCHED, switched, || detail("a switch failed"));
        let (sent, denied) = self.requests();
        let (sent, denied) = (usize::try_from(sent - requests).unwrap(), denied - refused);
        let all_changed = before.iter().zip(&after).all(|(before, after)| before != after);
        soak.hold(ONE, sent == NAMES.len() && denied == 0 && all_changed, || {
            detail(&format!("{sent} requests, {denied} refused, all new: {all_changed}; {answers:?}"))
        });
        soak.count("requests at an expiry", sent);
        let fingerprint = |token: &String| Secret::from(token.as_str()).fingerprint().to_string();
        let known: Vec<_> = after.iter().map(fingerprint).collect();
        for ((named, _), answer) in self.terminals.iter().zip(&answers) {
            soak.count("answers", 1);
            match named {
                Some(at) => soak.hold(OTHER, *answer == known[*at], || {
                    detail(&format!("terminal of {}: {answer}, not {known:?}", NAMES[*at]))
                }),
                None => {
                    let is_token = known.contains(answer);
                    soak.count("answers cut by a switch", usize::from(!is_token));
                    soak.hold(ACTIVE, is_token || has_switched, || detail(answer));
                }
            }
        }
        let is_own = [&before[printed], &after[printed]].contains(&&printed_token);
        soak.hold(OTHER, is_own, || detail(&format!("codex token --account {}", NAMES[printed])));
        for at in self.lost() {
            soak.hold(KEPT, false, || detail(NAMES[at]));
            self.log_in_again(at);
        }
    }
}

struct Switch {
    delay: Duration,
    run: Run,
}

impl Switch {
    fn run(self) -> bool {
        // The delay is part of the schedule.
        thread::sleep(self.delay);
        let ended = self.run.run();
        if ended.code != Some(0) {
            println!("{ended}");
        }
        ended.code == Some(0)
    }
}

fn folder(document: &Path) -> &Path {
    document.parent().unwrap()
}

/// OpenAI's Codex in the home.
fn codex(world: &World) -> Client {
    let home = world.home.path();
    let base = "chatgpt_base_url=\"http://127.0.0.1:9/\"";
    let run = Run::of(&codex_0171(), ["-c", base, "app-server"]);
    let run = run.envs(world.home.variables()).env("HOME", home);
    Client::from_run(run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", world.authority.token_url()))
}

/// Refreshes the active account as Codex does: without a lock until the response is there, and then by compare-and-swap
/// under both locks, of which the second is beside the target of the link.
fn refresh_without_lease(world: &World, pause: Duration) {
    let link = world.home.document();
    let read = fs::read_to_string(&link).unwrap();
    let token = |text: &str| {
        let document: Value = serde_json::from_str(text).unwrap();
        document["tokens"]["refresh_token"].as_str().unwrap().to_owned()
    };
    let answer = spend(&world.authority, &token(&read));
    assert!(answer["refresh_token"].is_string(), "{answer}");
    // The pause is part of the schedule.
    thread::sleep(pause);
    let lock = |path: PathBuf| {
        let file = fs::File::options().create(true).truncate(false).write(true).open(path).unwrap();
        file.lock().unwrap();
        file
    };
    let _first = lock(world.home.file("auth.lock"));
    let target = link.canonicalize().unwrap();
    let _second = lock(target.with_file_name("auth.json.lock"));
    let now = fs::read_to_string(&link).unwrap();
    if token(&now) == token(&read) {
        let target = link.canonicalize().unwrap();
        let temporary = target.with_file_name(".auth-foreign");
        fs::write(&temporary, merged(&read, &answer)).unwrap();
        fs::rename(temporary, target).unwrap();
    }
}

/// A terminal: in each round it asks for the token of its home, and prints the result.
fn use_terminal() {
    let part = Part::read();
    let manager = AuthManager::builder(part.home.clone(), part.environment.clone());
    let manager = manager.clock(part.clock()).policy(AccountPolicy::Follow).open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    report("ready");
    while let Some(round) = read_word() {
        let words: Vec<i64> = round.split(' ').map(|word| word.parse().unwrap()).collect();
        let [now, delay] = words[..] else { panic!("{round}") };
        part.passed.store(now, Ordering::SeqCst);
        // The schedule has different start times.
        thread::sleep(Duration::from_millis(delay.unsigned_abs()));
        report(&match runtime.block_on(manager.token()) {
            Ok(token) => token.secret().fingerprint().to_string(),
            Err(error) => error.to_string(),
        });
    }
    runtime.block_on(manager.wait_idle());
}
