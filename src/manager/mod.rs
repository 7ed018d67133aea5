//! Serves, refreshes, watches and ends one login for one process.
//!
//! [`AuthManager`] holds a [`Snapshot`] of the login of a home. A fresh token is returned without a lock, a file or the
//! network. A stale one is refreshed in a transaction under the home's lease: however many processes of a machine find
//! the token stale at once, one request is sent, and all of them get the new token.
//!
//! The transaction runs on its own thread and runtime. Dropping the future that waits for it does not stop it;
//! [`AuthManager::wait_idle`] waits until it has ended. Call that before the process exits.

mod auth_manager;
mod builder;
mod child;
mod client_refresh;
mod engine;
mod error;
mod follow;
mod history;
mod job;
mod login_status;
pub mod logout;
mod owner;
mod permission;
mod programs;
mod provider;
mod publication;
mod read_order;
mod removal;
mod renewal;
mod request;
mod snapshot;
mod spend;
mod token;
mod transaction;
mod unauthorized;

pub use self::auth_manager::{AuthManager, ReloadOutcome};
pub use self::builder::Builder;
pub use self::child::{ChildRunner, NoJob, ProcessFallback, serve_parent};
pub use self::client_refresh::{ClientRefresh, KnownToken, TokenInclusion};
pub(crate) use self::engine::block_on;
pub use self::engine::{AccountPolicy, finish_rescue, move_login};
pub use self::error::{Error, JobFailure, Unusable, Usability};
pub use self::follow::WatchHandle;
pub use self::history::{foreign_change, history, store_failure};
pub(crate) use self::history::{history_of, record_foreign_change, record_recoveries};
#[cfg(feature = "fleet")]
pub(crate) use self::job::JobTask;
pub use self::job::{Job, JobHandler, JobOutcome, WaitHook};
pub use self::login_status::LoginStatus;
pub use self::owner::OwnerLookup;
pub use self::programs::{CodexProcess, CodexPrograms, programs_using};
pub use self::publication::LoginChange;
pub use self::renewal::Renewal;
pub(crate) use self::renewal::fleet_login_has_ended;
pub(crate) use self::renewal::is_member;
pub use self::request::{RefreshReason, TokenDemand};
pub use self::snapshot::{Divergence, Snapshot, SnapshotStatus};
pub use self::token::Token;
pub use self::unauthorized::{RecoveryStep, UnauthorizedRecovery};
