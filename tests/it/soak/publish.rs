//! The table of the README: 64 processes, two accounts, both stores, a keeper, an export and OpenAI's Codex, with kills, stops and faults.
//!
//! A round has two parts. First another program may refresh, as Codex does. Then two hours pass, so that the tokens of
//! both logins have expired, and all processes ask at once; one of them, or a keeper, may be killed or stopped, or the
//! authority fails.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use scripted_authority::{Authority, Endpoint, Step};

use super::Soak;
use super::foreign::{self, Foreign};
use super::group::{Actor, Group, Login, Stored, fingerprint, is_torn, signal};
use super::keeper;
use super::plan::{Other, Round, Trouble};
use crate::manager::crashes::Left;
use crate::manager::rounds::play;
use crate::support::session::PrivateSession;
use crate::support::{HelperProcess, eventually, here, role, session};

/// A run ends after this many refreshes, if there is time for them.
const ROTATIONS: usize = 100_000;
/// The rows of the table that count what happened.
pub const COUNTED: [&str; 16] = [
    "rotations",
    "processes at once",
    "kills at a step of the refresh",
    "kills at a random time",
    "keepers killed and restarted",
    "stops",
    "faults of the server",
    "requests of codex-auth",
    "requests of OpenAI's Codex 0.171",
    "requests of a program that commits as Codex does",
    "tokens served",
    "errors during a fault of the server",
    "reads of a document",
    "exports that followed a refresh",
    "responses lost with the process that a kill ended, as they must be",
    "rounds in which gnome-keyring crashed, not judged",
];
/// The rows of what must not happen.
pub const PROMISES: [&str; 6] = [TORN, FOREIGN, LOST, REUSED, MORE, WRONG];
const TORN: &str = "torn documents";
const FOREIGN: &str = "tokens of another account";
const LOST: &str = "lost logins";
const REUSED: &str = "refresh tokens sent twice";
const MORE: &str = "rounds with more than one request for a login";
const WRONG: &str = "wrong answers";
const MUST_BE_LOST: &str = COUNTED[14];
const CRASHED: &str = COUNTED[15];

/// What a process answered in a round.
#[derive(Debug)]
enum Answer {
    NotAsked,
    /// The fingerprint of a token, or an error.
    Word(String),
    Ended,
}

#[test]
fn keeps_its_promises() {
    let test = here!();
    match role().as_deref() {
        Some("keeper") => return keeper::keep(),
        Some(_) => return play(),
        None => {}
    }
    session::inside(test, || {
        let keychain = PrivateSession::unlocked_and_restarted();
        let variables = keychain.environment();
        let mut soak = Soak::begin(&PROMISES);
        COUNTED.iter().for_each(|row| soak.count(row, 0));
        let processes = if soak.is_long() { 64 } else { 16 };
        soak.count("processes at once", processes);
        let randoms = [None, Some(&variables)].map(|session| (session, soak.random.split()));
        let (soak, rotations) = (Mutex::new(soak), AtomicUsize::new(0));
        thread::scope(|scope| {
            for (session, random) in randoms {
                let (soak, rotations) = (&soak, &rotations);
                scope.spawn(move || {
                    let mut part =
                        Part { soak, group: Group::new(test, session, processes / 2), after_fault: false };
                    let mut random = random;
                    while soak.lock().unwrap().has_time() && rotations.load(Ordering::SeqCst) < ROTATIONS {
                        let round = Round::draw(&mut random, &part.group);
                        rotations.fetch_add(part.play(&round), Ordering::SeqCst);
                    }
                    part.group.finish();
                });
            }
        });
        soak.into_inner().unwrap().finish();
    });
}

/// One store of the run.
struct Part<'a> {
    soak: &'a Mutex<Soak>,
    group: Group,
    /// A keeper may repeat the request of the last round during this one.
    after_fault: bool,
}

