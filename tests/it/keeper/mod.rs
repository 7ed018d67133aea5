//! The keeper: one process refreshes ahead of time, so that no other ever has to.

mod authority;
mod clients;
mod clocks;
mod codexes;
mod failover;
pub mod process;
mod signals;
mod socket;
mod virtual_time;
