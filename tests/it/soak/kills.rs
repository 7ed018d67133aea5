//! A kill and an error at every system call of refresh, login, migrate and logout, over both stores.

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use codex_auth::StoreKind;
use scripted_authority::{Endpoint, Outcome};

use super::scene::{Scene, Session};
use super::strace::{self, Call, Fault, calls_under_lease, inject};
use super::{Random, Soak};
use crate::support::session::PrivateSession;
use crate::support::{Ended, Run, here, session};

const WORKERS: usize = 3;
const ERRORS: [&str; 5] = ["EIO", "ENOSPC", "EROFS", "EPERM", "ENOSYS"];

/// A command, and the store that holds the login before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Refresh(StoreKind),
    Login(StoreKind),
    /// From this store to the other.
    Migrate(StoreKind),
    Logout(StoreKind),
}

use Command::{Login, Logout, Migrate, Refresh};

impl Command {
    const ALL: [Self; 8] = [
        Refresh(StoreKind::File),
        Refresh(StoreKind::Keychain),
        Login(StoreKind::File),
        Login(StoreKind::Keychain),
        Migrate(StoreKind::File),
        Migrate(StoreKind::Keychain),
        Logout(StoreKind::File),
        Logout(StoreKind::Keychain),
    ];

    fn store(self) -> StoreKind {
        let (Refresh(kind) | Login(kind) | Migrate(kind) | Logout(kind)) = self;
        kind
    }

    fn needs_keychain(self) -> bool {
        self.store() == StoreKind::Keychain || matches!(self, Migrate(_))
    }

    /// The run of the process that takes the lease; for refresh and logout that is the child process.
    fn run(self, scene: &Scene) -> Run {
        let child = |task: &str| {
            let order = format!("{{\"pipe\":1,\"job\":{{\"task\":{task},\"policy\":\"follow\"}}}}\n");
            scene.codex(0, ["transaction", "1"]).input(order)
        };
        match self {
            Refresh(_) => child(r#""freshen""#),
            Logout(_) => child(r#"{"logout":{"scope":"revoke"}}"#),
            Login(kind) => scene.codex(0, ["login", "--device-auth", "--store", word(kind)]),
            Migrate(kind) => scene.codex(0, ["migrate", "--to", word(kind.other())]),
        }
    }
}

fn word(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::File => "file",
        _ => "keychain",
    }
}

/// A scene with a new home for every run, and the folder of its traces.
struct Stage<'a> {
    session: &'a Session,
    scene: Scene,
    trace: PathBuf,
    _folder: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    fn new(session: &'a Session) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        Self { session, scene: Scene::new(1, 1, None), trace, _folder: folder }
    }

    /// Creates a new home with the login that `command` needs.
    fn set(&mut self, command: Command) {
        self.scene.ignore_all_grants();
        self.scene.has_keychain = command.needs_keychain();
        self.scene.replace_homes(1, Some(self.session).filter(|_| command.needs_keychain()));
        // A refresh runs only if the token has expired.
        let ended = if matches!(command, Refresh(_)) { -4_000 } else { 0 };
        self.scene.authority.adjust(|policy| policy.clock_offset = ended);
        self.scene.sign_in(command.store());
        self.scene.authority.adjust(|policy| policy.clock_offset = 0);
    }

    fn granted(&self) -> u64 {
        self.scene.authority.counters().ended(Endpoint::Refresh, Outcome::Granted)
    }
}

/// One cell of the table.
#[derive(Clone, Debug)]
struct Case {
    command: Command,
    call: Call,
    fault: Fault,
}

#[test]
fn keeps_its_promises() {
    session::inside(here!(), || {
        let keychain = PrivateSession::unlocked_and_restarted();
        let variables = keychain.environment();
        let mut stage = Stage::new(&variables);
        let calls = Command::ALL.map(|command| {
            stage.set(command);
            (command, calls_under_lease(command.run(&stage.scene), &stage.trace))
        });
        let mut soak = Soak::begin(&[
            "torn documents",
            "tokens of another account",
            "lost logins",
            "lost tokens",
            "leftovers",
            "locks held",
            "panics",
            "errors without words",
        ]);
        let mut cases = Vec::new();
        for (command, calls) in calls {
            println!("{command:?}: {} system calls from the lease on", calls.len());
            for call in calls {
                let one = soak.random.one_of(&ERRORS);
                // Calls that only read or send fail in one way.
                let errors =
                    ERRORS.iter().filter(|error| call.can_fail() && (call.is_change() || **error == one));
                let errors = errors.map(|error| Fault::Error(error));
                let faults = Some(Fault::Kill).filter(|_| call.is_after_change).into_iter().chain(errors);
                cases.extend(faults.map(|fault| Case { command, call: call.clone(), fault }));
            }
        }
        shuffle(&mut soak.random, &mut cases);
        let (kills, errors): (Vec<_>, _) = cases.into_iter().partition(|case| case.fault == Fault::Kill);
        soak.count("kills in the whole table", kills.len());
        soak.count("errors in the whole table", errors.len());
        let cases = alternate(kills, errors);
        let (cases, shared) = (Mutex::new(cases), Mutex::new(&mut soak));
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let mut stage = Stage::new(&variables);
                    while shared.lock().unwrap().has_time() {
                        let Some(case) = cases.lock().unwrap().pop() else { return };
                        play(&mut stage, &case, &shared);
                    }
                });
            }
        });
        soak.finish();
    });
}

