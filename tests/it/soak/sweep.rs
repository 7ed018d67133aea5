//! The active account changes at every system call of our refresh and of a refresh by OpenAI's Codex.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use scripted_authority::{Account, Endpoint, Grant};

use super::strace::{Call, Fault, Traced, calls, inject, injected};
use super::{Random, Soak};
use crate::accounts::world::{World, refresh_token};
use crate::app_server::client::Client;
use crate::interop::codex::codex_0171;
use crate::support::{Guarded, Lines, Run, link_to};

const MIXED: &str = "no account holds another's token";
const OURS: &str = "after our refresh, each account holds its valid token";
const THEIRS: &str = "after Codex has committed, each account holds its valid token";
const OTHER: &str = "the account that was switched to keeps its token";
const ENDED: &str = "each command ends with 0 or 4";

const WORKERS: usize = 2;
/// How long a switch may take before the stopped program goes on: one that waits for it, and any other.
const PATIENCE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// Calls of OpenAI's Codex that read or change files, locks and connections.
const THEIR_CALLS: &str = "openat,read,write,?readlink,readlinkat,flock,?rename,renameat,renameat2,fsync,fdatasync,?unlink,\
    unlinkat,?stat,newfstatat,statx,connect,sendto,recvfrom,writev,fchmod,linkat";
/// How much later each of them happens, in microseconds.
const DELAY: u32 = 4_000;

/// How the active account changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// As `ln -sfn` does, without any lock.
    Link,
    /// By `codex account use`.
    Use,
}

#[derive(Clone, Debug)]
enum Case {
    /// At this call, which is made under the lease or not.
    Ours(Change, Call, bool),
    /// At the call with this number among those on the login and on the network.
    Theirs(usize),
}

/// Two accounts, of which the first is active.
struct Scene {
    world: World,
    documents: [PathBuf; 2],
    trace: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let world = World::with(&["work", "private"]);
        let documents = ["work", "private"].map(|name| world.document(name));
        let trace = world.home.path().with_file_name("trace");
        Self { world, documents, trace }
    }

    /// Gives the first account a new login whose token is valid for this long, and makes it active.
    fn set(&mut self, left: i64) -> [Grant; 2] {
        link_to(&self.documents[0], &self.world.home.document());
        let grant = |number, offset| {
            self.world.authority.adjust(|policy| policy.clock_offset = offset);
            self.world.authority.grant(Account::numbered(number))
        };
        let grants = [grant(1, left - 3_600), grant(2, 0)];
        self.world.authority.adjust(|policy| policy.clock_offset = 0);
        for (document, grant) in self.documents.iter().zip(&grants) {
            // Otherwise the last refresh would be too recent for another.
            let _ = fs::remove_dir_all(document.parent().unwrap().join("codex-auth"));
            fs::write(document, grant.auth_json()).unwrap();
        }
        let _ = fs::remove_file(&self.trace);
        grants
    }

    /// The process that refreshes for `codex refresh`.
    fn refresh(&self) -> Run {
        let order = "{\"pipe\":1,\"job\":{\"task\":\"freshen\",\"policy\":\"follow\"}}\n";
        self.world.run(["transaction", "1"]).input(order)
    }

    fn is_live(&self, at: usize, grants: &[Grant; 2]) -> bool {
        let live = self.world.authority.live_refresh_token(grants[at].id);
        live.is_some() && refresh_token(&self.documents[at]) == live
    }

    /// Whether a document holds a token of the other account.
    fn is_mixed(&self) -> bool {
        self.documents.iter().zip(["acct-1", "acct-2"]).any(|(document, account)| {
            let text = fs::read_to_string(document).unwrap();
            let document: serde_json::Value = serde_json::from_str(&text).unwrap();
            document["tokens"]["account_id"] != account
        })
    }

    fn start_switch(&self) -> Child {
        self.world.run(["account", "use", "private", "--now"]).start()
    }
}

