//! Providers: what the manager makes of them, and the commands that a user names.

mod command;
mod host;
mod manager;
mod program;
mod recovery;
