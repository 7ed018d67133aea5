//! Concurrent refreshes, logins, migrations and logouts, with kills and a foreign program; some homes share a document.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use codex_auth::StoreKind;
use scripted_authority::{Endpoint, TokenState};

use super::foreign::{self, Foreign};
use super::scene::{PATIENCE, Scene, Session};
use super::{Random, Soak};
use crate::support::session::PrivateSession;
use crate::support::{Run, children, here, session};

/// How long after the response a kill may still precede the rescue, on a slow machine.
const SAVING: Duration = Duration::from_millis(1_000);
/// The failpoints of the commands.
const OF_REFRESH: [&str; 9] = [
    "leased",
    "rescue finished",
    "reserved",
    "sending",
    "answered",
    "rescued",
    "committed",
    "recorded",
    "cleared",
];
const OF_LOGOUT: [&str; 3] = ["logging out", "removed", "revoked"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Refresh,
    Login(StoreKind),
    ApiKey,
    Migrate(StoreKind),
    Logout,
    /// By another program, which commits so many milliseconds after its response.
    Foreign(StoreKind, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    None,
    At(&'static str),
    /// After so many milliseconds: the command alone, or with the process that it started.
    After(u64, Whom),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Command,
    All,
}

/// One command of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    home: usize,
    task: Task,
    /// In milliseconds.
    start: u64,
    kill: Kill,
}

impl Operation {
    fn draw(random: &mut Random, homes: usize, kinds: &[StoreKind]) -> Self {
        let milliseconds = |random: &mut Random, end| u64::try_from(random.below(end)).unwrap();
        let kind = random.one_of(kinds);
        let pause = milliseconds(random, 60);
        let task = match random.below(12) {
            0..4 => Task::Refresh,
            4 | 5 => Task::Login(kind),
            6 => Task::ApiKey,
            7 | 8 if kinds.len() > 1 => Task::Migrate(kind),
            9 => Task::Logout,
            _ => Task::Foreign(kind, pause),
        };
        let step = match task {
            Task::Logout => random.one_of(&OF_LOGOUT),
            _ => random.one_of(&OF_REFRESH),
        };
        let whom = random.one_of(&[Whom::Command, Whom::All]);
        let after = Kill::After(milliseconds(random, 500), whom);
        let kill = match (random.below(5), task) {
            (0, Task::Refresh | Task::Logout) => Kill::At(step),
            (1, _) => after,
            _ => Kill::None,
        };
        Self { home: random.below(homes), task, start: milliseconds(random, 150), kill }
    }

    fn run(&self, scene: &Scene) -> Option<Run> {
        let run = match self.task {
            Task::Refresh => scene.codex(self.home, ["refresh"]),
            Task::Login(kind) => {
                scene.codex(self.home, ["login", "--device-auth", "--revoke-old", "--store", word(kind)])
            }
            Task::ApiKey => {
                scene.codex(self.home, ["login", "--with-api-key", "--revoke-old"]).input("sk-soak")
            }
            Task::Migrate(to) => scene.codex(self.home, ["migrate", "--to", word(to)]),
            Task::Logout => scene.codex(self.home, ["logout"]),
            Task::Foreign(..) => return None,
        };
        Some(match self.kill {
            Kill::At(step) => run.env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")),
            _ => run,
        })
    }

    fn is_login(&self) -> bool {
        matches!(self.task, Task::Login(_) | Task::ApiKey)
    }
}

fn word(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::File => "file",
        _ => "keychain",
    }
}

/// The result of an operation.
#[derive(Clone, Debug)]
struct Ran {
    operation: Operation,
    /// When it was killed, if it was.
    killed: Option<Instant>,
    ended: Option<Output>,
    foreign: Foreign,
}

impl Ran {
    fn words(&self) -> String {
        self.ended
            .as_ref()
            .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
            .unwrap_or_default()
    }

    fn code(&self) -> Option<i32> {
        self.ended.as_ref().and_then(|output| output.status.code())
    }
}