#[test]
fn keeps_its_promises() {
    let mut soak = Soak::begin(&[MIXED, OURS, THEIRS, OTHER, ENDED]);
    let mut scene = Scene::new();
    scene.set(-400);
    let found = calls(scene.refresh(), &scene.trace, Traced::All);
    // Before the first of them the program has not looked at its home.
    let first = found.iter().position(|call| call.line.contains("auth.json")).unwrap();
    let leased = found.iter().position(|call| call.line.contains("refresh.lock")).unwrap();
    let found: Vec<_> = found.iter().enumerate().skip(first).collect();
    soak.count("system calls of our refresh", found.len());
    let ours = [Change::Link, Change::Use].into_iter().flat_map(|change| {
        found.iter().map(move |(at, call)| Case::Ours(change, (*call).clone(), *at > leased))
    });
    let mut cases: Vec<_> = ours.collect();
    shuffle(&mut soak.random, &mut cases);
    let theirs = scene.count_their_calls();
    soak.count("system calls of a refresh by Codex", theirs);
    let mut their_cases: Vec<_> = (1..=theirs).map(Case::Theirs).collect();
    shuffle(&mut soak.random, &mut their_cases);
    // Cases are taken from the end: some of each first.
    let first = if soak.is_long() { their_cases.len() } else { 4 };
    let some = their_cases.split_off(their_cases.len().saturating_sub(first));
    let last = cases.split_off(cases.len().saturating_sub(24));
    let cases: Vec<_> = their_cases.into_iter().chain(cases).chain(last).chain(some).collect();
    soak.count("cases in the whole table", cases.len());
    let (cases, shared) = (Mutex::new(cases), Mutex::new(&mut soak));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut scene = Scene::new();
                while shared.lock().unwrap().has_time() {
                    let Some(case) = cases.lock().unwrap().pop() else { return };
                    match &case {
                        Case::Ours(change, call, is_leased) => {
                            scene.play_ours(*change, call, *is_leased, &shared);
                        }
                        Case::Theirs(number) => scene.play_theirs(*number, &shared),
                    }
                }
            });
        }
    });
    soak.finish();
}

fn shuffle(random: &mut Random, cases: &mut [Case]) {
    for end in (1..cases.len()).rev() {
        cases.swap(end, random.below(end + 1));
    }
}

impl Scene {
    fn play_ours(&mut self, change: Change, call: &Call, is_leased: bool, soak: &Mutex<&mut Soak>) {
        let grants = self.set(-400);
        let revoked = self.world.authority.counters().of(Endpoint::Revoke);
        let mut running = inject(self.refresh(), call, Fault::Stop, &self.trace).start();
        let stopped = await_stop(&mut running, &self.trace);
        let mut switch = None;
        if let Some(pid) = &stopped {
            match change {
                Change::Link => link_to(&self.documents[1], &self.world.home.document()),
                Change::Use => {
                    switch = Some(await_for_a_while(self.start_switch(), PATIENCE[usize::from(!is_leased)]));
                }
            }
            signal(pid, "-CONT");
        }
        let refreshed = running.wait_with_output().unwrap();
        let switched = switch.map(|switch| switch.wait_with_output().unwrap());
        let mut soak = soak.lock().unwrap();
        let what = if change == Change::Link { "ln -sfn at our calls" } else { "account use at our calls" };
        soak.count(if stopped.is_some() { what } else { "calls that were not made again" }, 1);
        let detail = || format!("{change:?} at {call:?}: {refreshed:?}, {switched:?}");
        let is_fine = |code| matches!(code, Some(0 | 4));
        let ended = is_fine(refreshed.status.code())
            && switched.as_ref().is_none_or(|switched| switched.status.code() == Some(0));
        soak.hold(ENDED, ended, detail);
        soak.hold(MIXED, !self.is_mixed(), detail);
        let is_revoked = self.world.authority.counters().of(Endpoint::Revoke) != revoked;
        soak.hold(OURS, self.is_live(0, &grants) && !is_revoked, detail);
        soak.hold(OTHER, self.is_live(1, &grants), detail);
    }

