//! Codex's shared daemon in the reports of commands, and its restart after a change of the login.

mod restart;
mod state;

pub(crate) use self::restart::{DaemonArguments, after_change, bring_along};
pub(crate) use self::state::{DaemonState, FIELD, LoginChange};