fn perform(scene: &Scene, operation: Operation) -> Ran {
    // The start time is part of the schedule.
    thread::sleep(Duration::from_millis(operation.start));
    let mut ran = Ran { operation, killed: None, ended: None, foreign: Foreign::Nothing };
    let Some(run) = operation.run(scene) else {
        if let Task::Foreign(kind, pause) = operation.task {
            let home = scene.homes[0].path();
            ran.foreign = foreign::refresh(&scene.authority, &home, kind, Duration::from_millis(pause));
        }
        return ran;
    };
    let child = run.start();
    let pid = child.id();
    let (sender, output) = channel();
    thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    if let Kill::After(milliseconds, whom) = operation.kill {
        match output.recv_timeout(Duration::from_millis(milliseconds)) {
            Ok(output) => ran.ended = Some(output),
            Err(_) => {
                let others = if whom == Whom::All { children(pid) } else { Vec::new() };
                let pids: Vec<_> = [pid].into_iter().chain(others).map(|pid| pid.to_string()).collect();
                let _ = Command::new("kill").arg("-KILL").args(&pids).output();
                ran.killed = Some(Instant::now());
            }
        }
    }
    if ran.ended.is_none() {
        ran.ended = output.recv_timeout(2 * PATIENCE).ok();
    }
    if matches!(operation.kill, Kill::At(_)) && ran.words().contains("was killed") {
        ran.killed = Some(Instant::now());
    }
    ran
}

const PROMISES: [&str; 7] = [
    "torn documents",
    "tokens of another account",
    "lost tokens",
    "dead logins",
    "leftovers",
    "locks held or commands that hang",
    "panics",
];

/// The number of homes that share a document, and whether there is a keychain.
const SCENES: [(usize, bool); 4] = [(1, false), (2, false), (1, true), (2, true)];

#[test]
fn keeps_its_promises() {
    session::inside(here!(), || {
        let keychain = PrivateSession::unlocked_and_restarted();
        let variables = keychain.environment();
        let mut soak = Soak::begin(&PROMISES);
        let randoms: Vec<_> = SCENES.iter().map(|_| soak.random.split()).collect();
        let shared = Mutex::new(&mut soak);
        thread::scope(|scope| {
            for ((number, (homes, has_keychain)), random) in (1..).zip(SCENES).zip(randoms) {
                let (variables, shared) = (&variables, &shared);
                scope.spawn(move || {
                    play(number, homes, Some(variables).filter(|_| has_keychain), random, shared);
                });
            }
        });
        soak.finish();
    });
}

