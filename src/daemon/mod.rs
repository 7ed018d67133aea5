//! Codex's shared daemon, which serves the login that it read when it started to every Codex in a terminal.
//!
//! Interactive Codex, since about 0.157, talks to one process per home, and that process does not watch the stored login.
//! After a login, logout or change of account on disk it goes on with the old one until it is restarted, and a `/logout`
//! that is typed there revokes and removes what is stored by then.
//!
//! [`Daemon::find`] finds it and asks which login it serves, [`Daemon::comparison`] compares that with the stored login,
//! and [`Daemon::restart`] restarts it by Codex's own command, as it was started. Nothing here starts a daemon where none
//! runs, and no request makes it refresh.

mod connection;
mod error;
mod found;
mod process;
mod restart;
mod served;

pub use self::error::Error;
pub use self::found::Daemon;
pub use self::restart::{RestartCondition, RestartOutcome};
pub use self::served::{ServedAccount, ServedComparison, ServedLogin};