/// Alternates both kinds; cases are taken from the end.
fn alternate(kills: Vec<Case>, errors: Vec<Case>) -> Vec<Case> {
    let shorter = kills.len().min(errors.len());
    let (mut kills, mut errors) = (kills.into_iter(), errors.into_iter());
    let mut cases: Vec<_> =
        kills.by_ref().take(shorter).zip(errors.by_ref().take(shorter)).flat_map(<[Case; 2]>::from).collect();
    cases.splice(0..0, kills.chain(errors));
    cases
}

fn shuffle(random: &mut Random, cases: &mut [Case]) {
    for end in (1..cases.len()).rev() {
        cases.swap(end, random.below(end + 1));
    }
}

fn play(stage: &mut Stage<'_>, case: &Case, soak: &Mutex<&mut Soak>) {
    stage.set(case.command);
    let owner = stage.scene.keychain_owner();
    let granted = stage.granted();
    let _ = std::fs::remove_file(&stage.trace);
    let run = inject(case.command.run(&stage.scene), &case.call, case.fault, &stage.trace);
    let ended = run.run();
    let scene = &stage.scene;
    let lines = strace::injected(&stage.trace, case.fault);
    // `strace` counts per thread, so another call of the thread may have been hit.
    let is_another = |line: &String| ["pipe:", "anon_inode"].iter().any(|kind| line.contains(kind));
    let is_ours = ended.code != Some(127) && !lines.iter().any(is_another);
    let happened = !lines.is_empty() && is_ours;
    let after_fault = Left {
        spent: stage.granted() > granted,
        rescue: scene.has_rescue(),
        in_temporary_file: scene.live_tokens().iter().any(|(_, token)| scene.is_in_temporary_file(token)),
        on_the_network: lines.iter().any(|line| line.contains("TCP:")),
    };
    let torn: Vec<_> = scene.documents().into_iter().filter(|(_, document)| document.is_err()).collect();
    let next = next_commands(scene, case.command);
    let (lost, stored, leftovers) = (scene.lost_tokens(), scene.stored_tokens(), scene.leftovers());
    let is_gone = scene.documents().is_empty();
    let is_live = stored.iter().any(|(_, token)| is_live(scene, token));
    let is_foreign =
        stored.iter().any(|(_, token)| scene.state_of(token) == scripted_authority::TokenState::Unknown);
    let last = scene.codex(0, ["logout"]).run();
    let after_logout: Vec<_> = scene.leftovers();
    let held = scene.held_locks();
    let keychain_crashed = owner != scene.keychain_owner();

    let mut soak = soak.lock().unwrap();
    soak.count("cases that gnome-keyring did not survive, not judged", usize::from(keychain_crashed));
    if keychain_crashed {
        return;
    }
    let detail = || {
        format!(
            "{case:?}\n  {lines:#?}\n  {after_fault:?}\n  stored {stored:?}\n  lost {lost:?}\n{ended}\n{}\n{last}",
            next.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        )
    };
    soak.count(if case.fault == Fault::Kill { "kills" } else { "errors" }, usize::from(happened));
    soak.count("cases whose call was not made again", usize::from(!happened));
    soak.hold("torn documents", torn.is_empty(), detail);
    soak.hold("tokens of another account", !is_foreign, detail);
    let panicked = |ended: &Ended| ended.code == Some(101) || ended.err.contains("panicked");
    let has_panicked = (panicked(&ended) && is_ours) || next.iter().any(panicked) || panicked(&last);
    soak.hold("panics", !has_panicked, detail);
    if case.fault != Fault::Kill && is_ours {
        let has_words = ended.code == Some(0) || ended.err.contains("error: ");
        soak.hold("errors without words", has_words && ended.code.is_some(), detail);
    }
    let ended_cleanly = matches!(case.command, Logout(_)) && is_gone && lost.is_empty();
    if !is_live && !ended_cleanly {
        let is_documented = after_fault.spent && !after_fault.rescue && !after_fault.in_temporary_file;
        if is_documented && case.fault == Fault::Kill {
            soak.count("documented: killed between answer and rescue", 1);
        } else if is_documented && after_fault.on_the_network {
            soak.count("documented: the network broke off before the answer was read", 1);
        } else {
            soak.hold("lost logins", false, detail);
        }
    }
    let ends_all = matches!(case.command, Login(_));
    soak.hold("lost tokens", lost.is_empty() || !(is_live || ends_all), detail);
    soak.hold("leftovers", leftovers.is_empty() && after_logout.is_empty(), || {
        format!("{leftovers:?}, after logout {after_logout:?}, {}", detail())
    });
    soak.hold("locks held", held.is_empty(), || format!("{held:?}, {}", detail()));
    soak.hold("lost logins", last.code == Some(0), || format!("the last logout, {}", detail()));
}

fn is_live(scene: &Scene, token: &str) -> bool {
    scene.state_of(token) == scripted_authority::TokenState::Live
}

/// Runs the commands that a user would run next.
fn next_commands(scene: &Scene, command: Command) -> Vec<Ended> {
    let mut ended = Vec::new();
    if let Migrate(from) = command {
        ended.push(scene.codex(0, ["migrate", "--to", word(from.other())]).run());
    }
    ended.push(scene.codex(0, ["refresh"]).run());
    ended
}

/// The state after the fault, before the next command.
#[derive(Debug)]
struct Left {
    /// A refresh token was spent.
    spent: bool,
    rescue: bool,
    /// A valid token is in a temporary file.
    in_temporary_file: bool,
    /// The failed call belongs to a connection to the authority.
    on_the_network: bool,
}