fn play(number: u32, homes: usize, session: Option<&Session>, mut random: Random, soak: &Mutex<&mut Soak>) {
    let began = Instant::now();
    let mut scene = Scene::new(homes, number, session);
    let kinds =
        if session.is_some() { &[StoreKind::File, StoreKind::Keychain][..] } else { &[StoreKind::File] };
    let mut may_be_dead = false;
    let mut round = 0;
    while soak.lock().unwrap().has_time() {
        round += 1;
        let owner = scene.keychain_owner();
        let first = random.one_of(kinds);
        let operations: Vec<_> =
            (0..2 + random.below(3)).map(|_| Operation::draw(&mut random, homes, kinds)).collect();
        let is_alive =
            scene.stored_tokens().iter().any(|(_, token)| scene.state_of(token) == TokenState::Live);
        if !is_alive {
            let operation = Operation { home: 0, task: Task::Login(first), start: 0, kill: Kill::None };
            let ran = perform(&scene, operation);
            assert_eq!(ran.code(), Some(0), "{}", ran.words());
            may_be_dead = false;
        }
        let grants = scene.grants();
        let live_before = scene.live_tokens().len();
        let ran: Vec<_> = thread::scope(|scope| {
            let scene = &scene;
            let started: Vec<_> =
                operations.iter().map(|operation| scope.spawn(move || perform(scene, *operation))).collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let held = scene.held_locks();
        let had_rescue = scene.has_rescue();
        let documents = scene.documents();
        let settled: Vec<_> = (0..homes).map(|home| scene.codex(home, ["refresh"]).run()).collect();
        let mut leftovers = scene.leftovers();
        if !leftovers.is_empty() {
            // An API key needs no refresh, so only another command removes leftovers.
            soak.lock().unwrap().count("rounds whose leftovers a logout cleared", 1);
            for home in 0..homes {
                scene.codex(home, ["logout"]).run();
            }
            leftovers = scene.leftovers();
        }
        let (lost, stored) = (scene.lost_tokens(), scene.stored_tokens());

        let mut soak = soak.lock().unwrap();
        if owner != scene.keychain_owner() {
            soak.count("rounds that gnome-keyring did not survive, not judged", 1);
            scene.ignore_all_grants();
            for home in 0..homes {
                scene.codex(home, ["logout", "--force"]).run();
            }
            continue;
        }
        let detail = || {
            let mut text = format!(
                "scene {number} of {homes} homes, round {round}\n  before: {documents:?}\n  stored {stored:?}\n  lost {lost:?}\n"
            );
            for ran in &ran {
                text += &format!(
                    "  {:?} {:?} {:?} {}\n",
                    ran.operation,
                    ran.code(),
                    ran.foreign,
                    ran.words().trim()
                );
            }
            settled
                .iter()
                .for_each(|ended| text += &format!("  then {:?} {}\n", ended.code, ended.err.trim()));
            text
        };
        soak.count("rounds", 1);
        soak.count("operations", ran.len());
        soak.count("kills", ran.iter().filter(|ran| ran.killed.is_some()).count());
        soak.count("foreign commits", ran.iter().filter(|ran| ran.foreign == Foreign::Committed).count());
        soak.count(
            "commands that failed",
            ran.iter().filter(|ran| ran.code().is_some_and(|code| code != 0)).count(),
        );
        soak.hold("torn documents", documents.iter().all(|(_, document)| document.is_ok()), detail);
        let foreign = stored.iter().any(|(_, token)| scene.state_of(token) == TokenState::Unknown);
        soak.hold("tokens of another account", !foreign, detail);
        soak.hold("leftovers", leftovers.is_empty(), || format!("{leftovers:?}, {}", detail()));
        let hangs =
            ran.iter().any(|ran| ran.ended.is_none() && !matches!(ran.operation.task, Task::Foreign(..)));
        soak.hold("locks held or commands that hang", held.is_empty() && !hangs, || {
            format!("{held:?}, {}", detail())
        });
        let panicked = ran.iter().any(|ran| ran.code() == Some(101) || ran.words().contains("panicked"));
        soak.hold("panics", !panicked && settled.iter().all(|ended| ended.code != Some(101)), detail);

        let dropped: BTreeSet<_> = ran.iter().filter_map(|ran| dropped(&ran.foreign)).collect();
        may_be_dead |= !dropped.is_empty();
        let killed = |is_it: fn(&Operation) -> bool| {
            ran.iter().any(|ran| ran.killed.is_some() && is_it(&ran.operation))
        };
        let lost_an_answer = !had_rescue && ran.iter().any(|ran| was_saving(&scene, began, ran));
        may_be_dead |= lost_an_answer;
        // The new token after the stored one was lost and not replaced.
        let all_live = stored.iter().all(|(_, token)| scene.state_of(token) == TokenState::Live);
        for (grant, token) in &lost {
            if dropped.contains(token) {
                soak.count("documented: a foreign request in flight across a removal", 1);
            } else if killed(Operation::is_login) && grant.0 > grants {
                soak.count("a login that was cut off before it was stored", 1);
            } else if killed(Operation::is_login) && all_live {
                soak.count("a login that was cut off before it revoked the one it replaced", 1);
            } else if lost_an_answer {
                soak.count("documented: killed between answer and rescue", 1);
            } else if homes > 1 && dropped_by_migrate(&ran) && (live_before > 1 || scene.grants() > grants) {
                soak.count("a second login of the account that migrate removed and did not revoke", 1);
            } else {
                soak.hold("lost tokens", false, || format!("{grant:?} {token}, {}", detail()));
                may_be_dead = true;
            }
            scene.authority.end(*grant, scripted_authority::Ending::WholeGrant);
        }
        // An API key does not end, whatever copy of another login lies in the store that is not read.
        let has_api_key = scene.documents().iter().any(|(_, document)| {
            document.as_ref().is_ok_and(|document| document["OPENAI_API_KEY"].is_string())
        });
        let is_alive = has_api_key
            || stored.is_empty()
            || stored.iter().any(|(_, token)| scene.state_of(token) == TokenState::Live);
        soak.hold("dead logins", is_alive || may_be_dead || homes > 1, detail);
        scene.ignore_grants_before(&stored);
    }
}

/// Of two logins of one account, migrate keeps the later.
fn dropped_by_migrate(ran: &[Ran]) -> bool {
    ran.iter().any(|ran| matches!(ran.operation.task, Task::Migrate(_)))
}

fn dropped(foreign: &Foreign) -> Option<String> {
    match foreign {
        Foreign::Dropped(token) => Some(token.clone()),
        _ => None,
    }
}

/// Whether `ran` was killed when a response may not have been in the rescue yet.
fn was_saving(scene: &Scene, began: Instant, ran: &Ran) -> bool {
    let Some(killed) = ran.killed.filter(|_| ran.operation.task == Task::Refresh) else { return false };
    match ran.operation.kill {
        Kill::At(step) => step == "answered",
        Kill::After(_, Whom::Command) | Kill::None => false,
        Kill::After(_, Whom::All) => {
            let killed = killed.duration_since(began);
            scene.authority.journal().iter().rev().take(100).any(|entry| {
                let ended = entry.ended_ms.map(Duration::from_millis).unwrap_or(killed);
                entry.endpoint == Endpoint::Refresh && entry.took_effect && killed.abs_diff(ended) < SAVING
            })
        }
    }
}
