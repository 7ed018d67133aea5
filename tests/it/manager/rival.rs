//! A program without the lease, as Codex 0.169: it reads, requests without a lock, and commits by compare-and-swap
//! under `auth.lock` and `auth.json.lock`.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scripted_authority::Grant;
use serde_json::Value;

use super::world::{World, merged, spend};
use crate::support::{Machine, TestHome, item};

/// Codex stops waiting for its second lock after this, and loses the token that it has received.
const SECOND_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The locks that Codex holds for a commit.
pub struct Locks {
    _first: File,
    _second: File,
}

impl Locks {
    /// Takes both locks as Codex does: waits for the first without limit, for the second at most five seconds.
    pub fn take(home: &TestHome) -> Self {
        Self::try_take(&home.path()).expect("Codex timed out, and its token is lost")
    }

    /// As [`Self::take`]; returns `None` where Codex would stop waiting.
    pub fn try_take(home: &Path) -> Option<Self> {
        let open =
            |name| File::options().create(true).truncate(false).write(true).open(home.join(name)).unwrap();
        let (first, second) = (open("auth.lock"), open("auth.json.lock"));
        first.lock().unwrap();
        let started = Instant::now();
        while second.try_lock().is_err() {
            if started.elapsed() >= SECOND_LOCK_TIMEOUT {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Some(Self { _first: first, _second: second })
    }
}

/// The document that it has read, and the response that it got.
pub struct Rival {
    read: String,
    answer: Value,
}

impl Rival {
    /// Reads the stored document and spends its token.
    pub fn refreshing(world: &World<'_>) -> Self {
        Self::spending(world, world.machine.stored_text().unwrap())
    }

    /// Spends the token of a document that was read before.
    pub fn spending(world: &World<'_>, read: String) -> Self {
        let answer = spend(&world.authority, &refresh_token(&read));
        Self { read, answer }
    }

    /// Whether the authority issued tokens.
    pub fn has_tokens(&self) -> bool {
        self.answer.get("access_token").is_some()
    }

    /// Returns one of the issued tokens.
    pub fn token(&self, token: &str) -> &str {
        self.answer[token].as_str().unwrap()
    }

    /// Commits the issued tokens, unless the stored ones have changed since they were read.
    pub fn commit(&self, machine: &Machine) {
        self.commit_under(&Locks::take(&machine.home), machine);
    }

    pub fn commit_under(&self, _locks: &Locks, machine: &Machine) {
        if refresh_token(&machine.stored_text().unwrap()) == refresh_token(&self.read) {
            replace(machine, &merged(&self.read, &self.answer));
        }
    }
}

/// Its login, over any stored document.
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
        Some(_) => machine.store_text(document),
        None => fs::rename(machine.home.write(".auth-rival", document), machine.home.document()).unwrap(),
    }
}

fn refresh_token(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap();
    document["tokens"]["refresh_token"].as_str().unwrap().to_owned()
}

/// Tries to lock `auth.json.lock` continuously while `meanwhile` runs, and returns the longest time that it had to
/// wait.
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
