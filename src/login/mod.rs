//! Logs in: obtains a credential, commits it, then revokes the one that it replaced.
//!
//! All kinds of login follow this order; a failure before step 4 leaves the stored login unchanged:
//!
//! 1. [`LoginSession::begin`] checks `config.toml` and the store before the user is asked for anything;
//! 2. the credential is obtained by `BrowserLogin`, [`DeviceLogin`] or [`access_token`], or supplied by the user;
//! 3. its account is checked against `config.toml`;
//! 4. [`LoginSession::commit`] stores it under the lease, after completing what a killed process left behind;
//! 5. [`CommittedLogin::announce`] shows the result, for example with `BrowserLogin::announce`, and revokes the
//!    tokens of the replaced login as far as [`OldLoginPolicy`] says.
//!
//! [`commit_login()`] is step 4 alone, for a caller that holds the lease.
//!
//! `start` of a flow returns what to show, and `obtain` waits for the user. Dropping the flow or its future cancels the
//! login and frees its port. The futures need a tokio runtime of either flavour with its I/O and time drivers.
//!
//! # Cancelling
//!
//! Issued tokens are either stored or revoked: a [`PendingLogin`] that is dropped without [`LoginSession::commit`]
//! revokes its tokens. The exchange and the revocation run on a thread of the library, so dropping a future during the
//! exchange leaves no tokens either. That thread ends with the process: await [`PendingExchanges::finish`] before
//! exiting.

#[cfg(feature = "browser-login")]
mod browser;
#[cfg(feature = "browser-login")]
mod callback;
mod commit;
mod device;
mod error;
mod import;

#[cfg(feature = "browser-login")]
mod listener;
#[cfg(feature = "browser-login")]
mod page;
mod pending;
#[cfg(feature = "browser-login")]
mod pkce;
#[cfg(feature = "browser-login")]
mod port;
mod session;
mod setup;
mod supersede;
mod token;
mod transaction;

#[cfg(feature = "browser-login")]
pub use self::browser::{BROWSER_LOGIN_TIMEOUT, BrowserLogin, BrowserMessage, PasteError, PasteHandle};
pub use self::commit::{StoreReport, commit_login};
pub use self::device::{DEVICE_CODE_LIFETIME, DeviceLogin};
pub use self::error::{Error, HandedInHome, OccupiedPort};
pub use self::import::{CodexImport, ImportOutcome, ImportSource};

pub use self::pending::{PendingExchanges, PendingLogin};
pub use self::session::{CommittedLogin, LoginSession};
pub use self::setup::LoginSetup;
pub use self::supersede::{OldLoginPolicy, RevocationSkipped, SupersedeOutcome};
pub use self::token::{VerifiedToken, access_token};
pub use self::transaction::LoginOwner;
