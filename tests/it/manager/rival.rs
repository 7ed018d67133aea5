//! A program that takes no lease of ours, as Codex 0.169 does not: it reads, asks without a lock, and commits by
//! compare-and-swap under its two locks (`codex-blackbox.md` 0 and 1).

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scripted_authority::Grant;
use serde_json::Value;

use super::world::{World, merged, post};
use crate::support::{Machine, TestHome, item};

/// Codex gives up on its second lock after this, and loses the token that it has just received.
const PATIENCE: Duration = Duration::from_secs(5);

/// What Codex holds for a commit.
pub struct Locks {
    _first: File,
    _second: File,
}

impl Locks {
    /// Takes both as Codex does: the first however long it takes, the second within five seconds or never.
    pub fn take(home: &TestHome) -> Self {
        Self::try_take(home).expect("Codex has given up, and its token is lost")
    }

    /// As [`Self::take`]; `None` where Codex would have given up.
    pub fn try_take(home: &TestHome) -> Option<Self> {
        let open =
            |name| File::options().create(true).truncate(false).write(true).open(home.file(name)).unwrap();
        let (first, second) = (open("auth.lock"), open("auth.json.lock"));
        first.lock().unwrap();
        let begun = Instant::now();
        while second.try_lock().is_err() {
            if begun.elapsed() >= PATIENCE {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Some(Self { _first: first, _second: second })
    }
}

/// What it has read, and what it was given for that.
pub struct Rival {
    read: String,
    answer: Value,
}

impl Rival {
    /// Reads what is stored and spends it.
    pub fn refreshing(world: &World<'_>) -> Self {
        Self::spending(world, world.machine.kept().unwrap())
    }

    /// Spends what it has read a while ago.
    pub fn spending(world: &World<'_>, read: String) -> Self {
        let answer = post(&world.authority, &refresh_token(&read));
        Self { read, answer }
    }

    /// Whether the authority gave it anything.
    pub fn has_won(&self) -> bool {
        self.answer.get("access_token").is_some()
    }

    /// One of the tokens that it was given.
    pub fn given(&self, token: &str) -> &str {
        self.answer[token].as_str().unwrap()
    }

    /// Commits what it was given, unless the tokens have changed since it read them.
    pub fn commit(&self, machine: &Machine) {
        self.commit_under(&Locks::take(&machine.home), machine);
    }

    pub fn commit_under(&self, _locks: &Locks, machine: &Machine) {
        if refresh_token(&machine.kept().unwrap()) == refresh_token(&self.read) {
            replace(machine, &merged(&self.read, &self.answer));
        }
    }
}

/// Its login, over whatever is there.
pub fn log_in(machine: &Machine, grant: &Grant, login: &str) -> String {
    let mut document: Value = serde_json::from_str(&grant.auth_json()).unwrap();
    document["tokens"]["login_owner_id"] = login.into();
    let document = format!("{document:#}");
    let _locks = Locks::take(&machine.home);
    replace(machine, &document);
    document
}

/// Its logout.
pub fn log_out(machine: &Machine) {
    let _locks = Locks::take(&machine.home);
    match machine.session {
        Some(_) => item(&machine.home).delete_credential().unwrap(),
        None => fs::remove_file(machine.home.document()).unwrap(),
    }
}

fn replace(machine: &Machine, document: &str) {
    match machine.session {
        Some(_) => machine.keep(document),
        None => fs::rename(machine.home.write(".auth-rival", document), machine.home.document()).unwrap(),
    }
}

fn refresh_token(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap();
    document["tokens"]["refresh_token"].as_str().unwrap().to_owned()
}

/// Asks for `auth.json.lock` all the time while `meanwhile` runs, as a program with a token to save would, and says for
/// how long it was refused at most.
pub fn longest_refusal<T>(home: &TestHome, meanwhile: impl FnOnce() -> T) -> (Duration, T) {
    let lock =
        File::options().create(true).truncate(false).write(true).open(home.file("auth.json.lock")).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut longest, mut refused_since) = (Duration::ZERO, None);
            while !over.load(Ordering::SeqCst) {
                if lock.try_lock().is_ok() {
                    lock.unlock().unwrap();
                    refused_since = None;
                } else {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    longest = longest.max(since.elapsed());
                }
                thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        let done = meanwhile();
        over.store(true, Ordering::SeqCst);
        (watch.join().unwrap(), done)
    })
}
