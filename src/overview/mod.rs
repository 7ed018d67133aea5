//! All logins of a home at once, for a dashboard: their health, the programs that use them, and their changes.
//!
//! [`Overview`] follows them with the watches of [`AuthManager`](crate::manager::AuthManager), so that it costs nothing
//! while nothing happens. It writes nothing, takes no lock and sends no request to the authority. No value of this module
//! holds a token.

mod files;
mod login;
mod logins;
mod records;

pub use self::login::{LoginHealth, LoginOverview};
pub use self::logins::{LoginEvent, Overview, OverviewChange, ProgramSearch};
