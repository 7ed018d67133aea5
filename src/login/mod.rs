//! Logging in: obtaining a credential, keeping it, and only then touching the one before.
//!
//! Every way in has the same order, and a failure at any point leaves what was there as it was:
//!
//! 1. what `config.toml` forbids is refused before anything is asked of a person ([`crate::config::Restrictions`]);
//! 2. the credential is obtained: by [`BrowserLogin`], [`DeviceLogin`] or [`access_token`], or handed in;
//! 3. whose it is is compared with what `config.toml` allows;
//! 4. it is committed under the lease ([`PendingLogin::keep`], [`keep()`]);
//! 5. the person is told ([`BrowserLogin::announce`]);
//! 6. the tokens that it took the place of are taken back, if they are of the same account ([`supersede`]).
//!
//! The flows are values that a program holds: `start` says what to show, `obtain` waits for the person. Dropping one, or
//! the future of one, ends it: its port is free, its note is gone, and nothing was kept. They need a tokio runtime with
//! its I/O and time drivers, of either flavour.
//!
//! # Cancelling
//!
//! Tokens that the authority issued are stored or revoked. `obtain` returns a [`PendingLogin`], which revokes its tokens
//! when it is dropped without [`PendingLogin::keep`]. The exchange and the revocation run on a thread of the library, so a
//! future that is dropped during the exchange leaves no login behind either. That thread ends with the process: a program
//! awaits [`PendingExchanges::finish`] before it exits.

#[cfg(feature = "browser-login")]
mod browser;
#[cfg(feature = "browser-login")]
mod callback;
mod device;
mod error;
mod exchange;
mod import;
mod input;
mod keep;
#[cfg(feature = "browser-login")]
mod listener;
#[cfg(feature = "browser-login")]
mod page;
mod pending;
mod permission;
#[cfg(feature = "browser-login")]
mod pkce;
#[cfg(feature = "browser-login")]
mod port;
mod setup;
mod supersede;
mod token;

#[cfg(feature = "browser-login")]
pub use self::browser::{BrowserLogin, BrowserMessage, PATIENCE, PasteError, PasteHandle};
pub use self::device::{DeviceLogin, LIFETIME};
pub use self::error::{Error, OccupiedPort};
pub use self::exchange::PendingExchanges;
pub use self::import::{ImportOutcome, import};
pub use self::input::{INPUT_LIMIT, InputError, credential_from_input};
pub use self::keep::{StoreReport, keep};
pub use self::pending::PendingLogin;
pub use self::permission::permit_document;
pub use self::setup::LoginSetup;
pub use self::supersede::{OldLoginPolicy, RevocationSkipped, SupersedeOutcome, supersede};
pub use self::token::{VerifiedToken, access_token};
