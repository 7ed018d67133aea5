//! Hosts that share one login, with a real etcd.

mod calls;
mod commands;
// The kills need failpoints.
#[cfg(feature = "failpoints")]
mod crashes;
// Linux: libfaketime.
#[cfg(target_os = "linux")]
mod endings;
mod etcd;
mod following;
#[cfg(feature = "failpoints")]
pub mod host_process;
mod hostile;
pub mod hosts;
mod invites;
mod joining;
mod members;
mod outsiders;
mod records;
mod refusals;
#[cfg(feature = "failpoints")]
mod rotations;
mod secrecy;
mod site;
mod watches;

use codex_auth::fleet::{Change, SharedLease};

use crate::support::in_private_network;

/// Runs `test` in a private network and a runtime of its own.
pub fn with_network<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F) {
    in_private_network(name, || {
        block_on(test());
    });
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

fn put(key: &str, text: &str) -> Change {
    put_until(key, text, None)
}

fn put_until(key: &str, text: &str, lease: Option<SharedLease>) -> Change {
    Change::Put { key: key.to_owned(), bytes: text.as_bytes().to_vec(), lease }
}
