//! Logs in: obtains a credential, commits it, then revokes the one that it replaced.
//!
//! All kinds of login follow this order; a failure before step 4 leaves the stored login unchanged:
//!
//! 1. [`LoginSession::begin`] checks `config.toml` and the store before the user is asked for anything;
//! 2. the user approves it in a `BrowserLogin` or [`DeviceLogin`], or supplies a credential, which [`access_token`] checks;
//! 3. [`LoginSession::commit`] acquires the lease, completes what a killed process left behind, and gets the tokens, whose
//!    account is checked against `config.toml`;
//! 4. it stores them;
//! 5. [`CommittedLogin::announce`] shows the result, for example with `BrowserLogin::announce`, and revokes the
//!    tokens of the replaced login as far as [`OldLoginPolicy`] says.
//!
//! [`commit_login()`] is step 4 alone, for a caller that holds the lease.
//!
//! # Kills
//!
//! Under the lease the rescue names, before each step, what a kill would leave at the authority: the code before it is
//! sent, the tokens when they arrive, and the logins to revoke before the new one is stored. The next holder of the lease
//! revokes tokens that are not stored, else the replaced logins. It sends a code again whose response was lost: an
//! authority that has issued tokens for it must refuse and should revoke these (RFC 6749, 4.1.2).
//!
//! `start` of a flow returns what to show, and `obtain` waits for the user. Dropping the flow or its future cancels the
//! login and frees its port. The futures need a tokio runtime of either flavour with its I/O and time drivers.
//!
//! # Cancelling
//!
//! Issued tokens are either stored or revoked. The commit runs on a thread of the library, so dropping its future during
//! the exchange leaves no tokens either. That thread ends with the process: await [`PendingExchanges::finish`] before
//! exiting, or the next holder of the lease revokes the tokens.

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
