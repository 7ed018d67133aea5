//! The integration tests; the modules mirror `src/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests make their own world, and stop where it is not as they made it"
)]
#![allow(unreachable_pub, missing_docs, reason = "a test binary has no public interface")]

mod accounts;
mod app_server;
mod authority;
mod bad_input;
mod cli;
mod consumers;
mod docs;
mod external;
mod formats;
mod history;
mod interop;
mod keeper;
// Linux: strace and procfs.
#[cfg(target_os = "linux")]
mod kernel;
// Linux: Secret Services.
#[cfg(target_os = "linux")]
mod keyrings;
mod login;
mod manager;
// Linux: procfs.
#[cfg(target_os = "linux")]
mod memory;
mod model;
mod redaction;
mod release;
// The kills need failpoints.
#[cfg(feature = "failpoints")]
mod soak;
mod store;
mod structure;
mod support;
mod top;
mod upgrade;
mod watch;
mod why;
