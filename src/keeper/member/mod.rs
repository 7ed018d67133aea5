//! The keeper's part in a fleet (feature `fleet`): a host takes part through its keeper, or a command does so itself.
//!
//! The store of a member holds an access token without a refresh token. Who needs another token asks the one process of
//! the host that takes part ([`perform`]), which claims, spends and commits in the record of the fleet, and then replaces
//! the stored login.

mod error;
mod founding;
mod host;
mod jobs;
mod leaving;
mod perform;
mod problem;
mod service;

pub use self::error::FleetError;
pub use self::founding::{JoinOutcome, NewFleet, found, invite, join};
pub use self::jobs::run_job;
pub use self::leaving::{FleetReport, FleetView, LeaveReport, fleet_report, leave, rekey, resume};
pub use self::perform::perform;
pub use self::problem::FleetProblem;
pub(super) use self::service::{MemberHandle, serve};
pub use super::member_task::MemberTask;
