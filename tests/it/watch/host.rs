//! A host application in another process that follows changes through the library.

use std::thread;

use codex_auth::manager::{AccountPolicy, AuthManager, Divergence, LoginChange, Snapshot};
use codex_auth::{Environment, store};
use scripted_authority::{Account, fingerprint};

use super::watcher::WatchMode;
use crate::manager::world::World;
use crate::support::{HelperProcess, Machine, TestHome, report, role, wait_for_input};

/// The test that runs in the other process.
const ACTOR_TEST: &str =
    "watch::host::a_host_with_the_stay_policy_keeps_its_token_and_reports_the_other_account";

/// A process that follows changes through the library and prints each.
pub struct HostProcess(HelperProcess);

impl HostProcess {
    /// Starts the process and waits for its first line: `present`, and the fingerprint of its token or `none`.
    pub fn start(home: &TestHome, policy: AccountPolicy, mode: WatchMode) -> (Self, String) {
        let part = match policy {
            AccountPolicy::Follow => "follow",
            _ => "stay",
        };
        let mut host = Self(HelperProcess::start_through(mode.wrapper(), ACTOR_TEST, part, home));
        let first = host.next_change();
        (host, first)
    }

    /// Waits for the next change and returns it with the token afterwards, as `EVENT FINGERPRINT`.
    #[track_caller]
    pub fn next_change(&mut self) -> String {
        self.0.next_word()
    }

    pub fn finish(self) {
        self.0.finish();
    }
}

/// Follows changes until the parent process gives the cue.
fn follow(policy: AccountPolicy) {
    let environment = Environment::of_process().unwrap();
    let home = store::locate(&environment).unwrap();
    let manager = AuthManager::builder(home, environment).policy(policy).open_anyway();
    let mut snapshots = manager.subscribe();
    let mut known = snapshots.borrow_and_update().clone();
    let watching = manager.watch();
    report(&format!("present {}", token_name(&known)));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while runtime.block_on(snapshots.changed()).is_ok() {
            let new = snapshots.borrow_and_update().clone();
            match LoginChange::between(&known, &new) {
                Some(change) => report(&format!("{} {}", event_name(change), token_name(&new))),
                None => report("a snapshot without a change"),
            }
            known = new;
        }
    });
    wait_for_input();
    drop(watching);
}

/// Returns the name of a change as the program writes it.
fn event_name(change: LoginChange) -> String {
    change.to_string().replace(' ', "_")
}

/// Returns the fingerprint of the bearer token, and whether the store has another account's by now.
pub(super) fn token_name(snapshot: &Snapshot) -> String {
    let token = snapshot.document().and_then(codex_auth::AuthDocument::bearer);
    let token = token.map_or_else(|| "none".to_owned(), |token| token.fingerprint().to_string());
    match snapshot.divergence() {
        Some(Divergence::OtherAccount(_)) => format!("{token} of the account before"),
        _ => token,
    }
}

#[test]
fn a_host_with_the_stay_policy_keeps_its_token_and_reports_the_other_account() {
    match role().as_deref() {
        Some("follow") => return follow(AccountPolicy::Follow),
        Some(_) => return follow(AccountPolicy::Stay),
        None => {}
    }
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let token = fingerprint(&world.grant.tokens.access_token);
    let (mut host, first) = HostProcess::start(&world.machine.home, AccountPolicy::Stay, WatchMode::Native);
    assert_eq!(first, "present none");
    world.sign_in(&world.grant);
    assert_eq!(host.next_change(), format!("login {token}"));
    world.sign_in(&world.authority.grant(Account::numbered(2)));
    assert_eq!(host.next_change(), format!("account_changed {token} of the account before"));
    let again = world.authority.grant(Account::numbered(1));
    world.sign_in(&again);
    assert_eq!(host.next_change(), format!("login {}", fingerprint(&again.tokens.access_token)));
    host.finish();
}