impl Part<'_> {
    fn count(&self, what: &'static str, times: usize) {
        self.soak.lock().unwrap().count(what, times);
    }

    fn hold(&self, promise: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        self.soak.lock().unwrap().hold(promise, holds, detail);
    }

    /// Returns the number of refreshes.
    fn play(&mut self, round: &Round) -> usize {
        let owner = self.group.keychain_owner();
        let others = round.other.filter(|_| !self.after_fault);
        let others =
            others.map_or(0, |(login, other)| self.let_another_program_refresh(login, other, &owner));
        let before: Vec<_> =
            self.group.logins.iter().map(|login| login.newest(&self.group.authority)).collect();
        let (requests, refused) = self.group.requests();
        self.group.expire();
        self.arm(round.trouble);
        let (answers, printed, unreadable) = self.let_everyone_ask(round);
        let (sent, denied) = self.group.requests();
        let (sent, denied) = (usize::try_from(sent - requests).unwrap(), denied - refused);
        let after: Vec<_> =
            self.group.logins.iter().map(|login| login.newest(&self.group.authority)).collect();
        let rotated = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let detail = || format!("{:?}, {round:?}: {sent} sent, {answers:?}", self.group.logins[0].kind);
        let killed = match round.trouble {
            Trouble::KilledAt(actor, _) | Trouble::Killed(actor, _) => {
                Some(actor).filter(|actor| matches!(answers[*actor], Answer::Ended))
            }
            _ => None,
        };
        let may_lose = match round.trouble {
            Trouble::KilledAt(_, (_, left)) => usize::from(killed.is_some() && left == Left::Lost),
            Trouble::Killed(..) => usize::from(killed.is_some()),
            // It refreshes both.
            Trouble::KeeperKilled(..) => self.group.logins.len(),
            _ => 0,
        };
        let lost: Vec<_> =
            (0..self.group.logins.len()).filter(|login| !self.group.is_whole(*login)).collect();
        self.count("rotations", rotated + others);
        self.count("requests of codex-auth", sent);
        if self.group.keychain_owner() != owner {
            self.count(CRASHED, 1);
            let group = &self.group;
            let is_readable = |login: &Login| !matches!(login.read(&group.authority), Stored::Unreadable);
            eventually("the keychain to be back", || group.logins.iter().all(is_readable));
            self.recover(round.trouble, killed);
            lost.iter().for_each(|login| self.group.sign_in(*login));
            self.after_fault = true;
            return rotated + others;
        }
        self.hold(TORN, unreadable == 0, || format!("{unreadable} unreadable, {}", detail()));
        if (1..=may_lose).contains(&lost.len()) {
            self.count(MUST_BE_LOST, lost.len());
        } else {
            self.hold(LOST, lost.is_empty(), detail);
            self.hold(REUSED, denied == 0, detail);
            let is_exact = round.is_fault() || self.after_fault || sent == after.len();
            self.hold(MORE, is_exact, detail);
            self.judge_answers(round, &answers, &before, &after, killed, &detail);
        }
        if let (Some(login), Some(token)) = (round.printed, printed) {
            let right = [&before[login], &after[login]].contains(&&token);
            self.hold(WRONG, right || !lost.is_empty(), || format!("codex token: {token}, {}", detail()));
            self.count("tokens served", 1);
        }
        self.recover(round.trouble, killed);
        lost.iter().for_each(|login| self.group.sign_in(*login));
        if lost.is_empty() && !round.is_fault() {
            let group = &self.group;
            eventually("the export to have the new token", || group.exported().as_ref() == Some(&after[0]));
            self.count("exports that followed a refresh", 1);
        }
        self.after_fault = round.is_fault();
        rotated + others
    }

    fn judge_answers(
        &self,
        round: &Round,
        answers: &[Answer],
        before: &[String],
        after: &[String],
        killed: Option<usize>,
        detail: &impl Fn() -> String,
    ) {
        let (mut served, mut errors) = (0, 0);
        for (number, (answer, actor)) in answers.iter().zip(&self.group.actors).enumerate() {
            let new = (after[actor.login] != before[actor.login]).then_some(&after[actor.login]);
            match answer {
                Answer::NotAsked => {}
                Answer::Word(word) if Some(word) == new => served += 1,
                Answer::Word(_) if round.is_fault() => errors += 1,
                Answer::Ended if killed == Some(number) => {}
                _ => self.hold(WRONG, false, || format!("{answer:?} of {number}, {}", detail())),
            }
        }
        self.count("tokens served", served);
        self.count("errors during a fault of the server", errors);
    }

    fn let_another_program_refresh(&self, login: usize, other: Other, owner: &Option<String>) -> usize {
        let (requests, refused) = self.group.requests();
        let (row, outcome) = match other {
            Other::Codex => {
                let mut codex = self.group.codex(login);
                codex.new_token();
                codex.end();
                ("requests of OpenAI's Codex 0.171", Foreign::Committed)
            }
            Other::AsCodex(pause) => {
                let of = &self.group.logins[login];
                let outcome = foreign::refresh(&self.group.authority, &of.home, of.kind, pause);
                ("requests of a program that commits as Codex does", outcome)
            }
        };
        let (sent, denied) = self.group.requests();
        let sent = usize::try_from(sent - requests).unwrap();
        self.count(row, sent);
        if self.group.keychain_owner() == *owner {
            let detail = || format!("{other:?}: {sent} sent, {outcome:?}");
            self.hold(MORE, sent == 1, detail);
            self.hold(REUSED, denied == refused, detail);
            self.hold(LOST, outcome == Foreign::Committed && self.group.is_whole(login), detail);
        }
        sent
    }

    /// Prepares what goes wrong.
    fn arm(&mut self, trouble: Trouble) {
        let row = match trouble {
            Trouble::KilledAt(number, (step, _)) => {
                let armed = self.group.actor(self.group.actors[number].login, Some(step));
                self.replace(number, armed).process.finish();
                return;
            }
            Trouble::Busy => self.script(Step::status(503, "busy")),
            Trouble::Closed => self.script(Step::closed_before()),
            Trouble::Slow(delay) => self.script(Step::default().delayed(delay)),
            Trouble::None => return,
            Trouble::Killed(..) => "kills at a random time",
            Trouble::KeeperKilled(..) => "keepers killed and restarted",
            Trouble::Stopped(..) => "stops",
        };
        self.count(row, 1);
    }

    fn script(&self, step: Step) -> &'static str {
        self.group.authority.script(Endpoint::Refresh, step);
        "faults of the server"
    }

    fn replace(&mut self, number: usize, actor: Actor) -> Actor {
        std::mem::replace(&mut self.group.actors[number], actor)
    }

    /// Sends the processes and the keepers the new time, reads the documents meanwhile, and returns what each process
    /// answered, the token that `codex token` printed, and how often no document could be read.
    fn let_everyone_ask(&mut self, round: &Round) -> (Vec<Answer>, Option<String>, usize) {
        let passed = self.group.passed;
        let command = round.printed.map(|login| self.group.run(login, ["token"]));
        self.group.keepers.iter_mut().for_each(|keeper| keeper.send(&passed.to_string()));
        for (actor, start) in self.group.actors.iter_mut().zip(&round.starts) {
            if let Some(start) = start {
                actor.process.send(&format!("{passed} {start} 1"));
            }
        }
        let pid = match round.trouble {
            Trouble::Killed(actor, _) | Trouble::Stopped(actor, ..) => self.group.actors[actor].process.pid(),
            Trouble::KeeperKilled(keeper, _) => self.group.keepers[keeper].pid(),
            _ => 0,
        };
        let Group { actors, authority, logins, export, .. } = &mut self.group;
        let (authority, logins, export, soak) = (&*authority, &*logins, &*export, self.soak);
        let (is_over, unreadable) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (answers, printed) = thread::scope(|scope| {
            let printing = scope.spawn(|| command.map(|command| fingerprint(command.run().out.trim())));
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let failed = read_documents(soak, authority, logins, export);
                    unreadable.fetch_add(failed, Ordering::SeqCst);
                    // Another program that reads, not one that takes the whole processor.
                    thread::sleep(Duration::from_millis(20));
                }
            });
            match round.trouble {
                Trouble::Killed(_, after) | Trouble::KeeperKilled(_, after) => {
                    thread::sleep(after);
                    signal(pid, "-KILL");
                }
                Trouble::Stopped(_, after, time) => {
                    thread::sleep(after);
                    signal(pid, "-STOP");
                    thread::sleep(time);
                    signal(pid, "-CONT");
                }
                _ => {}
            }
            let answers = actors.iter_mut().zip(&round.starts).map(|(actor, start)| match start {
                Some(_) => actor.process.next_word_or_end().map_or(Answer::Ended, Answer::Word),
                None => Answer::NotAsked,
            });
            let answers = answers.collect();
            is_over.store(true, Ordering::SeqCst);
            (answers, printing.join().unwrap())
        });
        (answers, printed, unreadable.into_inner())
    }

    /// Starts again what was killed, and disarms what was not.
    fn recover(&mut self, trouble: Trouble, killed: Option<usize>) {
        match trouble {
            Trouble::KilledAt(number, _) | Trouble::Killed(number, _) => {
                let at_step = matches!(trouble, Trouble::KilledAt(..));
                self.count("kills at a step of the refresh", usize::from(at_step && killed.is_some()));
                let new = self.group.actor(self.group.actors[number].login, None);
                let old = self.replace(number, new);
                if at_step && killed.is_none() {
                    old.process.finish();
                }
            }
            Trouble::KeeperKilled(home, _) => {
                let new = self.group.keeper(home);
                drop(std::mem::replace::<HelperProcess>(&mut self.group.keepers[home], new));
            }
            _ => {}
        }
    }
}

/// Reads the documents of a store and of an export as another program does. Returns how many could not be read.
fn read_documents(soak: &Mutex<Soak>, authority: &Authority, logins: &[Login], export: &Path) -> usize {
    let read: Vec<_> = logins.iter().map(|login| login.read(authority)).collect();
    let is_export_torn = is_torn(&export.join("auth.json"));
    let mut soak = soak.lock().unwrap();
    soak.count("reads of a document", read.len() + 1);
    soak.hold(TORN, !is_export_torn, || "the export".to_owned());
    let mut unreadable = 0;
    for stored in read {
        match stored {
            Stored::Own(_) => {}
            Stored::Torn(text) => soak.hold(TORN, false, || text),
            Stored::OfAnother(text) => soak.hold(FOREIGN, false, || text),
            Stored::Unreadable => unreadable += 1,
        }
    }
    unreadable
}
