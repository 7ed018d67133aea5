//! Background programs of a user, as services of systemd or launchd.
//!
//! Descriptions and commands are returned before anything runs, so that a program can show them first.

mod description;
mod launchd;
mod manager;
mod systemd;

pub use description::{Error, ManagerCall, Service, Start};
pub use manager::{
    NATIVE, ServiceFolders, ServiceManager, foreign_owner, read, remove, restarts_this_process, write,
};