    /// Starts Codex, slowed down, with its refresh under way.
    fn their_refresh(&self) -> TheirRefresh {
        let home = self.world.home.path();
        let run = Run::of(&codex_0171(), ["-c", "chatgpt_base_url=\"http://127.0.0.1:9/\"", "app-server"]);
        let run = run.envs(self.world.home.variables()).env("HOME", home);
        let run = run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.world.authority.token_url());
        let mut client = Client::from_run(run);
        // It has started completely.
        client.token();
        let pid = client.pid().to_string();
        let (trace, inject) =
            (format!("trace={THEIR_CALLS}"), format!("inject={THEIR_CALLS}:delay_enter={DELAY}"));
        let mut strace = Command::new("strace")
            .args(["-f", "-yy", "-p", &pid, "-e", &trace, "-e", &inject, "-o"])
            .arg(&self.trace)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Lines::of(strace.stderr.take().unwrap());
        lines.until(|line| line.contains("attached"));
        let refresh = serde_json::json!({"includeToken": true, "refreshToken": true});
        let request = client.send_request("getAuthStatus", refresh);
        TheirRefresh { client, request, _strace: Guarded(strace), _lines: lines }
    }

    fn count_their_calls(&mut self) -> usize {
        self.set(3_600);
        let refresh = self.their_refresh();
        refresh.end();
        lines(&self.trace).len()
    }

    fn play_theirs(&mut self, number: usize, soak: &Mutex<&mut Soak>) {
        let grants = self.set(3_600);
        let refresh = self.their_refresh();
        let pid = refresh.client.pid().to_string();
        let is_reached = await_lines(&self.trace, number);
        signal(&pid, "-STOP");
        // Codex may hold the locks of a commit.
        let holds_locks = lines(&self.trace).iter().any(|line| line.contains("auth.lock"));
        let switch = await_for_a_while(self.start_switch(), PATIENCE[usize::from(!holds_locks)]);
        signal(&pid, "-CONT");
        refresh.end();
        let switched = switch.wait_with_output().unwrap();
        let commits = |line: &String| line.contains("rename") && line.contains("auth.json");
        let is_committed = lines(&self.trace).iter().any(commits);
        let mut soak = soak.lock().unwrap();
        soak.count("account use at calls of Codex", usize::from(is_reached));
        soak.count("Codex ended before that call", usize::from(!is_reached));
        let detail = || format!("call {number}, committed: {is_committed}; {switched:?}");
        soak.hold(ENDED, switched.status.code() == Some(0), detail);
        soak.hold(MIXED, !self.is_mixed(), detail);
        let is_live = self.is_live(0, &grants);
        soak.count("successors that Codex dropped after a switch", usize::from(!is_live && !is_committed));
        soak.hold(THEIRS, is_live || !is_committed, detail);
        soak.hold(OTHER, self.is_live(1, &grants), detail);
    }
}

/// A Codex whose refresh was requested, under `strace`.
struct TheirRefresh {
    client: Client,
    request: u64,
    _strace: Guarded,
    _lines: Lines,
}

impl TheirRefresh {
    /// Waits for the response.
    fn end(mut self) {
        self.client.response(self.request);
    }
}

fn signal(pid: &str, name: &str) {
    // It may have ended.
    let _ = Command::new("kill").args([name, pid]).stderr(Stdio::null()).status();
}

/// The calls of a trace on the files and locks of a login, and on the network.
fn lines(trace: &Path) -> Vec<String> {
    let text = fs::read(trace).unwrap_or_default();
    let is_about_login =
        |line: &&str| ["auth.json", "auth.lock", "TCP"].iter().any(|word| line.contains(word));
    String::from_utf8_lossy(&text).lines().filter(is_about_login).map(str::to_owned).collect()
}

/// Waits until the trace has `number` lines; returns whether it has.
fn await_lines(trace: &Path, number: usize) -> bool {
    let begun = Instant::now();
    while lines(trace).len() < number {
        if begun.elapsed() > Duration::from_secs(5) {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Waits until the process that writes `trace` has stopped, and returns its id; `None` if it ends before.
fn await_stop(strace: &mut Child, trace: &Path) -> Option<String> {
    loop {
        let has_ended = strace.try_wait().unwrap().is_some();
        if let Some(line) = injected(trace, Fault::Stop).first() {
            return line.split_whitespace().next().map(str::to_owned);
        }
        if has_ended {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `switch` ends, for `limit` at most.
fn await_for_a_while(mut switch: Child, limit: Duration) -> Child {
    let begun = Instant::now();
    while begun.elapsed() < limit && switch.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(2));
    }
    switch
}
